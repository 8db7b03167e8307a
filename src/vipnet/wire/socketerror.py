"""What Linux puts into a socket's error queue (ip(7), IP_RECVERR; linux/errqueue.h).

errno u32 | origin u8 | type u8 | code u8 | pad u8 | info u32 | data u32     host's byte order
"""

from __future__ import annotations

import errno
import struct
from typing import Final

_EXTENDED = struct.Struct("=IBxxxII")
_LOCAL: Final = 1
_ROUTERS: Final = (2, 3)  # ICMP, ICMPv6

QUOTED_MAX: Final = 64  # bytes of the datagram in question that are worth reading
ANCILLARY_MAX: Final = 256


def too_big(data: bytes) -> tuple[int, bool] | None:
    """What MTU the error in DATA speaks of, and whether it is our own kernel that does.

    None when it says something else.
    """
    if len(data) < _EXTENDED.size:
        return None
    number, origin, mtu, _ = _EXTENDED.unpack_from(data)
    if number != errno.EMSGSIZE or not (origin == _LOCAL or origin in _ROUTERS):
        return None
    return mtu, origin == _LOCAL
