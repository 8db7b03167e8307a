"""What `vipnet capture` is told: packets of applications, and whom their addresses stand for.

The daemon sends batches over the control socket, a length (u32, big-endian) and MessagePack; files
are written by the command. So a packet costs the daemon a copy and no more, and nothing that a disk or
a reader does can hold it up: what `Watcher` has no room for is missed, and counted.
"""

from __future__ import annotations

import math
import struct
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any, BinaryIO, Final

import msgspec
import trio
from msgspec import Struct

from vipnet.app.config import Config
from vipnet.app.engine import Engine
from vipnet.app.tap import Sighting, Tap, Wanted, Watcher
from vipnet.errors import ConfigError, HostError, VipnetError
from vipnet.types import Locator, parse_name
from vipnet.wire.offload import PACKET_MAX

WATCHERS_MAX: Final = 4  # at once; each may take WAITING_MAX bytes
BATCH_BYTES: Final = 256 << 10  # of packets that are sent at once; then the daemon's other work has its turn
_BATCH_MAX: Final = 2 * BATCH_BYTES + (1 << 20)  # bytes of a batch as it is sent, with all that is not data
_length = struct.Struct("!I")


class Named(Struct, frozen=True, array_like=True, tag="name"):
    """TOKEN stands for NAME from here on.

    locator  where NAME is now; None for this host, and while nobody knows
    """

    token: str
    name: str
    locator: str | None = None


class Missed(Struct, frozen=True, array_like=True, tag="missed"):
    """So many packets, up to here, are not in the capture."""

    count: int


class Begun(Struct, frozen=True, array_like=True, tag="begun"):
    """The first of all: whose packets follow."""

    name: str
    interface: str
    snap: int


News = Begun | Named | Missed | Sighting


class Capturing:
    """The feed `capture` of the control socket."""

    def __init__(self, config: Config, engine: Engine) -> None:
        self._config, self._engine = config, engine
        self._tap = Tap()

    def feed(self, params: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        """Batches until the client has enough, or for `seconds`.

        snap     bytes kept of each packet
        peer     a name: only packets from and to it
        seconds  None: no end

        Raise ConfigError for what makes no sense, HostError when enough others watch.
        """
        snap, seconds, peer = params.get("snap", PACKET_MAX), params.get("seconds"), params.get("peer")
        if type(snap) is not int or not 20 <= snap <= PACKET_MAX:
            raise ConfigError(f"snap = {snap}: must be from 20, an IPv4 header, to {PACKET_MAX} bytes")
        if seconds is not None and not (isinstance(seconds, int | float) and seconds > 0):
            raise ConfigError(f"seconds = {seconds}: must be more than 0")
        if len(self._tap) >= WATCHERS_MAX:
            raise HostError(f"{WATCHERS_MAX} captures run already: end one of them")
        watcher = Watcher(snap, None if peer is None else self._of(parse_name(str(peer))))
        return self._batches(watcher, snap, math.inf if seconds is None else seconds)

    def _of(self, name: str) -> Wanted:
        peers = self._engine.node.host.remote_tokens

        def wanted(token: bytes) -> bool:
            peer = peers.get(token)
            return peer is not None and peer.name == name

        return wanted

    async def _batches(self, watcher: Watcher, snap: int, seconds: float) -> AsyncGenerator[bytes, None]:
        until = trio.current_time() + seconds
        told: dict[bytes, tuple[str, Locator | None]] = {}
        missed = 0
        with self._watched_by(watcher):
            yield encode([Begun(self._config.name, self._config.tun.interface, snap)])
            while trio.current_time() < until:
                with trio.move_on_at(until):
                    await watcher.wait()
                batch: list[News] = []
                for sighting in watcher.take(BATCH_BYTES):
                    batch += self._untold(sighting, told)
                    batch.append(sighting)
                if watcher.missed != missed:
                    missed = watcher.missed
                    batch.append(Missed(missed))
                yield encode(batch)

    @contextmanager
    def _watched_by(self, watcher: Watcher) -> Iterator[None]:
        """The engine has a tap only while there is a watcher."""
        try:
            with self._tap.watched_by(watcher):
                self._engine.traffic.tap = self._tap
                yield
        finally:
            if not len(self._tap):
                self._engine.traffic.tap = None

    def _untold(self, sighting: Sighting, told: dict[bytes, tuple[str, Locator | None]]) -> Iterator[Named]:
        """Who is at both ends, as far as TOLD does not say so."""
        data = sighting.data
        local, remote = (data[12:16], data[16:20]) if sighting.sent else (data[16:20], data[12:16])
        if local not in told and len(local) == 4:
            told[local] = (self._config.name, None)
            yield Named(str(IPv4Address(local)), self._config.name)
        peer = self._engine.node.host.remote_tokens.get(remote)
        if peer is None:
            return
        now = (peer.name, peer.mapping.current)
        if told.get(remote) != now:
            told[remote] = now
            yield Named(str(IPv4Address(remote)), peer.name, None if now[1] is None else str(now[1]))


# --- both ends


def encode(batch: list[News]) -> bytes:
    """BATCH as it is sent."""
    body = msgspec.msgpack.encode(batch)
    return _length.pack(len(body)) + body


def batches(stream: BinaryIO) -> Iterator[list[News]]:
    """What the daemon sends, until it ends. Raise VipnetError for what no daemon of this version sends."""
    decoder = msgspec.msgpack.Decoder(list[News])
    while head := stream.read(_length.size):
        size = _length.unpack(head)[0] if len(head) == _length.size else 0
        body = stream.read(size) if size <= _BATCH_MAX else b""
        if len(body) < size or not size:
            return  # the daemon went away in the middle
        try:
            yield decoder.decode(body)
        except msgspec.DecodeError as error:
            reason = f"the daemon's packets cannot be read ({error}): it is of another version"
            raise VipnetError(f"{reason}; run `vipnet down`, `vipnet up`") from None
