"""systemd's journal by its native protocol: an event with its fields is one datagram.

The protocol is https://systemd.io/JOURNAL_NATIVE_PROTOCOL/. Libraries for it wait while journald
is busy; packets must not wait for the log, so what does not go at once is not sent.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PATH: Final = Path("/run/systemd/journal/socket")
_FIELD: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")  # what journald takes; "_" in front is its own


def leads_to_journal(stream: int, environment: Mapping[str, str]) -> bool:
    """Whether the descriptor STREAM is the journal's (systemd.exec(5), $JOURNAL_STREAM).

    A child that writes elsewhere inherits the variable, too: device and inode decide.
    """
    try:
        status = os.fstat(stream)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class Journal:
    """Where entries go; PATH is looked up for each, because journald may be started anew."""

    def __init__(self, path: Path = PATH) -> None:
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def send(self, fields: Mapping[str, str]) -> bool:
        """One entry; False when journald is not there, has no room or takes nothing so long."""
        try:
            self._socket.sendto(encode(fields), self._path)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()


def encode(fields: Mapping[str, str]) -> bytes:
    """FIELDS as journald reads them: `NAME=value`, or where a value has several lines its length in front.

    Raise ValueError for a name that journald would drop.
    """
    lines = []
    for name, text in fields.items():
        if not _FIELD.fullmatch(name):
            raise ValueError(f"journal field {name!r}: not upper-case letters, digits and _, 64 at most")
        value = text.encode(errors="backslashreplace")
        if b"\n" in value:
            lines.append(name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n")
        else:
            lines.append(name.encode() + b"=" + value + b"\n")
    return b"".join(lines)
