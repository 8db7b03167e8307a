"""What a bad network does to what a host sends: it comes late or never, and what is lost is written down.

No I/O here: frames and the time come in, frames and drops go out; a seed repeats what is lost.
"""

from __future__ import annotations

import random
import struct
from collections import deque
from ipaddress import ip_address
from typing import Final, Literal

from msgspec import Struct

from vipnet.policy import DEFAULT_PORT

# A sealed datagram (docs/protocol-wire.md); written a second time on purpose: the lab
# does not trust what it tests.
_SEALED: Final = struct.Struct("!IQ")
_SEALED_MIN: Final = 29  # bytes: header, kind and tag

_ETHERTYPE: Final = slice(12, 14)  # IEEE 802.3 clause 3.2.6
_PACKET: Final = 14  # where it begins in the frame
_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"
_IPV4_HEAD: Final = struct.Struct("!BxHxxHxBxx4s4s")  # RFC 791 section 3.1
_IPV6_HEAD: Final = struct.Struct("!4xHBx16s16s")  # RFC 8200 section 3
_FRAGMENT_OFFSET: Final = 0x1FFF
_PORTS: Final = struct.Struct("!HH")
_TCP, _UDP, _ICMPV6 = 6, 17, 58
_UDP_HEAD: Final = 8  # bytes
_NEIGHBOUR_DISCOVERY: Final = range(133, 138)  # ICMPv6 types (RFC 4861 section 4)


class Drop(Struct, frozen=True, gc=False):
    """A line of the log: one IP packet that did not arrive.

    at_ns    CLOCK_MONOTONIC
    host     who sent it, on which `lan`
    cause    loss: as ordered; refused: this machine had no room for it
    length   bytes of the IP packet
    index    and `counter`: of a sealed datagram, else None
    """

    at_ns: int
    host: str
    lan: int
    cause: Literal["loss", "refused"]
    length: int
    source: str | None = None
    destination: str | None = None
    protocol: int | None = None
    source_port: int | None = None
    destination_port: int | None = None
    index: int | None = None
    counter: int | None = None


class Impairment:
    """A line on which every frame is `delay_ns` late, or lost with probability `loss`."""

    def __init__(self, delay_ns: int, loss: float, seed: int) -> None:
        self._delay_ns, self._loss = delay_ns, loss
        self._random = random.Random(seed)  # noqa: S311 - to be had again, not to be secret
        self._due: deque[tuple[int, int, bytes]] = deque()  # in order: all are equally late

    def handle_frame(self, frame: bytes, wire: int, now_ns: int) -> bool:
        """Take a FRAME from WIRE (a number of the caller's); False when it is lost."""
        if self._random.random() < self._loss:
            return False
        self._due.append((now_ns + self._delay_ns, wire, frame))
        return True

    @property
    def next_due_ns(self) -> int | None:
        return self._due[0][0] if self._due else None

    def take_due(self, now_ns: int) -> list[tuple[int, bytes]]:
        """Return wires and frames whose time has come."""
        found = []
        while self._due and self._due[0][0] <= now_ns:
            _, wire, frame = self._due.popleft()
            found.append((wire, frame))
        return found


def is_impaired(frame: bytes) -> bool:
    """An IP packet that is not neighbour discovery.

    ARP and neighbour discovery are the LAN's, where a radio repairs what it loses; late
    and lossy is the network behind it.
    """
    kind = frame[_ETHERTYPE]
    if kind != _IPV6:
        return kind == _IPV4
    packet = frame[_PACKET:]
    if len(packet) <= _IPV6_HEAD.size or packet[6] != _ICMPV6:
        return True
    return packet[_IPV6_HEAD.size] not in _NEIGHBOUR_DISCOVERY


def describe(frame: bytes, host: str, lan: int, cause: Literal["loss", "refused"], at_ns: int) -> Drop:
    """Say what was lost, as far as it can be told from FRAME."""
    kind, packet = frame[_ETHERTYPE], frame[_PACKET:]
    offset = 0
    if kind == _IPV4 and len(packet) >= _IPV4_HEAD.size:
        head, length, fragment, protocol, source, destination = _IPV4_HEAD.unpack_from(packet)
        body, offset = packet[(head & 0x0F) * 4 :], fragment & _FRAGMENT_OFFSET
    elif kind == _IPV6 and len(packet) >= _IPV6_HEAD.size:
        size, protocol, source, destination = _IPV6_HEAD.unpack_from(packet)
        body, length = packet[_IPV6_HEAD.size :], size + _IPV6_HEAD.size
    else:
        return Drop(at_ns, host, lan, cause, len(packet))
    has_ports = protocol in (_TCP, _UDP) and not offset and len(body) >= _PORTS.size
    ports = _PORTS.unpack_from(body) if has_ports else (None, None)
    is_vipnet = protocol == _UDP and DEFAULT_PORT in ports
    return Drop(
        at_ns,
        host,
        lan,
        cause,
        length,
        str(ip_address(source)),
        str(ip_address(destination)),
        protocol,
        *ports,
        *(_sealed(body[_UDP_HEAD:]) if is_vipnet else (None, None)),
    )


def _sealed(datagram: bytes) -> tuple[int, int] | tuple[None, None]:
    """Index and counter; None for a handshake."""
    if len(datagram) < _SEALED_MIN or datagram[:4] == bytes(4):
        return None, None
    index, counter = _SEALED.unpack_from(datagram)
    return index, counter
