from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.bind import SECRET, tsig_key
from tests.support import need_program

from vipnet.errors import ConfigError
from vipnet.publish.tsigkey import load_tsig_key


def key_file(directory: Path, text: str, mode: int = 0o600) -> Path:
    path = directory / "tsig"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"{SECRET}\n",
        f'key "k.test" {{\n\talgorithm hmac-sha256;\n\tsecret "{SECRET}";\n}};\n',
        f"key k.test {{ algorithm hmac-sha256; secret {SECRET}; }};",
    ],
)
def test_one_line_or_bind_s_statement(tmp_path: Path, text: str) -> None:
    key = load_tsig_key(key_file(tmp_path, text), "k.test", "hmac-sha256")
    assert key == tsig_key("k.test")


def test_what_tsig_keygen_prints(tmp_path: Path) -> None:
    need_program("tsig-keygen")
    text = subprocess.run(["tsig-keygen", "k.test"], capture_output=True, text=True, check=True).stdout
    assert len(load_tsig_key(key_file(tmp_path, text), "k.test", "hmac-sha256").secret) == 32


@pytest.mark.parametrize("text", ["", "\n", "not base64!", "AAAA", f"{SECRET} {SECRET}", f"{SECRET[:-1]}"])
def test_anything_else_says_what_it_should_be(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="no secret in it: must be a line of base64"):
        load_tsig_key(key_file(tmp_path, text), "k.test", "hmac-sha256")


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_tsig_key(tmp_path / "none", "k.test", "hmac-sha256")
    with pytest.raises(ConfigError, match="directory"):
        load_tsig_key(tmp_path, "k.test", "hmac-sha256")
    with pytest.raises(ConfigError, match=r"mode 0640 lets others use it; `chmod 600 "):
        load_tsig_key(key_file(tmp_path, SECRET, 0o640), "k.test", "hmac-sha256")
