"""Between tun0 and the socket: what waits where, and what does not."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any, cast

import trio
import trio.testing
from tests.fakes import FakeSockets, FakeTun, FakeWire

from vipnet.app.engine import Engine
from vipnet.core.node import Node
from vipnet.core.outputs import Deliver, Output, Transmit
from vipnet.types import Instant, Locator
from vipnet.wire.offload import Offload, Packet

HERE, THERE = Locator("192.0.2.1", 5847), Locator("192.0.2.2", 5847)


class Passing:
    """A node that sends every packet on as it is, five of its kind together."""

    def start(self, now: Instant) -> list[Output]:
        return []

    def next_timeout(self) -> Instant | None:
        return None

    def handle_packets(self, packets: Sequence[Packet], now: Instant) -> list[Output]:
        return [Transmit(bytes(one.data) * 5, THERE, None, len(one.data)) for one in packets]


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


def engine_of(node: Passing, tun: FakeTun, sockets: FakeSockets) -> Engine:
    nothing = cast("Any", None)
    return Engine(
        cast("Node", node),
        tun=tun,
        sockets=sockets,
        store=nothing,
        lookup=nothing,
        use_local_token=nothing,
        now=lambda: Instant(trio.current_time()),
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

    def handle_datagrams(self, data: bytes, size: int, source: Locator, now: Instant) -> list[Output]:
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
