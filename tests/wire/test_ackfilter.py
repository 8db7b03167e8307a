"""ACK filtering: which acknowledgements go, and that whatever says something of its own stays."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.test_tcp import ACK, CWR, ECE, FIN, PSH, SYN, tcp

from vipnet.wire.ackfilter import filter_acks
from vipnet.wire.offload import Packet

_TIMESTAMPS = struct.pack("!BBBBII", 1, 1, 8, 10, 7, 8)
_SACK = struct.pack("!BBBBII", 1, 1, 5, 10, 100, 200)


def ack(
    number: int, port: int = 1000, *, options: bytes = _TIMESTAMPS, payload: bytes = b"", **fields: Any
) -> bytes:
    packet = bytearray(tcp(payload, options=options, **fields))
    struct.pack_into("!H", packet, 20, port)
    struct.pack_into("!I", packet, 28, number & 0xFFFFFFFF)
    return bytes(packet)


def filtered(*packets: bytes) -> list[bytes]:
    return [bytes(packet.data) for packet in filter_acks([Packet(one) for one in packets])]


def test_the_newest_of_each_connection_stays() -> None:
    first = [ack(number, port=1) for number in (100, 200, 300)]
    second = [ack(number, port=2, options=b"") for number in (50, 60)]
    assert filtered(first[0], second[0], first[1], first[2], second[1]) == [first[2], second[1]]


def test_with_timestamps_is_not_compared_with_without() -> None:
    packets = [ack(100), ack(200, options=b""), ack(300)]
    assert filtered(*packets) == packets


def test_numbers_go_round() -> None:
    before, after = ack(-50), ack(50)
    assert filtered(before, after) == [after]
    assert filtered(after, before) == [after, before]


@pytest.mark.parametrize(
    "change",
    [
        lambda number: ack(200),  # a duplicate, or a window update: it counts
        lambda number: ack(number, options=_SACK),
        lambda number: ack(number, flags=ACK | ECE),
        lambda number: ack(number, flags=ACK | CWR),
        lambda number: ack(number, flags=ACK | PSH),
        lambda number: ack(number, flags=ACK | FIN),
        lambda number: ack(number, flags=ACK | SYN),
        lambda number: ack(number, sequence=2 + number),
        lambda number: ack(number, payload=bytes(12), options=b""),  # as long as one with timestamps
        lambda number: ack(number, tos=number % 4),
        lambda number: ack(number, ip_options=bytes(12), options=b""),
    ],
    ids=["duplicate", "SACK", "ECE", "CWR", "PSH", "FIN", "SYN", "later", "data", "ECN", "IP options"],
)
def test_what_says_something_of_its_own_stays(change: Callable[[int], bytes]) -> None:
    packets = [change(number) for number in (201, 202)]
    assert filtered(*packets) == packets


def test_what_came_between_is_not_reached_over() -> None:
    marked = ack(200, flags=ACK | ECE)  # DCTCP counts the bytes that each acknowledges
    assert filtered(ack(100), marked, ack(300)) == [ack(100), marked, ack(300)]
    assert filtered(ack(100), ack(200), marked, ack(300), ack(400)) == [ack(200), marked, ack(400)]


def test_duplicates_stay_though_more_is_acknowledged_later() -> None:
    again = [ack(100), ack(100), ack(100)]
    assert filtered(*again, ack(200), ack(300)) == [*again, ack(300)]


def test_what_is_no_whole_packet_supersedes_nothing() -> None:
    longer = bytearray(ack(200))
    longer[2:4] = (1500).to_bytes(2, "big")
    assert filtered(ack(100), bytes(longer)) == [ack(100), longer]


def test_a_fragment_stays() -> None:
    packets = [bytearray(ack(number)) for number in (100, 200)]
    for packet in packets:
        packet[6] = 0x20
    assert filtered(*map(bytes, packets)) == packets


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 3)) | st.binary(max_size=60), max_size=12))
def test_whoever_hears_the_rest_has_heard_all(drawn: list[tuple[int, int] | bytes]) -> None:
    packets = [one if isinstance(one, bytes) else ack(one[1], port=one[0]) for one in drawn]
    kept = filtered(*packets)
    rest = iter(packets)
    assert all(packet in rest for packet in kept), "in their order"
    for port in range(4):
        said = [one[1] for one in drawn if not isinstance(one, bytes) and one[0] == port]
        heard = [packet for packet in kept if packet in [ack(number, port=port) for number in said]]
        assert bool(said) == bool(heard)
        if said:
            assert heard[-1] == ack(said[-1], port=port)
            assert ack(max(said), port=port) in heard
    assert [one for one in kept if len(one) != 52] == [one for one in packets if len(one) != 52]
