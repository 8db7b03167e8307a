"""When a packet came in, as the kernel says: sockets that stamp what they receive."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable
from typing import Final

# asm-generic/socket.h; Python has no names for them.
_SO_RCVBUFFORCE: Final = 33
_SO_TIMESTAMPNS: Final = 35
_TIMESPEC: Final = struct.Struct("qq")

ANCILLARY_SIZE: Final = 64  # bytes for recvmsg; a stamp takes 32


def stamped(sock: socket.socket, buffer_bytes: int) -> socket.socket:
    """Have SOCK stamp what it receives, hold so much of it, and never block."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)
    except PermissionError:  # root of a user namespace only: as much as the system allows
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    sock.setblocking(False)
    return sock


def stamp_ns(ancillary: Iterable[tuple[int, int, bytes]]) -> int:
    """Nanoseconds since 1970 out of recvmsg's ancillary data; now, when there is no stamp."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return time.time_ns()
