"""ACK filtering (RFC 3449, section 5.2.1): of acknowledgements that go together the newest of a connection.

The kernel acknowledges every super-packet that it is handed, and acknowledgements are cumulative: when
several were read together, each but the last says what the last says too. Linux grows its window by the bytes
that are acknowledged (RFC 3465), not by how many times that is said.

What says something of its own stays: SACK, ECN, data, any flag but ACK, and duplicates and window
updates, which acknowledge as much as the one before them. Nothing is compared but with the packet of its
connection right before it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from vipnet.wire.inner import PROTOCOL_TCP, is_fragment
from vipnet.wire.offload import Packet

# Version to TOS, total length, protocol; sequence number, what is acknowledged, offset and flags.
_unpack = struct.Struct("!2sH5xB14x4sI2s").unpack_from
_CONNECTION: Final = slice(12, 24)  # addresses and ports
_PLAIN: Final = 0x45  # IPv4 without options
_TIMESTAMPS: Final = bytes((1, 1, 8, 10))  # as Linux aligns them (RFC 7323, appendix A)
_TIMESTAMPS_AT: Final = slice(40, 44)
_SIZES: Final = {40: b"\x50\x10", 52: b"\x80\x10"}  # bytes without and with timestamps: offset and flags
_NUMBERS, _HALF = 0xFFFFFFFF, 0x80000000  # sequence numbers wrap (RFC 1982)


class _Ack(Struct, frozen=True, gc=False):
    """An acknowledgement and nothing else.

    form    what all of a connection that are compared have in common
    number  what is acknowledged
    """

    form: bytes
    number: int


def filter_acks(packets: Sequence[Packet]) -> Sequence[Packet]:
    """PACKETS in their order, but for acknowledgements that a later one repeats; they may be anything."""
    sizes = [len(packet.data) for packet in packets]
    if sum(map(sizes.count, _SIZES)) < 2:
        return packets
    before: dict[bytes, tuple[int, _Ack] | None] = {}  # by connection: the packet before, and where it is
    superseded: set[int] = set()
    duplicates: set[int] = set()
    for place, packet in enumerate(packets):
        connection = bytes(packet.data[_CONNECTION])
        ack, last = _ack(packet.data), before.get(connection)
        before[connection] = None if ack is None else (place, ack)
        if ack is None or last is None or ack.form != last[1].form:
            continue
        if 0 < (ack.number - last[1].number) & _NUMBERS < _HALF:
            superseded.add(last[0])
        else:
            duplicates.update((last[0], place))
    superseded -= duplicates
    if not superseded:
        return packets
    return [packet for place, packet in enumerate(packets) if place not in superseded]


def _ack(packet: bytes | memoryview) -> _Ack | None:
    form = _SIZES.get(len(packet))
    if form is None:
        return None
    first, length, protocol, sequence, number, offset_and_flags = _unpack(packet)
    if first[0] != _PLAIN or length != len(packet) or protocol != PROTOCOL_TCP or offset_and_flags != form:
        return None
    if is_fragment(packet) or packet[_TIMESTAMPS_AT] not in (b"", _TIMESTAMPS):
        return None
    return _Ack(first + form + sequence, number)
