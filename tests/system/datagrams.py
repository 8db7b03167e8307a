"""What comes out of UdpSockets, awaited for a bounded time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from vipnet.system.udp import DatagramSockets, Received
from vipnet.types import Locator

BOUND_S = 10.0


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(BOUND_S):
            await main()

    trio.run(bounded)


async def next_received(sockets: DatagramSockets) -> Received:
    while True:
        await sockets.readable()
        if received := sockets.receive_nowait():
            return received


async def next_datagram(sockets: DatagramSockets) -> tuple[bytes, Locator]:
    """One that came alone."""
    received = await next_received(sockets)
    assert len(received.payload) <= received.segment_size
    return bytes(received.payload), received.source
