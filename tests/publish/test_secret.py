"""Secrets in files and from systemd; none of them in an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from vipnet.errors import ConfigError
from vipnet.publish.secret import load_secret

WORD = "s3cret-word"


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_one_line(tmp_path: Path) -> None:
    assert load_secret(write(tmp_path / "f", f"  {WORD}\n"), "secret").reveal() == WORD


def test_from_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd.exec(5), LoadCredential=; access lists make its files look group-readable."""
    write(tmp_path / "ddns", WORD, 0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert load_secret(Path("$CREDENTIALS_DIRECTORY/ddns"), "secret").reveal() == WORD
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(ConfigError, match="LoadCredential=ddns:"):
        load_secret(Path("$CREDENTIALS_DIRECTORY/ddns"), "secret")


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (WORD, 0o644, "chmod 600"),
        (WORD, 0o620, "chmod 600"),
        ("", 0o600, "one line"),
        (f"{WORD}\nmore", 0o600, "one line"),
        (f"{WORD}\x00", 0o600, "one line"),
        (WORD * 1000, 0o600, "alone"),
    ],
)
def test_what_is_wrong_is_said_without_the_secret(tmp_path: Path, text: str, mode: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        load_secret(write(tmp_path / "f", text, mode), "[publish] secret_file")
    assert "s3cret" not in str(caught.value)
    assert str(caught.value).startswith(f"[publish] secret_file {tmp_path}/f: ")


@pytest.mark.parametrize("name", ["missing", "."])
def test_no_such_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        load_secret(tmp_path / name, "secret")
