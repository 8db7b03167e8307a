"""The feed that `vipnet capture` reads: bounded, with names, and nothing is tapped when nobody reads."""

from __future__ import annotations

import contextlib
import io
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, cast

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from vipnet.app.capturing import WATCHERS_MAX, Begun, Capturing, Missed, Named, News, batches, encode
from vipnet.app.config import Config
from vipnet.app.engine import Engine
from vipnet.app.tap import WAITING_MAX, Sighting
from vipnet.errors import ConfigError, HostError, VipnetError
from vipnet.types import Fqdn, Locator
from vipnet.wire.offload import Packet

OWN, B, C, NOBODY = (bytes((240, 0, 0, last)) for last in (1, 2, 3, 9))


class Place(msgspec.Struct):
    current: Locator | None


class KnownPeer(msgspec.Struct):
    name: str
    mapping: Place


class World:
    """An engine as far as the feed looks at it."""

    def __init__(self) -> None:
        self.peers = {
            B: KnownPeer("b.vipip.net", Place(Locator("10.201.2.20", 5847))),
            C: KnownPeer("c.vipip.net", Place(None)),
        }
        self.tap: Any = None
        self.node = self.traffic = self
        self.host = self
        self.remote_tokens = self.peers
        self.capturing = Capturing(Config(Fqdn("a.vipip.net")), cast("Engine", self))

    def send(self, token: bytes, payload: bytes = b"") -> None:
        self.tap.sent([Packet(bytes(12) + OWN + token + payload)])

    def deliver(self, token: bytes) -> None:
        self.tap.delivered(bytes(12) + token + OWN)


async def next_of(feed: AsyncGenerator[bytes, None]) -> list[News]:
    with trio.fail_after(10):
        (batch,) = batches(io.BytesIO(await anext(feed)))
    return batch


def run(test: Callable[[World], Awaitable[None]]) -> None:
    trio.run(test, World(), clock=trio.testing.MockClock(autojump_threshold=0))


def test_names_are_told_before_their_packets_and_again_after_a_move() -> None:
    async def main(world: World) -> None:
        feed = world.capturing.feed({})
        assert await next_of(feed) == [Begun("a.vipip.net", "tun0", 65_535)]
        world.send(B)
        world.deliver(B)
        world.deliver(NOBODY)
        own, b, *packets = await next_of(feed)
        assert own == Named("240.0.0.1", "a.vipip.net")
        assert b == Named("240.0.0.2", "b.vipip.net", "10.201.2.20:5847")
        assert [type(one) for one in packets] == [Sighting] * 3
        world.peers[B].mapping.current = Locator("10.201.1.20", 5847)
        world.send(B)
        world.send(C)
        moved, _, c, _ = await next_of(feed)
        assert moved == Named("240.0.0.2", "b.vipip.net", "10.201.1.20:5847")
        assert c == Named("240.0.0.3", "c.vipip.net")
        await feed.aclose()
        assert world.tap is None, "nobody watches any more"

    run(main)


def test_one_peer_alone() -> None:
    async def main(world: World) -> None:
        feed = world.capturing.feed({"peer": "C.vipip.net."})
        await next_of(feed)
        world.send(B)
        world.send(C)
        world.deliver(B)
        world.deliver(C)
        assert [one.sent for one in await next_of(feed) if isinstance(one, Sighting)] == [True, False]
        await feed.aclose()

    run(main)


def test_it_ends_after_its_time_with_what_came_in_it() -> None:
    async def main(world: World) -> None:
        feed = world.capturing.feed({"seconds": 5, "snap": 20})
        assert await next_of(feed) == [Begun("a.vipip.net", "tun0", 20)]
        await trio.sleep(4)
        world.send(B, b"payload")
        *_, packet = await next_of(feed)
        assert isinstance(packet, Sighting)
        assert (len(packet.data), packet.size) == (20, 27)
        assert await next_of(feed) == []
        assert trio.current_time() == 5
        with pytest.raises(StopAsyncIteration):
            await anext(feed)

    run(main)


def test_who_reads_too_slowly_is_told_how_much_was_missed() -> None:
    async def main(world: World) -> None:
        feed = world.capturing.feed({})
        await next_of(feed)
        count = WAITING_MAX // 30_000
        for _ in range(count):
            world.send(B, bytes(60_000))
        seen, missed = 0, 0
        while seen + missed < count:
            batch = await next_of(feed)
            seen += sum(isinstance(one, Sighting) for one in batch)
            missed = max([missed, *(one.count for one in batch if isinstance(one, Missed))])
        assert seen + missed == count
        assert missed > count / 3
        await feed.aclose()

    run(main)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"snap": 19}, "snap = 19"),
        ({"snap": 65_536}, "snap = 65536"),
        ({"snap": "many"}, "snap = many"),
        ({"snap": True}, "snap = True"),
        ({"seconds": 0}, "seconds = 0"),
        ({"seconds": "long"}, "seconds = long"),
        ({"peer": "b"}, "'b' is not a full name"),
    ],
)
def test_nonsense_is_refused(params: dict[str, Any], says: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=says):
        World().capturing.feed(params)


def test_so_many_and_no_more() -> None:
    async def main(world: World) -> None:
        feeds = [world.capturing.feed({}) for _ in range(WATCHERS_MAX)]
        for feed in feeds:
            await next_of(feed)
        with pytest.raises(HostError, match="captures run already"):
            world.capturing.feed({})
        await feeds.pop().aclose()
        assert world.tap is not None, "others still watch"
        again = world.capturing.feed({})
        await next_of(again)
        for feed in (*feeds, again):
            await feed.aclose()
        assert world.tap is None

    run(main)


NEWS: list[News] = [Begun("a.vipip.net", "tun0", 100), Missed(3), Sighting(1, True, b"abc", 3)]


@given(st.integers(0, len(encode(NEWS))))
def test_a_feed_that_is_cut_off_ends_after_its_last_whole_batch(at: int) -> None:
    whole = encode(NEWS)
    assert list(batches(io.BytesIO(whole + whole[:at]))) == [NEWS] * (1 + (at == len(whole)))


@given(st.binary(max_size=64))
def test_only_packets_or_one_error_come_out_of_anything(body: bytes) -> None:
    stream = io.BytesIO(len(body).to_bytes(4) + body)
    with contextlib.suppress(VipnetError):
        for batch in batches(stream):
            assert all(isinstance(one, Begun | Named | Missed | Sighting) for one in batch)


def test_the_way_out_of_that_is_said() -> None:
    body = msgspec.msgpack.encode([("later", 1)])
    with pytest.raises(VipnetError, match=r"another version; run `vipnet down`, `vipnet up`"):
        list(batches(io.BytesIO(len(body).to_bytes(4) + body)))
