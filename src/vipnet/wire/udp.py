"""UDP datagrams that came together and belong together, as one super-packet; and cut up again.

What the kernel does between a NIC and a socket that wants it (UDP GRO, Linux 4.18) it does not do
behind a tun device: there each datagram would go all the way by itself. As one super-packet
they go together up to their socket (USO, Linux 6.2), which gets them one by one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final, TypeGuard

from vipnet.wire.checksum import checksum, sum16
from vipnet.wire.inner import IPV4_HEADER_MIN, PROTOCOL_UDP
from vipnet.wire.offload import CHECKSUM_FIELD, PACKET_MAX, TRANSPORT_MIN, Offload, Packet

BEGUN: Final = Offload(IPV4_HEADER_MIN, CHECKSUM_FIELD[PROTOCOL_UDP])
HEADERS_SIZE: Final = IPV4_HEADER_MIN + TRANSPORT_MIN[PROTOCOL_UDP]  # bytes, IPv4 without options and UDP

_IPV4_PLAIN: Final = 0x45
_DATAGRAMS_MAX: Final = 64  # UDP_MAX_SEGMENTS up to Linux 6.9
_LENGTH_AT, _ID_AT, _IP_SUM_AT, _UDP_LENGTH_AT = 2, 4, 10, 24
# All of the headers but the identification and the checksum of the IPv4 header.
_alike = struct.Struct("4s2x4s2x16s").unpack_from
_u16 = struct.Struct("!H")
_pack_u16 = _u16.pack_into


def join(packets: Sequence[Packet]) -> Sequence[Packet]:
    """PACKETS in their order; datagrams of one flow and size that follow each other are one super-packet.

    As in UDP GRO their identifications are forgotten: they count up from the first one's.
    """
    if len(packets) < 2:
        return packets
    joined: list[Packet] = []
    at = 0
    while at < len(packets):
        end = _alike_until(packets, at)
        joined.append(packets[at] if end - at < 2 else _super_packet(packets[at:end]))
        at = end
    return joined


def is_joined(offload: Offload | None) -> TypeGuard[Offload]:
    """Whether OFFLOAD is that of datagrams which are one super-packet."""
    return offload is not None and offload.segment_size > 0 and offload.checksum == BEGUN.checksum


def cut(packet: bytes | memoryview, offload: Offload) -> Iterator[bytes]:
    """The datagrams of a super-packet, their checksums BEGUN.

    OFFLOAD must be true of PACKET, as it is of what was joined.
    """
    payload, size = memoryview(packet)[HEADERS_SIZE:], offload.segment_size
    (first,) = _u16.unpack_from(packet, _ID_AT)
    for number, start in enumerate(range(0, len(payload), size)):
        headers = bytearray(packet[:HEADERS_SIZE])
        _pack_u16(headers, _ID_AT, (first + number) & 0xFFFF)
        piece = payload[start : start + size]
        yield bytes(_finished(headers, len(piece)) + piece)


def _alike_until(packets: Sequence[Packet], at: int) -> int:
    """Where the run ends that begins with the packet at AT; just behind that when there is none."""
    first = packets[at]
    size, end = len(first.data), at + 1
    if first.offload != BEGUN or first.data[9] != PROTOCOL_UDP or not _is_plain(first.data):
        return end
    headers = _alike(first.data)
    most = min((PACKET_MAX - HEADERS_SIZE) // (size - HEADERS_SIZE), _DATAGRAMS_MAX)
    for packet in packets[end : at + most]:
        if len(packet.data) != size or packet.offload != BEGUN or _alike(packet.data) != headers:
            break
        end += 1
    return end


def _is_plain(packet: bytes | memoryview) -> bool:
    """Whether a UDP datagram has payload, no IPv4 options, and the lengths that its headers say."""
    size = len(packet)
    return (
        packet[0] == _IPV4_PLAIN
        and size > HEADERS_SIZE
        and _u16.unpack_from(packet, _LENGTH_AT) == (size,)
        and _u16.unpack_from(packet, _UDP_LENGTH_AT) == (size - IPV4_HEADER_MIN,)
    )


def _super_packet(packets: Sequence[Packet]) -> Packet:
    first = packets[0].data
    payload = b"".join(packet.data[HEADERS_SIZE:] for packet in packets)
    headers = _finished(bytearray(first[:HEADERS_SIZE]), len(payload))
    left = Offload(BEGUN.transport, BEGUN.checksum, len(first) - HEADERS_SIZE)
    return Packet(bytes(headers) + payload, left)


def _finished(headers: bytearray, size: int) -> bytearray:
    """HEADERS before SIZE bytes of payload; the UDP checksum is begun."""
    udp_size = HEADERS_SIZE - IPV4_HEADER_MIN + size
    _pack_u16(headers, _LENGTH_AT, IPV4_HEADER_MIN + udp_size)
    _pack_u16(headers, _IP_SUM_AT, 0)
    _pack_u16(headers, _IP_SUM_AT, checksum(headers[:IPV4_HEADER_MIN]))
    _pack_u16(headers, _UDP_LENGTH_AT, udp_size)
    begun = sum16(headers[12:IPV4_HEADER_MIN], PROTOCOL_UDP + udp_size)
    _pack_u16(headers, BEGUN.transport + BEGUN.checksum, begun)
    return headers
