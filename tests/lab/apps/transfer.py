"""A large file by rsync, from b to a, watched as it grows."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.lab.apps.program import Program, Socket, program, tcp_connection, wait_until_bound
from tests.lab.apps.shells import SERVER
from tests.lab.labs import Lab, wait_until
from tests.support import need_program

_PORT: Final = 8730
_PIECE: Final = 1_000_000  # bytes
_ENOUGH_BYTES: Final = 1_000_000
_LOOK_S: Final = 0.005
_END_S: Final = 600.0
_CONFIG: Final = """\
use chroot = no
[files]
path = {directory}
"""


class Transfer:
    """One rsync; it may be over before anybody has moved, so its pace is limited."""

    name = "rsync"

    def __init__(self, client: Program, server: Program, source: Path, target: Path) -> None:
        self._client, self._server, self._source, self._target = client, server, source, target
        self._heard_ns: list[int] = []
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def heard_ns(self) -> list[int]:
        return list(self._heard_ns)

    def progress(self) -> int:
        self._server.check()
        if self._client.process.poll() is None:
            return self._size()
        assert self._client.process.returncode == 0, self._client.said()
        return self._source.stat().st_size

    def goal(self) -> int:
        assert self._client.process.poll() is None, "the file is there already"
        return min(self.progress() + _ENOUGH_BYTES, self._source.stat().st_size)

    def sockets(self) -> frozenset[Socket]:
        return tcp_connection(self._client, self._server)

    def finish(self) -> str:
        status = self._client.wait(_END_S)
        self.stop()
        assert status == 0, f"rsync: exit status {status}: {self._client.said()}"
        assert _digest(self._target) == _digest(self._source)
        return f"{self._source.stat().st_size / 1e6:,.0f} MB, SHA-256 the same"

    def stop(self) -> None:
        self._over.set()
        self._watcher.join()

    def _watch(self) -> None:
        last = 0
        while not self._over.wait(_LOOK_S):
            size = self._size()
            if size > last:
                last = size
                self._heard_ns.append(time.monotonic_ns())

    def _size(self) -> int:
        return self._target.stat().st_size if self._target.exists() else 0


@contextmanager
def transfer(lab: Lab, directory: Path, size_bytes: int, seconds: float) -> Iterator[Transfer]:
    """SIZE_BYTES of noise, at a pace that takes SECONDS for all of it."""
    need_program("rsync")
    served = directory / "served"
    served.mkdir()
    source, target = served / "noise", directory / "noise"
    with source.open("wb") as file:
        for start in range(0, size_bytes, _PIECE):
            file.write(os.urandom(min(_PIECE, size_bytes - start)))
    config = directory / "rsyncd.conf"
    config.write_text(_CONFIG.format(directory=served))
    daemon = ["rsync", "--daemon", "--no-detach", f"--config={config}", f"--port={_PORT}"]
    pace = f"--bwlimit={size_bytes / seconds / 1024:.0f}"
    url = f"rsync://{SERVER}:{_PORT}/files/noise"
    with program(lab, "b", daemon, directory, name="rsyncd") as server:
        wait_until_bound(server, "tcp", _PORT)
        command = ["rsync", "--inplace", "--whole-file", pace, url, str(target)]
        with program(lab, "a", command, directory, name="rsync") as client:
            found = Transfer(client, server, source, target)
            try:
                wait_until(lambda: found.progress() > 0, "the first bytes of the file")
                yield found
            finally:
                found.stop()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
