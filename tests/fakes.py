"""The two interfaces to the world, in memory: tun0 and the UDP sockets."""

from __future__ import annotations

import errno
import math
from collections import deque
from collections.abc import Collection, Mapping

import trio
from msgspec import structs

from vipnet.core.outputs import Fragmentation, TooBig
from vipnet.system.udp import Received
from vipnet.types import Locator
from vipnet.wire.offload import Offload, Packet


class FakeTun:
    """A PacketDevice: applications' packets go into `outgoing`, those for them end in `delivered`."""

    def __init__(self, name: str = "tun0", index: int = 99) -> None:
        self.name, self.index = name, index
        self.outgoing, self._incoming = trio.open_memory_channel[bytes](math.inf)
        self.delivered: list[bytes] = []
        self.offloads: list[Offload | None] = []  # of each of those
        self.refuses = False

    def fileno(self) -> None:
        """There is none: tasks wait."""

    async def receive(self) -> list[Packet]:
        return [Packet(await self._incoming.receive())]

    def receive_one(self) -> Packet | None:
        try:
            return Packet(self._incoming.receive_nowait())
        except trio.WouldBlock:
            return None

    def receive_nowait(self) -> list[Packet]:
        packet = self.receive_one()
        return [packet] if packet else []

    def send(self, packet: bytes | memoryview, left: Offload | None = None) -> bool:
        if not self.refuses:
            self.delivered.append(bytes(packet))
            self.offloads.append(left)
        return not self.refuses

    def close(self) -> None:
        self._incoming.close()


class FakeWire:
    """Where FakeSockets find each other; a locator that nobody has is a host that does not answer."""

    def __init__(self) -> None:
        self.sockets: dict[Locator, FakeSockets] = {}


class FakeSockets:
    """DatagramSockets of one host. A move is one assignment to `locators`."""

    def __init__(self, wire: FakeWire, *locators: Locator) -> None:
        self._wire = wire
        self._arrived: deque[Received] = deque()
        self._memory = bytearray()
        self._news = trio.Event()
        self._closed = False
        self.locators = locators
        self.indices: dict[str, int] = {}

    @property
    def locators(self) -> tuple[Locator, ...]:
        return tuple(locator for locator, owner in self._wire.sockets.items() if owner is self)

    @locators.setter
    def locators(self, locators: tuple[Locator, ...]) -> None:
        for locator in self.locators:
            del self._wire.sockets[locator]
        self._wire.sockets.update(dict.fromkeys(locators, self))

    def filenos(self) -> tuple[int, ...]:
        """There are none: tasks wait."""
        return ()

    async def readable(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self._arrived:
            if self._closed:
                raise trio.ClosedResourceError
            self._news = trio.Event()
            await self._news.wait()

    def receive_nowait(self, fd: int | None = None) -> Received | None:
        # As with the real ones, what was received before is not there any more.
        self._memory[:] = bytes(len(self._memory))
        if not self._arrived:
            return None
        received = self._arrived.popleft()
        self._memory = bytearray(received.payload)
        return structs.replace(received, payload=memoryview(self._memory))

    def _arrive(self, received: Received) -> None:
        self._arrived.append(received)
        self._news.set()

    def too_big_nowait(self, suspected: bool = False) -> TooBig | None:
        return None

    async def writable(self, destination: Locator) -> None:
        await trio.lowlevel.checkpoint()

    def send(
        self,
        payload: bytes | bytearray | memoryview,
        destination: Locator,
        source: str | None = None,
        segment_size: int | None = None,
        fragmentation: Fragmentation = Fragmentation.ALLOWED,
    ) -> OSError | None:
        own = [locator for locator in self.locators if source in (None, locator.host)]
        if not own:
            return OSError(errno.ENETUNREACH, "no address")
        if receiver := self._wire.sockets.get(destination):
            size = segment_size or max(len(payload), 1)
            receiver._arrive(Received(memoryview(bytes(payload)), size, own[0]))
        return None

    def use_interfaces(self, indices: Mapping[str, int], detours: Collection[str] = ()) -> None:
        self.indices, self.detours = dict(indices), frozenset(detours)

    def close(self) -> None:
        self.locators = ()
        self._closed = True
        self._news.set()
