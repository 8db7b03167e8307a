"""Between tun0 and the sockets: packets and datagrams to whoever knows what becomes of them, and back."""

from __future__ import annotations

import errno
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import trio

from vipnet.app.tap import Tap
from vipnet.core.express import Express
from vipnet.core.outputs import Deliver, TooBig, Transmit
from vipnet.system import packetsfirst
from vipnet.system.packetsfirst import PacketsFirst, Serve
from vipnet.system.tun import BATCH, PacketDevice
from vipnet.system.udp import DatagramSockets, Received
from vipnet.types import Instant
from vipnet.wire.offload import Packet

# Datagrams before the applications' packets have their turn: each may be answered at once; tun0 holds 500.
_TURN: Final = 256
_ANSWERS: Final = 1 + _TURN // BATCH  # batches of tun0 after a turn
_REPORTS: Final = 64  # of too small links, at once: anybody can send more of them without end
_UNSENT_MAX: Final = 1 << 20  # bytes that wait for the socket; a batch of tun0 is at most 256 KiB


class Traffic:
    """Everything that is read, and written, as soon as that can be.

    express    for what comes alone, for trains, and for a few small datagrams together
    packets    given what else applications sent, and when; like `datagrams` it returns whether tasks may have
               been touched
    datagrams  given what else came from other hosts, and when
    too_big    given what did not pass a link, as the kernel or a router says
    settle     called some moments after what was read is served, and before any task runs; also returns
               whether tasks may have been touched
    counters   of what was refused
    now        the clock
    """

    def __init__(
        self,
        tun: PacketDevice,
        sockets: DatagramSockets,
        counters: Counter[str],
        *,
        express: Express,
        packets: Callable[[Sequence[Packet], Instant], bool],
        datagrams: Callable[[Received, Instant], bool],
        too_big: Callable[[TooBig], object],
        settle: Callable[[], bool],
        now: Callable[[], Instant],
    ) -> None:
        self.tap: Tap | None = None  # while somebody watches the packets
        self._tun, self._sockets, self._counters = tun, sockets, counters
        self._express = express
        self._packets, self._datagrams, self._too_big = packets, datagrams, too_big
        self._settle, self._now = settle, now
        self._unsent: deque[Transmit] = deque()  # the socket had no room
        self._unsent_bytes = 0
        self._full, self._has_room = trio.Event(), trio.Event()
        self._first: PacketsFirst | None = None

    async def run(self) -> None:
        """Move packets until cancelled: in trio's waits, or by tasks where that cannot be."""
        tun, sockets = self._tun.fileno(), self._sockets.filenos()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_postponed)
            if tun is None or not sockets or not packetsfirst.available():
                nursery.start_soon(self._pump_datagrams)
                nursery.start_soon(self._pump_packets)
            else:
                serve: dict[int, Serve] = {fd: partial(self._serve_datagrams, fd) for fd in sockets}
                serve[tun] = self._serve_packets
                self._first = PacketsFirst(serve, settle=self._settle, clock=self._now)
                nursery.start_soon(self._first.run)

    # --- in trio's waits

    def _serve_packets(self, now: Instant, slept: bool) -> bool:
        # One packet wakes us; to see that there is no second one would cost as much as a turn of the wait.
        if slept:
            touched = self._send_one(now)
        else:
            packets = self._tun.receive_nowait()
            touched = bool(packets) and self._handle_packets(packets, now)
        return touched or self._others_wait()

    def _serve_datagrams(self, fd: int, now: Instant, slept: bool) -> bool:
        if slept and (received := self._sockets.receive_nowait(fd)):
            touched = self._handle_datagrams(received, now)
            touched = self._send_one(now) or touched  # the kernel's answer, see _send_answers()
            return touched or self._others_wait()  # an error can wait: it keeps the socket readable
        heard, touched = self._hear(_TURN, fd)
        if heard:
            touched = self._send_answers() or touched
        touched = self._hear_too_big(heard) or touched
        return touched or self._others_wait()

    def _others_wait(self) -> bool:
        """Whether a task has been woken here: the one that sends what had no room, or a watcher's."""
        return bool(self._unsent) or self.tap is not None

    # --- by tasks

    async def _pump_datagrams(self) -> None:
        while True:
            await self._sockets.readable()
            heard, _ = self._hear(_TURN)
            self._send_answers()
            self._hear_too_big(heard)
            self._settle()

    async def _pump_packets(self) -> None:
        while True:
            while self._unsent:
                await self._has_room.wait()
            packets = await self._tun.receive()
            self._handle_packets(packets, self._now())
            self._settle()

    # --- in

    def hear_waiting(self, at_most: int) -> None:
        """Datagrams that are there already; what they bring is answered turn by turn, or tun0 runs over."""
        while at_most > 0:
            heard, _ = self._hear(min(at_most, _TURN))
            if not heard:
                break
            at_most -= heard
            self._send_answers()
        self._settle()

    def _send_one(self, now: Instant) -> bool:
        packet = None if self._unsent else self._tun.receive_one()
        return packet is not None and self._handle_packets((packet,), now)

    def _send_answers(self) -> bool:
        """What the kernel answered while it was handed packets: it answers an echo request at once."""
        touched = False
        # As many as there may be, or single segments, each acknowledged at once, fill tun0 turn by turn.
        for _ in range(_ANSWERS):
            packets = [] if self._unsent else self._tun.receive_nowait()
            if packets:
                touched = self._handle_packets(packets, self._now()) or touched
            if len(packets) < BATCH:
                break
        return touched

    def _hear(self, at_most: int, fd: int | None = None) -> tuple[int, bool]:
        """How many there were, and whether tasks may have been touched; a train is not cut for the bound."""
        heard, touched = 0, False
        while heard < at_most and (received := self._sockets.receive_nowait(fd)):
            touched = self._handle_datagrams(received, self._now()) or touched
            heard += max(len(received.payload) // received.segment_size, 1)
        return heard, touched

    def _hear_too_big(self, heard: int) -> bool:
        for told in range(_REPORTS):
            # Readable, and there was nothing: there is an error.
            report = self._sockets.too_big_nowait(not heard)
            if report is None:
                return told > 0
            self._too_big(report)
        return True

    def _handle_packets(self, packets: Sequence[Packet], now: Instant) -> bool:
        if self.tap is not None:
            self.tap.sent(packets)
        if len(packets) == 1 and (transmit := self._express.send(packets[0], now)):
            self.send(transmit)
            return False
        sent, rest = self._express.send_several(packets, now)
        for transmit in sent:
            self.send(transmit)
        return bool(rest) and self._packets(rest, now)

    def _handle_datagrams(self, received: Received, now: Instant) -> bool:
        data, size = received.payload, received.segment_size
        if size == len(data):
            deliver = self._express.receive(data, received.source, now)
            if deliver is not None:
                self.deliver(deliver)
                return False
        elif delivered := self._express.receive_several(data, size, received.source, now):
            for deliver in delivered:
                self.deliver(deliver)
            return False
        return self._datagrams(received, now)

    # --- out

    def deliver(self, output: Deliver) -> None:
        if self.tap is not None:
            self.tap.delivered(output.packet)
        if not self._tun.send(output.packet, output.offload):
            self._counters["tun_refused"] += 1

    def send(self, transmit: Transmit) -> None:
        """Send, or keep for when the socket has room: in their order, and not without end."""
        if self._unsent and transmit.segment_size is not None:
            self._postpone(transmit)
            return
        error = self._sockets.send(
            transmit.payload,
            transmit.destination,
            transmit.source,
            transmit.segment_size,
            transmit.fragmentation,
        )
        if error is None:
            return
        if error.errno == errno.EAGAIN:
            self._postpone(transmit)
        else:
            self._counters[f"send_{errno.errorcode.get(error.errno or 0, 'error')}"] += 1

    def _postpone(self, transmit: Transmit) -> None:
        """Meanwhile packets queue in tun0, where TCP notices."""
        size = len(transmit.payload)
        if self._unsent_bytes + size > _UNSENT_MAX:
            self._counters["send_EAGAIN"] += 1
            return
        if not self._unsent:
            self._full.set()
            if self._first is not None and (tun := self._tun.fileno()) is not None:
                self._first.pause(tun)
        self._unsent.append(transmit)
        self._unsent_bytes += size

    async def _send_postponed(self) -> None:
        while True:
            await self._full.wait()
            while self._unsent:
                await self._sockets.writable(self._unsent[0].destination)
                unsent, self._unsent = self._unsent, deque()
                self._unsent_bytes = 0
                for transmit in unsent:
                    self.send(transmit)
            self._full = trio.Event()
            self._has_room.set()
            self._has_room = trio.Event()
            if self._first is not None and (tun := self._tun.fileno()) is not None:
                self._first.resume(tun)
