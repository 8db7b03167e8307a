"""What a tun device says of a packet besides the packet: struct virtio_net_hdr (linux/virtio_net.h)."""

from __future__ import annotations

import struct
from typing import Final

from vipnet.wire.inner import PROTOCOL_TCP, PROTOCOL_UDP
from vipnet.wire.offload import CHECKSUM_FIELD, TRANSPORT_MIN, Offload

# flags, gso_type, hdr_len, gso_size, csum_start, csum_offset: the machine's own byte order
_HEADER = struct.Struct("=BBHHHH")
HEADER_SIZE: Final = _HEADER.size  # 10 bytes
COMPLETE: Final = bytes(HEADER_SIZE)  # nothing is left to do

_NEEDS_CSUM: Final = 1
_GSO_NONE, _GSO_TCPV4, _GSO_UDP_L4, _GSO_ECN = 0, 1, 5, 0x80

_CHECKSUM_SIZE: Final = 2  # bytes
_CWR: Final = 0x80
_FLAGS_AT: Final = 13  # in the TCP header


def decode(data: bytes | bytearray | memoryview, at: int = 0, end: int | None = None) -> Offload | None:
    """What is left to do with the packet behind the header in DATA, from AT to END.

    Raise ValueError when it was not asked for, or would reach beyond the packet.
    """
    size = (len(data) if end is None else end) - at - HEADER_SIZE
    if size < 0:
        raise ValueError(f"virtio header: {size + HEADER_SIZE} bytes")
    flags, gso_type, _, gso_size, start, offset = _HEADER.unpack_from(data, at)
    if not flags & _NEEDS_CSUM:
        if gso_type != _GSO_NONE:
            raise ValueError(f"GSO type {gso_type} without a checksum to complete")
        return None
    if start + offset + _CHECKSUM_SIZE > size:
        raise ValueError(f"virtio header: a checksum at {start} + {offset} in {size} bytes")
    kind = gso_type & ~_GSO_ECN
    if kind == _GSO_NONE:
        return Offload(start, offset)
    if kind != _GSO_TCPV4 or not gso_size:
        raise ValueError(f"GSO type {gso_type}, segments of {gso_size}")
    return Offload(start, offset, gso_size)


def encode(packet: bytes | memoryview, offload: Offload | None) -> bytes:
    """The header that goes before PACKET."""
    if offload is None:
        return COMPLETE
    start, checksum, size = offload.transport, offload.checksum, offload.segment_size
    if not size:
        return _HEADER.pack(_NEEDS_CSUM, _GSO_NONE, 0, 0, start, checksum)
    if checksum == CHECKSUM_FIELD[PROTOCOL_UDP]:
        headers_size = start + TRANSPORT_MIN[PROTOCOL_UDP]
        return _HEADER.pack(_NEEDS_CSUM, _GSO_UDP_L4, headers_size, size, start, checksum)
    assert checksum == CHECKSUM_FIELD[PROTOCOL_TCP]  # noqa: S101 - nothing else is joined
    kind = _GSO_TCPV4 | (_GSO_ECN if packet[start + _FLAGS_AT] & _CWR else 0)
    headers_size = start + (packet[start + 12] >> 4) * 4
    return _HEADER.pack(_NEEDS_CSUM, kind, headers_size, size, start, checksum)
