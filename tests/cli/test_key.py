"""`vipnet key`: what identifies this host, for eyes and for cameras."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
from tests.cli.support import daemon, vipnet, write_config

from vipnet.types import PublicKey, fingerprint

KEY = bytes(range(32))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    key = tmp_path / "key"
    key.write_text(b64encode(KEY).decode() + "\n")
    key.chmod(0o600)
    return write_config(tmp_path)


def test_show_says_everything_in_words(config: Path) -> None:
    done = vipnet("key", "show", "--config", config)
    assert (done.status, done.err) == (0, "")
    shown = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    key = PublicKey(b64decode(shown["key"]))
    assert shown["name"] == "a.vipip.net"
    assert shown["fingerprint"] == fingerprint(key)
    assert shown["record"] == f'_vip.a.vipip.net. 300 IN TXT "v=vip1 k={shown["key"]} p=5847"'
    assert json.loads(vipnet("key", "show", "--json", "--config", config).out) == shown
    assert vipnet("key", "show", "--key", "--config", config).out == shown["key"] + "\n"


def test_the_qr_code_holds_what_trust_add_takes(config: Path) -> None:
    """Half blocks and spaces are its modules, two lines of them in one of text."""
    plain = vipnet("key", "show", "--config", config).out
    with_code = vipnet("key", "show", "--qr", "--config", config).out
    code = with_code.removeprefix(plain)
    assert code != with_code
    assert set("█▀▄") & set(code)
    assert vipnet("key", "show", "--no-qr", "--config", config).out == plain


def test_a_fingerprint() -> None:
    """`head -c 16 of SHA-256`, as sha256sum says it."""
    assert fingerprint(PublicKey(KEY)) == "630d-cd29-66c4-3366-9112-5448-bbb2-5b4f"


def test_rotate_says_both_fingerprints_and_who_was_not_told() -> None:
    asked: list[dict[str, Any]] = []
    reply = {
        "old": {"key": "x", "fingerprint": "0000-1111"},
        "new": {"key": "y", "fingerprint": "2222-3333"},
        "record": "_vip.a.vipip.net. 300 IN TXT ...",
        "untold": ["b.vipip.net"],
    }

    async def rotate(params: dict[str, Any]) -> object:
        asked.append(params)
        return reply

    with daemon({"key_rotate": rotate}) as path:
        done = vipnet("key", "rotate", "--config", path)
        assert (done.status, done.err) == (0, "")
        assert done.out.splitlines()[:2] == ["old  0000-1111", "new  2222-3333"]
        assert "_vip.a.vipip.net. 300 IN TXT ..." in done.out
        assert "Not told yet: b.vipip.net" in done.out
        assert json.loads(vipnet("key", "rotate", "--json", "--config", path).out) == reply
        vipnet("key", "rotate", "--forget-old", "--yes", "--config", path)
    assert [params.get("forget_old") for params in asked] == [False, False, True]


def test_rotate_without_a_daemon(config: Path) -> None:
    done = vipnet("key", "rotate", "--config", config)
    assert done.status == 4
