"""Copies of the packets that pass tun0, for whoever watches them: bounded, and never in the packets' way.

While nobody watches, the engine has no tap. A watcher that reads too slowly misses packets and is
told how many; the packets themselves wait for nobody.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import trio
from msgspec import Struct

from vipnet.wire.offload import Packet

WAITING_MAX: Final = 8 << 20  # bytes that may wait for one watcher: a second of a gigabit of small packets
_TOLL: Final = 200  # bytes that a waiting packet takes besides its data

Wanted = Callable[[bytes], bool]


class Sighting(Struct, frozen=True, gc=False, array_like=True, tag="packet"):
    """A packet between an application here and a peer.

    at_ns  wall clock, nanoseconds since 1970
    sent   by an application here; else delivered to one
    data   its first bytes, as many as the watcher asked for
    size   bytes of the whole; a super-packet counts as one
    """

    at_ns: int
    sent: bool
    data: bytes
    size: int


class Watcher:
    """What waits for one reader.

    snap    bytes of each packet that are kept
    wanted  whether packets with this token of a peer (4 bytes) are; None: all
    missed  packets that there was no room for, so far
    """

    def __init__(self, snap: int, wanted: Wanted | None = None) -> None:
        self.missed = 0
        self._snap, self._wanted = snap, wanted
        self._waiting: deque[Sighting] = deque()
        self._waiting_bytes = 0
        self._news = trio.Event()

    def see(self, data: bytes | memoryview, *, sent: bool, at_ns: int) -> None:
        """Take a copy, unless too much waits already."""
        if self._wanted is not None and not self._wanted(bytes(data[16:20] if sent else data[12:16])):
            return
        kept = bytes(data[: self._snap])
        if self._waiting_bytes + len(kept) + _TOLL > WAITING_MAX:
            self.missed += 1
            return
        self._waiting.append(Sighting(at_ns, sent, kept, len(data)))
        self._waiting_bytes += len(kept) + _TOLL
        self._news.set()

    async def wait(self) -> None:
        """Return when there is something to take."""
        await self._news.wait()

    def take(self, at_most: int) -> list[Sighting]:
        """The packets that have waited longest: AT_MOST bytes, but one in any case if there is one."""
        taken: list[Sighting] = []
        size = 0
        while self._waiting and (not taken or size + len(self._waiting[0].data) <= at_most):
            sighting = self._waiting.popleft()
            self._waiting_bytes -= len(sighting.data) + _TOLL
            size += len(sighting.data)
            taken.append(sighting)
        if not self._waiting:
            self._news = trio.Event()
        return taken


class Tap:
    """Shows every packet to every watcher."""

    def __init__(self) -> None:
        self._watchers: list[Watcher] = []

    def __len__(self) -> int:
        return len(self._watchers)

    @contextmanager
    def watched_by(self, watcher: Watcher) -> Iterator[None]:
        """Let WATCHER see what passes meanwhile."""
        self._watchers.append(watcher)
        try:
            yield
        finally:
            self._watchers.remove(watcher)

    def sent(self, packets: Sequence[Packet]) -> None:
        """Applications here sent PACKETS; to be told before they are sealed, which overwrites them."""
        at_ns = time.time_ns()
        for watcher in self._watchers:
            for packet in packets:
                watcher.see(packet.data, sent=True, at_ns=at_ns)

    def delivered(self, packet: bytes | memoryview) -> None:
        """PACKET goes to an application here."""
        at_ns = time.time_ns()
        for watcher in self._watchers:
            watcher.see(packet, sent=False, at_ns=at_ns)
