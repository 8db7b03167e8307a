"""Between tun0 and the socket: what waits where, and what does not."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from typing import Any, cast

import trio
import trio.testing
from tests.core.pairs import ELSEWHERE, pair, seal
from tests.fakes import FakeSockets, FakeTun, FakeWire
from tests.sim.network import Network

from vipnet.app.engine import Engine
from vipnet.core.node import Node
from vipnet.core.outputs import (
    BindingReady,
    Deliver,
    LogEvent,
    Output,
    SeenAt,
    StoreBinding,
    StoreClock,
    StoreOutput,
    TooBig,
    Transmit,
)
from vipnet.system.tun import BATCH
from vipnet.system.udp import DatagramSockets
from vipnet.types import Fqdn, Instant, Locator, Token
from vipnet.wire.control import Keepalive
from vipnet.wire.offload import Offload, Packet

HERE, THERE = Locator("192.0.2.1", 5847), Locator("192.0.2.2", 5847)


class NoExpress:
    """Everything takes the long way."""

    def send(self, packet: Packet, now: Instant) -> None: ...

    def receive(self, datagram: memoryview, source: Locator, now: Instant) -> None: ...

    def send_several(
        self, packets: Sequence[Packet], now: Instant
    ) -> tuple[list[Transmit], Sequence[Packet]]:
        return [], packets

    def receive_several(
        self, data: memoryview, segment_size: int, source: Locator, now: Instant
    ) -> list[Deliver]:
        return []

    def settle(self) -> None: ...


class Passing:
    """A node that sends every packet on as it is, five of its kind together."""

    express = NoExpress()

    def start(self, now: Instant) -> list[Output]:
        return []

    def next_timeout(self) -> Instant | None:
        return None

    def receive_long_way(self, data: bytes, size: int, source: Locator, now: Instant) -> list[Output]:
        return []

    def handle_too_big(self, report: TooBig, now: Instant) -> list[Output]:
        return []

    def send_long_way(self, packets: Sequence[Packet], now: Instant) -> list[Output]:
        return [Transmit(bytes(one.data) * 5, THERE, None, len(one.data)) for one in packets]


def test_packets_alone_touch_no_task() -> None:
    engine = engine_of(Passing(), FakeTun(), FakeSockets(FakeWire(), HERE))
    packets: list[Output] = [Transmit(b"out", THERE), Deliver(b"in")]
    assert not engine.emit(packets)
    assert engine.emit([*packets, LogEvent("something", {})])
    assert engine.emit([LogEvent("something", {}), *packets])


class FullSockets(FakeSockets):
    """A socket buffer that takes so many sends and is then full until somebody makes room."""

    def __init__(self, wire: FakeWire, *locators: Locator, room: int) -> None:
        super().__init__(wire, *locators)
        self.room = room
        self.made_room = trio.Event()

    def send(self, payload: Any, destination: Locator, *rest: Any) -> OSError | None:
        if not self.room:
            return OSError(errno.EAGAIN, "no room")
        self.room -= 1
        return super().send(payload, destination, *rest)

    async def writable(self, destination: Locator) -> None:
        await self.made_room.wait()
        self.made_room = trio.Event()

    def make(self, room: int) -> None:
        self.room = room
        self.made_room.set()


class SpammedSockets(FakeSockets):
    """Somebody says all the time that something is too big."""

    reports = 0

    def too_big_nowait(self, suspected: bool = False) -> TooBig | None:
        self.reports += 1
        # Without an end a test could not fail.
        return TooBig(THERE, 1280, b"", False) if self.reports < 100_000 else None


class Journal:
    """A store, and a socket, that write down what was asked of them, in order."""

    def __init__(self) -> None:
        self.entries: list[object] = []

    def apply(self, outputs: Sequence[StoreOutput]) -> None:
        self.entries.append(list(outputs))

    def send(self, payload: bytes, *_rest: object) -> None:
        self.entries.append(payload)


def engine_of(
    node: Passing | Node,
    tun: FakeTun,
    sockets: DatagramSockets,
    store: Journal | None = None,
    now: Callable[[], float] = trio.current_time,
) -> Engine:
    nothing = cast("Any", None)
    return Engine(
        cast("Node", node),
        tun=tun,
        sockets=sockets,
        store=cast("Any", store),
        lookup=nothing,
        use_local_token=nothing,
        now=lambda: Instant(now()),
    )


def test_nothing_is_lost_or_read_while_the_socket_is_full() -> None:
    async def main() -> None:
        wire, tun = FakeWire(), FakeTun()
        sockets, other = FullSockets(wire, HERE, room=2), FakeSockets(wire, THERE)
        engine = engine_of(Passing(), tun, sockets)
        heard: list[bytes] = []

        def listen() -> None:
            while received := other.receive_nowait():
                assert received.segment_size == 2
                heard.append(bytes(received.payload)[:2])

        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            for number in range(10):
                tun.outgoing.send_nowait(b"%02d" % number)
            await trio.testing.wait_all_tasks_blocked()
            listen()
            assert heard == [b"00", b"01"]
            assert tun.outgoing.statistics().current_buffer_used == 7, "one waits, the others are not read"
            for room in (1, 3, 0, 20):
                sockets.make(room)
                await trio.testing.wait_all_tasks_blocked()
            listen()
            assert heard == [b"%02d" % number for number in range(10)]
            assert not any(name.startswith("send_") for name in engine.counters)
            nursery.cancel_scope.cancel()

    trio.run(main)


class Answering(FakeTun):
    """A kernel that has the answer to a packet ready when it has been handed the packet."""

    def __init__(self) -> None:
        super().__init__()
        self.ready: list[Packet] = []

    def send(self, packet: bytes | memoryview, left: Offload | None = None) -> bool:
        self.ready.append(Packet(b"answer to " + bytes(packet)))
        return super().send(packet, left)

    def receive_nowait(self) -> list[Packet]:
        ready, self.ready = self.ready, []
        return ready


class Delivering(Passing):
    """A node that delivers all that comes in."""

    def receive_long_way(self, data: bytes, size: int, source: Locator, now: Instant) -> list[Output]:
        return [Deliver(bytes(data))]


def test_an_answer_that_is_there_at_once_needs_no_second_wake_up() -> None:
    async def main() -> None:
        wire, tun = FakeWire(), Answering()
        sockets, other = FakeSockets(wire, HERE), FakeSockets(wire, THERE)
        engine = engine_of(Delivering(), tun, sockets)
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            other.send(b"question", HERE)
            await trio.testing.wait_all_tasks_blocked()
            answer = other.receive_nowait()
            assert answer is not None
            assert bytes(answer.payload) == b"answer to question" * 5
            nursery.cancel_scope.cancel()

    trio.run(main)


class Ring(Answering):
    """One that keeps so many answers as tun0 does, and gives so many at once."""

    dropped = 0

    def send(self, packet: bytes | memoryview, left: Offload | None = None) -> bool:
        if len(self.ready) < 500:
            return super().send(packet, left)
        self.dropped += 1
        return True

    def receive_nowait(self) -> list[Packet]:
        read, self.ready = self.ready[:BATCH], self.ready[BATCH:]
        return read


def test_more_answers_than_a_batch_do_not_fill_tun0_turn_by_turn() -> None:
    """After a move a thousand segments may come one by one, each of which the kernel acknowledges."""

    async def main() -> None:
        wire, tun = FakeWire(), Ring()
        sockets, other = FakeSockets(wire, HERE), FakeSockets(wire, THERE)
        engine = engine_of(Delivering(), tun, sockets)
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            for number in range(2_000):
                other.send(b"segment %d" % number, HERE)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert (tun.dropped, tun.ready) == (0, [])

    trio.run(main)


def test_what_a_timer_hears_first_does_not_fill_tun0_either() -> None:
    async def main() -> None:
        wire, tun = FakeWire(), Ring()
        other = FakeSockets(wire, THERE)
        engine = engine_of(Delivering(), tun, FakeSockets(wire, HERE))
        for number in range(2_000):
            other.send(b"segment %d" % number, HERE)
        engine.traffic.hear_waiting(1_024)
        assert len(tun.delivered) == 1_024
        assert (tun.dropped, tun.ready) == (0, [])

    trio.run(main)


CLOCK = StoreClock(1, 1)
BINDING = StoreBinding(
    Fqdn("b.example"), Token(IPv4Address("240.0.0.1")), Token(IPv4Address("240.0.0.2")), 1, True, 0.0
)


def journal_of(*outputs: Output) -> list[object]:
    """What reaches the disk (lists: one transaction each) and the wire for OUTPUTS."""
    journal = Journal()
    engine = engine_of(Passing(), FakeTun(), cast("FakeSockets", journal), journal)
    engine.emit(outputs)
    return journal.entries


def test_stored_before_said_in_one_transaction() -> None:
    """A first contact waits for the disk once a step, however much there is to be stored."""
    first, second = Transmit(b"first", THERE), Transmit(b"second", THERE)
    assert journal_of(CLOCK, first, BINDING, second) == [[CLOCK, BINDING], b"first", b"second"]
    assert journal_of(first, CLOCK, second, BINDING) == [b"first", [CLOCK, BINDING], b"second"]
    assert journal_of(first, CLOCK) == [b"first", [CLOCK]], "nobody waits for what is stored behind"
    assert journal_of(first, second) == [b"first", b"second"]


def test_what_nobody_else_hears_of_does_not_wait_for_the_disk() -> None:
    seen, said = SeenAt(BINDING.name, "192.0.2.1"), LogEvent("test.event", {})
    ready = BindingReady(BINDING.name, BINDING.remote_token)
    assert journal_of(CLOCK, seen, said, BINDING, ready) == [[CLOCK, BINDING]]
    assert journal_of(CLOCK, said) == [[CLOCK]]


def test_reports_without_end_do_not_keep_others_from_their_turn() -> None:
    async def main() -> None:
        wire, tun = FakeWire(), FakeTun()
        sockets = SpammedSockets(wire, HERE)
        engine = engine_of(Passing(), tun, sockets)
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            FakeSockets(wire, THERE).send(b"anything", HERE)
            await trio.testing.wait_all_tasks_blocked()
            assert 0 < sockets.reports < 1000
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_what_cannot_take_the_short_way_tries_it_once() -> None:
    """Each try opens the datagram, and anybody can send some that do not verify."""
    a, b = pair(Network(1))
    tries = 0
    receive = b.node.express.receive

    def counted(datagram: bytes | memoryview, source: Locator, now: Instant) -> Deliver | None:
        nonlocal tries
        tries += 1
        return receive(datagram, source, now)

    b.node.express.receive = counted  # type: ignore[method-assign]

    async def main() -> None:
        wire = FakeWire()
        engine = engine_of(b.node, FakeTun(), FakeSockets(wire, ELSEWHERE), Journal(), lambda: b.net.now)
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            FakeSockets(wire, THERE).send(seal(a, b, Keepalive()), ELSEWHERE)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert tries == 1
