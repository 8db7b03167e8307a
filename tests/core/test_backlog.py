"""Packets that wait for a key or a path: in order, and not without end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vipnet.core.backlog import Backlog
from vipnet.policy import Policy

POLICY = Policy(queue_packets=4, queue_bytes=100)


def test_packets_come_out_in_their_order_once() -> None:
    backlog = Backlog(POLICY)
    for packet in (b"one", b"two", b"three"):
        backlog.append(packet)
    assert backlog.take_all() == [b"one", b"two", b"three"]
    assert backlog.take_all() == []


def test_what_is_put_back_comes_before_what_came_since() -> None:
    backlog = Backlog(POLICY)
    for packet in (b"one", b"two", b"three"):
        backlog.append(packet)
    taken = backlog.take_all()
    backlog.append(b"four")
    backlog.put_back(taken[1:])
    assert backlog.take_all() == [b"two", b"three", b"four"]


@given(st.lists(st.binary(max_size=60), max_size=40))
def test_it_is_bounded_in_packets_and_bytes_and_counts_what_it_refuses(packets: list[bytes]) -> None:
    backlog = Backlog(POLICY)
    for packet in packets:
        backlog.append(packet)
    kept = backlog.take_all()
    assert len(kept) <= POLICY.queue_packets
    assert sum(map(len, kept)) <= POLICY.queue_bytes
    assert len(kept) + backlog.refused == len(packets)
    assert kept == [packet for packet in packets if packet in kept][: len(kept)] or backlog.refused
    backlog.append(b"room again")
    assert len(backlog) == 1
