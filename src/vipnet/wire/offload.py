"""Packets as the kernel hands them over when it may leave work undone.

A packet of an application may come out of tun0 with its transport checksum only
begun, and as a super-packet: many TCP segments under one header, that are still to
be cut apart. Inside vipnet it stays so as long as possible. What goes into tun0 may
be a super-packet of UDP, too.
"""

from __future__ import annotations

import struct
from typing import Final

from msgspec import Struct

from vipnet.errors import WireError
from vipnet.wire.checksum import checksum
from vipnet.wire.datagram import BLOCK_MAX, SEGMENTS_MAX, TCP_OVERHEAD
from vipnet.wire.inner import PROTOCOL_TCP, PROTOCOL_UDP, is_fragment

PACKET_MAX: Final = 65_535  # bytes; what an IPv4 length field can say
TRAILER_MAX: Final = 124  # bytes: two headers of 60, a counter, their length, the kind

# Where the checksum stands in the transport header (RFC 9293 section 3.1, RFC 768).
CHECKSUM_FIELD: Final = {PROTOCOL_TCP: 16, PROTOCOL_UDP: 6}

TRANSPORT_MIN: Final = {PROTOCOL_TCP: 20, PROTOCOL_UDP: 8}  # bytes

_HEADERS_MIN: Final = 40  # bytes, IPv4 and TCP
_LINK_ROOM: Final = 400  # bytes
_END_ROOM: Final = 129  # bytes: the end of a train, its TCP header as long as it can be

_WORD = struct.Struct("!H")


class Offload(Struct, frozen=True, gc=False):
    """What is still to be done with a packet.

    transport      where the transport header begins, bytes; the checksum covers what follows
    checksum       where the checksum stands in it, bytes; it holds the sum of the pseudo header
    segment_size   payload of each segment or datagram but the last, bytes; 0: one packet, nothing to cut
    """

    transport: int
    checksum: int
    segment_size: int = 0


class Packet(Struct, frozen=True, gc=False):
    """One IPv4 packet or super-packet from tun0.

    data     the packet; a view is valid until the next read
    offload  None: complete
    room     the same memory and TRAILER_MAX bytes behind it, free to be overwritten
    """

    data: bytes | memoryview
    offload: Offload | None = None
    room: memoryview | None = None

    def kept(self) -> Packet:
        """A copy that outlives the next read."""
        return Packet(bytes(self.data), self.offload)

    def writable(self) -> memoryview:
        """`room`, or a copy that has some."""
        if self.room is not None:
            return self.room
        size = len(self.data)
        copy = bytearray(size + TRAILER_MAX)
        copy[:size] = self.data
        return memoryview(copy)


def super_packet_max(mtu: int) -> int:
    """Bytes up to which super-packets of an interface with this MTU go out in one send.

    Without it the largest would be one full send and one small rest. The kernel takes room for
    link headers off (tcp_tso_autosize: 320 bytes and one), and rounds down to whole segments.
    """
    segments = min(SEGMENTS_MAX - 1, (BLOCK_MAX - _END_ROOM) // (mtu + TCP_OVERHEAD))
    return min(PACKET_MAX, max(segments * (mtu - _HEADERS_MIN), 0) + _LINK_ROOM)


def complete_checksum(packet: bytes | memoryview, offload: Offload) -> bytes:
    """PACKET with the transport checksum that OFFLOAD says is only begun. It must lie inside."""
    done = bytearray(packet)
    # The field holds the sum of the pseudo header: it is summed with the rest.
    whole = checksum(done[offload.transport :])
    if offload.checksum == CHECKSUM_FIELD[PROTOCOL_UDP] and not whole:
        whole = 0xFFFF  # 0 would say "none" (RFC 768)
    _WORD.pack_into(done, offload.transport + offload.checksum, whole)
    return bytes(done)


def is_begun(packet: bytes | memoryview, offload: Offload) -> bool:
    """Whether OFFLOAD is what begun_checksum() says of PACKET, a whole IPv4 packet."""
    transport = (packet[0] & 0x0F) * 4
    protocol = packet[9]
    return (
        offload.transport == transport
        and offload.checksum == CHECKSUM_FIELD.get(protocol)
        and not offload.segment_size
        and len(packet) >= transport + TRANSPORT_MIN[protocol]
        and not is_fragment(packet)
    )


def begun_checksum(packet: bytes | memoryview) -> Offload:
    """What is left to do for PACKET, a whole IPv4 packet, where all that is known is that something is.

    Raise WireError when it has no transport checksum.
    """
    size, transport = len(packet), (packet[0] & 0x0F) * 4
    protocol = packet[9]
    if protocol not in CHECKSUM_FIELD or is_fragment(packet):
        raise WireError(f"begun checksum: protocol {protocol}, or a fragment")
    if size < transport + TRANSPORT_MIN[protocol]:
        raise WireError(f"begun checksum: {size - transport} bytes of protocol {protocol}")
    return Offload(transport, CHECKSUM_FIELD[protocol])
