"""Packets that wait for a key or a path: in order, and not without end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.core.pairs import pair
from tests.sim.network import Network

from vipnet.core.backlog import Backlog
from vipnet.policy import Policy
from vipnet.wire.offload import Offload, Packet

POLICY = Policy(queue_packets=4, queue_bytes=100)


def taken_from(backlog: Backlog) -> list[bytes]:
    return [bytes(packet.data) for packet in backlog.take_all()]


def test_packets_come_out_in_their_order_once() -> None:
    backlog = Backlog(POLICY)
    for packet in (b"one", b"two", b"three"):
        backlog.append(Packet(packet))
    assert taken_from(backlog) == [b"one", b"two", b"three"]
    assert taken_from(backlog) == []


def test_a_few_may_be_taken_and_leave_their_room() -> None:
    backlog = Backlog(POLICY)
    for packet in (b"one", b"two", bytes(94)):
        backlog.append(Packet(packet))
    assert backlog.take(2) == [Packet(b"one"), Packet(b"two")]
    backlog.append(Packet(b"fits"))
    assert (len(backlog), backlog.refused) == (2, 0)
    assert backlog.take(5) == [Packet(bytes(94)), Packet(b"fits")]
    assert backlog.take(5) == []


def test_a_bulk_transfer_can_be_passed() -> None:
    backlog = Backlog(POLICY)
    bulk = Packet(bytes(30), Offload(20, 16, 10))
    for packet in (bulk, Packet(b"one"), Packet(b"two"), bulk):
        backlog.append(packet)
    assert backlog.take(1, past_bulk=True) == [Packet(b"one")]
    assert backlog.take(9, past_bulk=True) == [Packet(b"two")]
    assert backlog.take(9, past_bulk=True) == []
    backlog.append(Packet(bytes(40)))
    assert (len(backlog), backlog.refused) == (3, 0)
    assert backlog.take(9) == [bulk, bulk, Packet(bytes(40))]


def test_a_bulk_transfer_leaves_room_for_others() -> None:
    backlog = Backlog(POLICY)
    bulk = Offload(20, 16, 10)
    for _ in range(3):
        backlog.append(Packet(bytes(30), bulk))
    backlog.append(Packet(bytes(40)))
    assert [len(packet.data) for packet in backlog.take_all()] == [30, 30, 40]
    assert backlog.refused == 1


def test_a_hint_does_not_wait_until_a_long_backlog_is_sealed() -> None:
    """What waited leaves in steps, in its order, and before what comes meanwhile."""
    net = Network(1, latency_s=0.01)
    a, b = pair(net)
    a.move_to(None)
    net.run_for(0.1)
    b.received.clear()
    for number in range(1000):
        a.send(b, b"n%03d" % number)
    sent_before = len(net.trace)
    a.move_to("203.0.113.9")
    at_once = len(net.trace) - sent_before
    assert 0 < at_once <= Policy().flush_burst_packets + 2
    a.send(b, b"last")
    net.run_for(1)
    assert [body for body in b.received if body.startswith(b"n")] == [b"n%03d" % n for n in range(1000)]
    assert b.received[-1] == b"last"


def test_what_is_put_back_comes_before_what_came_since() -> None:
    backlog = Backlog(POLICY)
    for packet in (b"one", b"two", b"three"):
        backlog.append(Packet(packet))
    taken = backlog.take_all()
    backlog.append(Packet(b"four"))
    backlog.put_back(taken[1:])
    assert taken_from(backlog) == [b"two", b"three", b"four"]


@given(st.lists(st.binary(max_size=60), max_size=40))
def test_it_is_bounded_in_packets_and_bytes_and_counts_what_it_refuses(packets: list[bytes]) -> None:
    backlog = Backlog(POLICY)
    for packet in packets:
        backlog.append(Packet(packet))
    kept = taken_from(backlog)
    assert len(kept) <= POLICY.queue_packets
    assert sum(map(len, kept)) <= POLICY.queue_bytes
    assert len(kept) + backlog.refused == len(packets)
    assert kept == [packet for packet in packets if packet in kept][: len(kept)] or backlog.refused
    backlog.append(Packet(b"room again"))
    assert len(backlog) == 1
