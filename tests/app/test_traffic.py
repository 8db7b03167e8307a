"""Packets as they are served in trio's waits: with real sockets, and a tun0 that can be waited for."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing
from tests.app.test_engine import Delivering, engine_of
from tests.fakes import FakeTun

from vipnet.app.engine import Engine
from vipnet.core.outputs import Output, Transmit
from vipnet.system.udp import Received, UdpSockets
from vipnet.types import Instant, Locator
from vipnet.wire.offload import Offload, Packet

LONG_S = 30  # far more than anything here takes
LOOPBACK = "127.0.0.1"


class AnsweringTun(FakeTun):
    """It answers each packet at once, `answers` times."""

    def __init__(self, answers: int = 1) -> None:
        super().__init__()
        self._fd, self._answers = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_SEMAPHORE), answers
        self._waiting: list[Packet] = []

    def fileno(self) -> int:  # type: ignore[override]
        return self._fd

    def put(self, packet: bytes) -> None:
        """An application sends PACKET."""
        self._waiting.append(Packet(packet))
        os.eventfd_write(self._fd, 1)

    def receive_one(self) -> Packet | None:
        if not self._waiting:
            return None
        os.eventfd_read(self._fd)
        return self._waiting.pop(0)

    def receive_nowait(self) -> list[Packet]:
        return [packet for _ in range(len(self._waiting)) if (packet := self.receive_one())]

    def send(self, packet: bytes | memoryview, left: Offload | None = None) -> bool:
        for number in range(self._answers):
            self.put(b"answer %d to " % number + bytes(packet))
        return super().send(packet, left)

    def close(self) -> None:
        os.close(self._fd)


class Sending(Delivering):
    """Whatever applications send goes to one host."""

    def __init__(self, destination: Locator) -> None:
        self.destination = destination

    def send_long_way(self, packets: object, now: Instant) -> list[Output]:
        assert isinstance(packets, tuple | list)
        return [Transmit(bytes(one.data), self.destination) for one in packets]


class CountingSockets(UdpSockets):
    reads = 0

    def receive_nowait(self, fd: int | None = None) -> Received | None:
        self.reads += 1
        return super().receive_nowait(fd)


@asynccontextmanager
async def running(engine: Engine) -> AsyncIterator[None]:
    """A test that hangs fails."""
    with trio.fail_after(LONG_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            await trio.testing.wait_all_tasks_blocked()
            yield
            nursery.cancel_scope.cancel()


def udp_socket() -> trio.socket.SocketType:
    return trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def test_what_comes_alone_is_delivered_and_all_its_answers_leave() -> None:
    async def main() -> None:
        tun, sockets = AnsweringTun(answers=3), UdpSockets(0)
        with udp_socket() as other:
            await other.bind((LOOPBACK, 0))
            engine = engine_of(Sending(Locator(LOOPBACK, other.getsockname()[1])), tun, sockets)
            async with running(engine):
                for question in (b"first", b"second"):
                    await trio.sleep(0.005)
                    await other.sendto(question, (LOOPBACK, sockets.port))
                    heard = [await other.recv(99) for _ in range(3)]
                    assert heard == [b"answer %d to " % number + question for number in range(3)]
        assert tun.delivered == [b"first", b"second"]
        sockets.close()
        tun.close()

    trio.run(main)


def test_a_packet_that_nobody_takes_hinders_no_other() -> None:
    """The kernel reports it at the socket, which is readable until the report has been heard."""

    async def main() -> None:
        tun, sockets = AnsweringTun(), CountingSockets(0)
        with udp_socket() as nobody, udp_socket() as other:
            for sock in (nobody, other):
                await sock.bind((LOOPBACK, 0))
            node = Sending(Locator(LOOPBACK, nobody.getsockname()[1]))
            nobody.close()
            async with running(engine_of(node, tun, sockets)):
                tun.put(b"to nobody")
                await trio.sleep(0.01)
                await trio.testing.wait_all_tasks_blocked()
                reads = sockets.reads
                assert reads > 0, "no report came"
                await trio.sleep(0.05)
                assert sockets.reads == reads, "the report is heard again and again"
                node.destination = Locator(LOOPBACK, other.getsockname()[1])
                await other.sendto(b"question", (LOOPBACK, sockets.port))
                assert await other.recv(99) == b"answer 0 to question"
        sockets.close()
        tun.close()

    trio.run(main)
