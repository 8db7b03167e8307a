"""`vipnet capture`: the file is whole however it ends, and nobody else can read it."""

from __future__ import annotations

import io
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import trio
from pcapng import FileScanner, blocks
from tests.cli.support import daemon, vipnet

from vipnet.app.capturing import Begun, Missed, Named, encode
from vipnet.app.tap import Sighting

PACKET = Sighting(1_795_529_417_515_953_989, True, b"twenty bytes of data", 20)


def five(params: dict[str, Any]) -> AsyncGenerator[bytes, None]:
    """Five packets, some missing between; then nothing more, for ever if asked for no end."""

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield encode([Begun("a.vipip.net", "tun0", params["snap"]), Named("240.0.0.2", "b.vipip.net")])
        yield encode([PACKET, PACKET])
        yield encode([PACKET, Missed(7), PACKET, PACKET])
        if params["seconds"] is None:
            await trio.sleep_forever()

    return pieces()


def packets(content: bytes) -> list[blocks.Block]:
    found = list(FileScanner(io.BytesIO(content)))
    assert isinstance(found[-1], blocks.InterfaceStatistics), "it has its end"
    return [block for block in found if isinstance(block, blocks.EnhancedPacket)]


def test_all_is_written_and_what_is_missing_is_said(tmp_path: Path) -> None:
    path = tmp_path / "out.pcapng"
    path.write_text("what was there before is gone, and was not secret")
    path.chmod(0o644)
    with daemon({}, {"capture": five}) as config:
        done = vipnet("capture", path, "--seconds", "1", "--config", config)
    assert done.status == 0, done.err
    assert "5 packets, 7 missed" in done.err
    assert len(packets(path.read_bytes())) == 5
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_so_many_packets(tmp_path: Path) -> None:
    path = tmp_path / "out.pcapng"
    with daemon({}, {"capture": five}) as config:
        done = vipnet("capture", path, "--count", "3", "--config", config)
    assert done.status == 0, done.err
    assert len(packets(path.read_bytes())) == 3


def command(config: Path, file: str) -> list[str]:
    return [sys.executable, "-m", "vipnet", "capture", file, "--config", str(config)]


def test_a_signal_ends_it_in_order(tmp_path: Path) -> None:
    path = tmp_path / "out.pcapng"
    with (
        daemon({}, {"capture": five}) as config,
        subprocess.Popen(command(config, str(path)), stderr=subprocess.PIPE, text=True) as process,
    ):
        assert process.stderr is not None
        assert "until Ctrl-C" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert "packets" in process.stderr.read()
    assert process.returncode == 0
    assert list(FileScanner(io.BytesIO(path.read_bytes()))), "as much as there was, and all of it whole"


def test_into_a_pipe_at_once_until_its_reader_goes() -> None:
    with (
        daemon({}, {"capture": five}) as config,
        subprocess.Popen(command(config, "-"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process,
    ):
        assert process.stdout is not None
        bounded = threading.Timer(30, process.kill)
        bounded.start()
        content = b""
        while content.count(PACKET.data) < 5:  # nothing waits in a buffer
            more = os.read(process.stdout.fileno(), 65_536)
            assert more, "it ended before"
            content += more
        bounded.cancel()
        process.send_signal(signal.SIGINT)
        content += process.stdout.read()
    assert process.returncode == 0
    assert len(packets(content)) == 5


def test_a_reader_that_goes_is_no_failure() -> None:
    with daemon({}, {"capture": five}) as config:
        reader, writer = os.pipe()
        os.close(reader)
        try:
            done = subprocess.run(
                command(config, "-"),
                stdout=writer,
                stderr=subprocess.PIPE,
                text=True,
                timeout=30,
                check=False,
            )
        finally:
            os.close(writer)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_where_it_may_not_write(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with daemon({}, {"capture": five}) as config:
        for path in (tmp_path, tmp_path / "link", tmp_path / "no" / "file"):
            done = vipnet("capture", path, "--seconds", "1", "--config", config)
            assert done.status == 1
            assert f"{path} cannot be written" in done.err
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_is_one_line() -> None:
    with daemon({}, {"capture": five}) as config:
        done = vipnet("capture", "/dev/full", "--seconds", "1", "--config", config)
    assert (done.status, done.err.splitlines()[-1]) == (
        1,
        "vipnet: /dev/full cannot be written: No space left on device; name another, or - for a pipe",
    )


def test_nobody_chmods_a_device() -> None:
    before = stat.S_IMODE(Path(os.devnull).stat().st_mode)
    with daemon({}, {"capture": five}) as config:
        assert vipnet("capture", os.devnull, "--seconds", "1", "--config", config).status == 0
    assert stat.S_IMODE(Path(os.devnull).stat().st_mode) == before


def test_without_a_daemon(tmp_path: Path) -> None:
    with daemon({}) as config:
        pass
    done = vipnet("capture", tmp_path / "out", "--config", config)
    assert done.status in (2, 4), "its configuration has gone with it"
    assert not (tmp_path / "out").exists()
