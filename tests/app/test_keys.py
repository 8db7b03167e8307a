from __future__ import annotations

import base64
import contextlib
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vipnet.app.keys import create_key, load_key, load_psk
from vipnet.errors import ConfigError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "etc" / "key"


def test_a_new_key_is_private_and_comes_back(path: Path) -> None:
    key = create_key(path)
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key(path) == key
    assert list(path.parent.iterdir()) == [path], "no temporary file is left"


def test_a_loose_umask_does_not_matter(path: Path) -> None:
    before = os.umask(0)
    try:
        create_key(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_two_keys_are_the_same(tmp_path: Path) -> None:
    assert len({create_key(tmp_path / str(i)) for i in range(8)}) == 8


def test_a_key_is_never_overwritten(path: Path) -> None:
    key = create_key(path)
    with pytest.raises(ConfigError, match="not overwritten"):
        create_key(path)
    assert load_key(path) == key
    assert list(path.parent.iterdir()) == [path]


def test_nor_is_what_a_link_leads_to(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="not overwritten"):
        create_key(path)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o666])
def test_a_key_that_others_can_use_is_refused(path: Path, mode: int) -> None:
    create_key(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=rf"mode {mode:04o} .* `chmod 600 {path}`"):
        load_key(path)


def test_read_only_is_fine(path: Path) -> None:
    key = create_key(path)
    path.chmod(0o400)
    assert load_key(path) == key


def test_a_pre_shared_key_may_come_from_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd.exec(5), LoadCredential=."""
    key = create_key(tmp_path / "psk")
    assert load_psk(tmp_path / "psk") == key
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert load_psk(Path("$CREDENTIALS_DIRECTORY/psk")) == key
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(ConfigError, match=r"psk_file .*: the systemd unit needs LoadCredential=psk:"):
        load_psk(Path("$CREDENTIALS_DIRECTORY/psk"))
    (tmp_path / "psk").write_text("secret")
    with pytest.raises(ConfigError, match=r"psk_file .*/psk: not a key") as caught:
        load_psk(tmp_path / "psk")
    assert "secret" not in str(caught.value)


def test_missing(path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; `vipnet init"):
        load_key(path)


def test_a_directory_is_no_key(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True)
    with pytest.raises(ConfigError):
        load_key(path)


def test_where_no_file_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        create_key(tmp_path / "file" / "key")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=64) | st.binary(min_size=30, max_size=34).map(base64.b64encode))
def test_anything_else_is_no_key(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.touch(mode=0o600)
    file.write_bytes(content)
    if is_base64_of_32_bytes(content):
        assert base64.b64encode(load_key(file)) == content
    else:
        with pytest.raises(ConfigError, match="not a key"):
            load_key(file)


def is_base64_of_32_bytes(content: bytes) -> bool:
    with contextlib.suppress(ValueError):
        return len(base64.b64decode(content, validate=True)) == 32
    return False
