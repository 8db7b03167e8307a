"""`vipnet key log` and `vipnet dissect`: what one writes the other reads; mistakes are one line."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import trio
from tests.app.test_dissecting import LINE, ethernet, pcap, seal
from tests.cli.support import daemon, vipnet


def keys(_params: dict[str, Any]) -> AsyncGenerator[bytes, None]:
    async def lines() -> AsyncGenerator[bytes, None]:
        yield f"{LINE}\n{LINE}\nvipnet-key 0000002b AES_".encode()  # the daemon goes away in the middle

    return lines()


def test_keys_are_written_for_nobody_else_and_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "keys.log"
    path.touch(0o644)
    with daemon({}, {"key_log": keys}) as config:
        done = vipnet("key", "log", path, "--config", config)
    assert done.status == 0, done.err
    assert "WARNING: session keys are written down" in done.err
    assert "1 sessions. Delete the file" in done.err
    assert path.read_text() == f"{LINE}\n{LINE}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_signal_ends_the_key_log(tmp_path: Path) -> None:
    def for_ever(_params: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        async def lines() -> AsyncGenerator[bytes, None]:
            yield f"{LINE}\n{LINE}\n".encode()
            await trio.sleep_forever()

        return lines()

    with (
        daemon({}, {"key_log": for_ever}) as config,
        subprocess.Popen(
            [sys.executable, "-m", "vipnet", "key", "log", "-", "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        for _ in range(2):  # all of it, or the pipe is closed under the second
            assert process.stdout.readline() == f"{LINE}\n"
        process.terminate()
    assert process.returncode == 0


def test_what_was_opened_is_counted(tmp_path: Path) -> None:
    capture, into, log = tmp_path / "lan.pcap", tmp_path / "opened.pcapng", tmp_path / "keys.log"
    whole = pcap(ethernet(seal(b"x\1")), ethernet(seal(b"y\1", index=43))).getvalue()
    capture.write_bytes(whole[:-1] + whole[-1:] + b"\0")
    log.write_text(f"{LINE}\n")
    done = vipnet("dissect", capture, into, "--keys", log)
    assert done.status == 0, done.err
    assert "ends in the middle of a packet" in done.err
    assert "1 sealed datagrams opened; 1 of sessions that are not in the key log; 0 that" in done.err
    assert stat.S_IMODE(into.stat().st_mode) == 0o600


def test_mistakes_name_the_file(tmp_path: Path) -> None:
    capture, log, nothing = tmp_path / "lan.pcap", tmp_path / "keys.log", tmp_path / "nothing"
    capture.write_bytes(pcap().getvalue())
    log.write_text(f"{LINE}\n")
    junk = tmp_path / "junk"
    junk.write_text("neither\n")
    for arguments, status, says in (
        ((nothing, "out", "--keys", log), 1, f"{nothing} cannot be read: No such file"),
        ((capture, "out", "--keys", nothing), 1, f"{nothing} cannot be read: No such file"),
        ((capture, "out", "--keys", junk), 2, f"{junk}, line 1: not a line of a key log"),
        ((junk, tmp_path / "out", "--keys", log), 2, f"{junk} is neither a pcap nor a pcapng file"),
    ):
        done = vipnet("dissect", *arguments)
        assert (done.status, done.out) == (status, "")
        assert done.err.startswith(f"vipnet: {says}")
        assert len(done.err.splitlines()) == 1
