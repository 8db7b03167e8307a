"""resolvconf(8): the program that puts /etc/resolv.conf together from what others register.

Debian's and openresolv's are alike in what is needed: a record by name from standard
input, and directories with everybody's records. Debian's puts `lo.*` first and stops at a
loopback address, openresolv's is told to by -m and -x, which Debian's ignores.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import trio

from vipnet.errors import HostError

RECORD: Final = "lo.vipnet"
# Debian's and openresolv's.
RECORDS: Final = (Path("/run/resolvconf/interface"), Path("/run/resolvconf/interfaces"))
TIMEOUT_S: Final = 15.0
_LINE = re.compile(r"[ \t]*(nameserver|search|domain|options)[ \t]+(.+)")
_FILE_MAX = 65_536  # bytes


class Resolvconf:
    """Our record beside the others'. `records` are the directories where they may be."""

    def __init__(self, listen: str, *, records: tuple[Path, ...] = RECORDS) -> None:
        self._listen, self._records = listen, records

    @property
    def taken(self) -> bool:
        return any((directory / RECORD).exists() for directory in self._records)

    def upstreams(self) -> tuple[str, ...]:
        """The name servers that others have registered, never ourselves."""
        found = []
        for keyword, value in self._lines():
            try:
                address = str(ip_address(value.strip()))
            except ValueError:
                continue
            if keyword == "nameserver" and address != self._listen:
                found.append(address)
        return tuple(dict.fromkeys(found))

    async def take(self) -> None:
        """Register; again and again is no harm. Raise HostError when resolvconf fails."""
        # openresolv leaves out the others' search lists with their servers.
        kept = [f"{key} {value}" for key, value in self._lines() if key in ("search", "domain", "options")]
        text = "\n".join([f"nameserver {self._listen}", *dict.fromkeys(kept)]) + "\n"
        with trio.move_on_after(TIMEOUT_S):
            done = await trio.run_process(
                [_program(), "-a", RECORD, "-m", "0", "-x"],
                stdin=text.encode(),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
            return _check(done.returncode, done.stderr)
        raise _refused("no end after 15 s")

    def restore(self) -> None:
        """Take our record back, also one that a crash has left. Raise HostError when resolvconf fails."""
        if not self.taken:
            return
        try:
            done = subprocess.run(
                [_program(), "-d", RECORD, "-f"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _refused("no end after 15 s") from None
        _check(done.returncode, done.stderr)

    def _lines(self) -> list[tuple[str, str]]:
        """Keywords and values of all records but ours."""
        texts = []
        for directory in self._records:
            for file in sorted(directory.glob("*")):
                if file.name == RECORD or not file.is_file():
                    continue
                try:
                    with file.open("rb") as opened:
                        texts.append(opened.read(_FILE_MAX).decode("latin-1"))
                except OSError:  # gone meanwhile
                    continue
        matches = [_LINE.match(line) for text in texts for line in text.splitlines()]
        return [(match[1], match[2].strip()) for match in matches if match]


def is_installed() -> bool:
    return shutil.which("resolvconf") is not None


def _program() -> str:
    found = shutil.which("resolvconf")
    if found is None:
        raise HostError('resolvconf: no such program; set [dns] hook = "file"')
    return found


def _check(status: int, stderr: bytes) -> None:
    if status:
        words = stderr.decode(errors="replace").strip().splitlines()
        raise _refused(words[-1] if words else f"exit status {status}")


def _refused(why: str) -> HostError:
    return HostError(f'resolvconf: {why}; set [dns] hook = "file", or "none" and let the system ask us')
