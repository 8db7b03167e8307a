"""Whoever watches the packets gets copies, cut and counted, and stands in nobody's way."""

from __future__ import annotations

import trio
import trio.testing
from tests.app.test_engine import HERE, THERE, Delivering, engine_of
from tests.fakes import FakeSockets, FakeTun, FakeWire

from vipnet.app.tap import WAITING_MAX, Tap, Watcher
from vipnet.wire.offload import Packet


def packet(source: int, destination: int, payload: bytes = b"") -> bytes:
    """The shape of an IPv4 packet from 240.0.0.SOURCE to 240.0.0.DESTINATION."""
    return bytes(12) + bytes((240, 0, 0, source, 240, 0, 0, destination)) + payload


def test_what_is_kept_is_a_copy_of_the_first_bytes() -> None:
    tap, watcher = Tap(), Watcher(snap=22)
    memory = bytearray(packet(1, 2, b"abcdef"))
    with tap.watched_by(watcher):
        tap.sent([Packet(memoryview(memory))])
        memory[:] = bytes(len(memory))  # as sealing does
        tap.delivered(packet(2, 1, b"x"))
    sent, delivered = watcher.take(1 << 16)
    assert (sent.data, sent.size, sent.sent) == (packet(1, 2, b"ab"), 26, True)
    assert (delivered.data, delivered.size, delivered.sent) == (packet(2, 1, b"x"), 21, False)
    assert sent.at_ns <= delivered.at_ns
    assert watcher.take(1 << 16) == []


def test_one_peer_may_be_picked_by_its_token_both_ways() -> None:
    watcher = Watcher(100, lambda token: token == bytes((240, 0, 0, 7)))
    for sent, data in (
        (True, packet(1, 7)),
        (True, packet(7, 1)),
        (False, packet(7, 1)),
        (False, packet(1, 7)),
    ):
        watcher.see(data, sent=sent, at_ns=0)
    assert [(seen.sent, seen.data) for seen in watcher.take(1 << 16)] == [
        (True, packet(1, 7)),
        (False, packet(7, 1)),
    ]


def test_who_does_not_read_misses_packets_and_takes_no_more_memory() -> None:
    watcher = Watcher(65_535)
    data = bytes(60_000)
    count = 2 * WAITING_MAX // len(data)
    for _ in range(count):
        watcher.see(data, sent=True, at_ns=0)
    missed = watcher.missed
    kept = 0
    while taken := watcher.take(1 << 18):
        assert sum(len(seen.data) for seen in taken) <= 1 << 18
        kept += len(taken)
    assert kept + missed == count
    assert 0 < kept * len(data) <= WAITING_MAX
    watcher.see(data, sent=True, at_ns=0)
    assert (len(watcher.take(1)), watcher.missed) == (1, missed), "there is room again, and one fits always"


def test_a_watcher_sees_nothing_before_and_after_and_others_see_the_same() -> None:
    tap, first, second = Tap(), Watcher(100), Watcher(100)
    with tap.watched_by(first):
        tap.delivered(b"one")
        with tap.watched_by(second):
            assert len(tap) == 2
            tap.delivered(b"two")
        tap.delivered(b"three")
    tap.delivered(b"four")
    assert len(tap) == 0
    assert [seen.data for seen in first.take(1 << 16)] == [b"one", b"two", b"three"]
    assert [seen.data for seen in second.take(1 << 16)] == [b"two"]


def test_the_engine_shows_what_goes_out_and_what_comes_in() -> None:
    async def main() -> None:
        wire, tun = FakeWire(), FakeTun()
        sockets, other = FakeSockets(wire, HERE), FakeSockets(wire, THERE)
        engine = engine_of(Delivering(), tun, sockets)
        watcher, tap = Watcher(100), Tap()
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            tun.outgoing.send_nowait(b"nobody watches")
            await trio.testing.wait_all_tasks_blocked()
            with tap.watched_by(watcher):
                engine.traffic.tap = tap
                tun.outgoing.send_nowait(b"out")
                await watcher.wait()
                other.send(b"in", HERE)
                await trio.testing.wait_all_tasks_blocked()
                engine.traffic.tap = None
            tun.outgoing.send_nowait(b"nor now")
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert [(seen.sent, seen.data) for seen in watcher.take(1 << 16)] == [(True, b"out"), (False, b"in")]
        assert tun.delivered == [b"in"]

    trio.run(main)
