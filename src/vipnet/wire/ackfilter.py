"""ACK filtering (RFC 3449, section 5.2.1): of acknowledgements that go together the newest of a connection.

The kernel acknowledges every super-packet that it is handed, and acknowledgements are cumulative: when
several were read together, each but the last says what the last says too. Linux grows its window by the bytes
that are acknowledged (RFC 3465), not by how many times that is said.

What says something of its own stays: duplicates, window updates, SACK, ECN, data, any flag but ACK.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from vipnet.wire.inner import PROTOCOL_TCP, is_fragment
from vipnet.wire.offload import Packet

# Version to TOS; TTL and protocol; addresses, ports, sequence number; what is acknowledged; offset and flags.
_unpack = struct.Struct("!2s6xxB2x16sI2s").unpack_from
_PLAIN: Final = 0x45  # IPv4 without options
_TIMESTAMPS: Final = bytes((1, 1, 8, 10))  # as Linux aligns them (RFC 7323, appendix A)
_TIMESTAMPS_AT: Final = 40
_SIZES: Final = {40: b"\x50\x10", 52: b"\x80\x10"}  # bytes without and with timestamps: offset and flags
_HALF: Final = 1 << 31  # of the sequence numbers


def filter_acks(packets: Sequence[Packet]) -> Sequence[Packet]:
    """PACKETS in their order, but for acknowledgements that a later one repeats; they may be anything."""
    newest: dict[tuple[bytes, bytes], tuple[int, int]] = {}  # by connection and form: the number, and where
    superseded: set[int] = set()
    for place, packet in enumerate(packets):
        data = packet.data
        form = _SIZES.get(len(data))
        if form is None:
            continue
        first, protocol, connection, number, offset_and_flags = _unpack(data)
        if first[0] != _PLAIN or protocol != PROTOCOL_TCP or offset_and_flags != form or is_fragment(data):
            continue
        if len(data) > _TIMESTAMPS_AT and data[_TIMESTAMPS_AT : _TIMESTAMPS_AT + 4] != _TIMESTAMPS:
            continue
        key = first + form, connection
        before = newest.get(key)
        if before is not None and 0 < (number - before[0]) & 0xFFFFFFFF < _HALF:
            superseded.add(before[1])
        newest[key] = number, place
    if not superseded:
        return packets
    return [packet for place, packet in enumerate(packets) if place not in superseded]
