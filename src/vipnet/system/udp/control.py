"""Beside a datagram: the address that it leaves from, and what the kernel says of one that did not pass."""

from __future__ import annotations

import socket
import struct
from typing import Final

from vipnet.core.outputs import TooBig
from vipnet.types import Locator
from vipnet.wire import socketerror

# linux/in.h, linux/in6.h: what the socket module has no name for
IP_RECVERR, IPV6_RECVERR = 11, 25
_IP_PKTINFO: Final = 8
_IN_PKTINFO = struct.Struct("=i4s4s")  # interface, source, (receiving only)
_IN6_PKTINFO = struct.Struct("=16si")  # source, interface

Control = list[tuple[int, int, bytes]]


def packet_info(source: str, index: int) -> tuple[int, int, bytes]:
    """The message that names a datagram's source and interface; unspecified, 0: the kernel's choice."""
    if ":" in source:
        packed = socket.inet_pton(socket.AF_INET6, source)
        return socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _IN6_PKTINFO.pack(packed, index)
    packed = socket.inet_pton(socket.AF_INET, source)
    return socket.IPPROTO_IP, _IP_PKTINFO, _IN_PKTINFO.pack(index, packed, bytes(4))


def too_big(quoted: bytes, control: Control, address: tuple[str, int]) -> TooBig | None:
    """What an entry of an error queue says; None for other errors, and for places that no peer has."""
    for level, kind, value in control:
        if (level, kind) in ((socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR)):
            found = socketerror.too_big(value)
            if found is not None and "%" not in address[0]:
                mtu, local = found
                return TooBig(Locator(*address[:2]), mtu, quoted, local)
    return None


def natural_source(destination: Locator) -> str:
    """The address from which the kernel would send to DESTINATION by itself; nothing is sent."""
    family = socket.AF_INET6 if ":" in destination.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((destination.host, destination.port))
        found: str = probe.getsockname()[0]
    return found
