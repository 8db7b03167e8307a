"""Of each TCP connection the oldest unacknowledged segment is kept, and no more than that."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.test_session import make

from vipnet.core.flows import Flows
from vipnet.core.stash import StashRoom
from vipnet.policy import Policy
from vipnet.types import Instant
from vipnet.wire.offload import Packet

START = Instant(1000.0)
FIN, SYN, RST, ACK = 1, 2, 4, 16
NUMBERS = 2**32


def segment(
    number: int, size: int = 100, *, flags: int = ACK, ack: int = 0, ports: tuple[int, int] = (4000, 80)
) -> bytes:
    """An IPv4 packet with a TCP segment of SIZE bytes; addresses and checksums play no part."""
    ip = struct.pack("!BxH5xB10x", 0x45, 40 + size, 6)
    return ip + struct.pack("!HHIIBB6x", *ports, number % NUMBERS, ack % NUMBERS, 0x50, flags) + bytes(size)


def answer(ack: int, *, flags: int = ACK, ports: tuple[int, int] = (80, 4000)) -> bytes:
    return segment(1, 0, flags=flags, ack=ack, ports=ports)


def segments(packets: Iterable[Packet]) -> list[bytes]:
    return [bytes(packet.data) for packet in packets]


class Connection:
    """What a peer's Flows see."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self.room = StashRoom(self.policy)
        self.flows, self.session = Flows(self.policy, self.room), make(ours=True)

    def send(self, *packets: bytes, at: float = 0.0) -> None:
        for packet in packets:
            self.flows.sent(Packet(packet), self.session, Instant(START + at))

    @property
    def kept(self) -> list[bytes]:
        """Segments that would be sent again if the stash were empty."""
        return segments(self.flows.stalled(Instant(START + 1e6), None))


@given(first=st.integers(0, NUMBERS - 1), acked=st.integers(0, 10))
def test_the_oldest_segment_is_kept_until_it_is_acknowledged(first: int, acked: int) -> None:
    """Sequence numbers wrap (RFC 1982)."""
    connection = Connection()
    packets = [segment(first + 100 * number) for number in range(10)]
    connection.send(*packets)
    assert connection.kept == [packets[0]]
    connection.flows.received(answer(first + 100 * acked))
    assert connection.kept == ([] if acked else [packets[0]])
    # What TCP sends next, be it new or the oldest that is left, takes its place.
    following = segment(first + 100 * acked)
    connection.send(following)
    assert connection.kept == [following if acked else packets[0]]


def test_a_retransmission_of_something_older_takes_the_place() -> None:
    connection = Connection()
    connection.send(segment(100), segment(200), segment(300))
    connection.flows.received(answer(200))
    connection.send(segment(400))
    connection.send(segment(200))
    assert connection.kept == [segment(200)]


def test_an_old_or_partial_acknowledgement_frees_nothing() -> None:
    connection = Connection()
    connection.send(segment(1000))
    for ack in (900, 1000, 1099):
        connection.flows.received(answer(ack))
    assert connection.kept == [segment(1000)]


@pytest.mark.parametrize("flags", [SYN, FIN | ACK])
def test_syn_and_fin_count_as_a_byte(flags: int) -> None:
    connection = Connection()
    connection.send(segment(7, 0, flags=flags))
    connection.flows.received(answer(7))
    assert len(connection.kept) == 1
    connection.flows.received(answer(8))
    assert connection.kept == []


def test_what_needs_no_answer_is_not_kept() -> None:
    connection = Connection()
    datagram = b"\x45" + bytes(8) + b"\x11" + bytes(40)
    with_options = b"\x46" + segment(1)[1:]
    connection.send(segment(1, 0), segment(1, 5, flags=RST), datagram, with_options, b"\x45" + bytes(25))
    assert connection.kept == []
    assert connection.room.free_bytes == connection.policy.stash_total_bytes


def test_a_reset_ends_a_connection_and_only_that_one() -> None:
    connection = Connection()
    other = segment(5, ports=(4001, 80))
    connection.send(segment(5), other)
    connection.flows.received(answer(0, flags=RST))
    assert connection.kept == [other]


def test_what_waits_longest_comes_first_and_after_a_minute_no_more() -> None:
    connection = Connection()
    late, early = segment(5, ports=(1, 2)), segment(5, ports=(3, 4))
    connection.send(early, at=0)
    connection.send(late, at=10)
    connection.send(early, at=30)  # TCP's own copy does not make it younger
    assert connection.kept == [early, late]
    connection.flows.expire(Instant(START + 60.5))
    assert connection.kept == [late]
    connection.flows.expire(Instant(START + 70.5))
    assert connection.room.free_bytes == connection.policy.stash_total_bytes


def test_what_a_replay_brings_is_left_to_it() -> None:
    connection = Connection()
    connection.send(segment(5), at=1)
    opens = {connection.session.remote_index}
    assert segments(connection.flows.stalled(Instant(START + 0.5), opens)) == []
    assert segments(connection.flows.stalled(Instant(START + 0.5), set())) == [segment(5)]
    assert segments(connection.flows.stalled(Instant(START + 1.5), opens)) == [segment(5)]


@pytest.mark.parametrize(
    "policy", [Policy(flows=3), Policy(flows_bytes=3 * 140), Policy(stash_total_bytes=3 * 140)]
)
def test_number_and_size_are_bounded_and_excess_is_counted(policy: Policy) -> None:
    connection = Connection(policy)
    packets = [segment(5, ports=(number, 80)) for number in range(5)]
    connection.send(*packets)
    assert connection.kept == packets[:3]
    assert connection.flows.dropped == 2
    connection.flows.received(answer(105, ports=(80, 0)))
    connection.send(packets[3])
    assert connection.kept == [*packets[1:4]]
    connection.flows.clear()
    assert connection.room.free_bytes == connection.policy.stash_total_bytes
