"""What is published of what is known, and when the world is taken to see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from tests.app.test_publishing import FakePublisher
from trio.testing import MockClock

from vipnet.app.ownrecords import OwnRecords
from vipnet.app.publishconfig import Publish
from vipnet.app.texts import AddressSource
from vipnet.core.outputs import LookupResult
from vipnet.names.desired import Desired
from vipnet.types import Fqdn, PublicKey

A = Fqdn("a.vipip.test")
KEY = PublicKey(bytes(32))
PRIVATE, NAT, NAT_AGAIN = "192.168.1.10", "203.0.113.80", "203.0.113.81"


class World:
    """The zone's servers say `says`; what was published is in `publisher.done`."""

    def __init__(self, *address: str, echoes: bool = False) -> None:
        self.publisher = FakePublisher(interval_s=60 if echoes else 0)
        self.publisher.echoes = echoes
        self.says = LookupResult(A, ())
        self.asked = self.told = 0
        self.records = OwnRecords(
            Publish(address=tuple(AddressSource(source) for source in address)),
            self.publisher,
            lambda addresses: Desired(A, addresses),
            ask=self._ask,
            key=lambda: KEY,
            published=self._count,
            failed=lambda: None,
        )

    def _count(self) -> None:
        self.told += 1

    async def _ask(self) -> LookupResult:
        await trio.lowlevel.checkpoint()
        self.asked += 1
        return self.says


def run(world: World, main: Callable[[OwnRecords], Awaitable[None]]) -> None:
    async def everything() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.records.run)
            await main(world.records)
            nursery.cancel_scope.cancel()

    trio.run(everything, clock=MockClock(autojump_threshold=0))


def test_the_world_sees_it_when_the_zone_s_servers_say_so() -> None:
    world = World("interface")

    async def main(records: OwnRecords) -> None:
        await trio.sleep(10)
        assert world.asked == 0  # nothing is published yet
        records.handle_network([PRIVATE])
        await trio.sleep(10)
        assert world.asked > 1
        for says in (LookupResult(A, (PRIVATE,)), LookupResult(A, (NAT,), key=KEY)):
            world.says = says
            await trio.sleep(10)
            assert not records.in_dns
        world.says = LookupResult(A, (PRIVATE, NAT), key=KEY)
        await trio.sleep(10)
        assert records.in_dns
        asked = world.asked
        await trio.sleep(100)
        assert world.asked == asked

    run(world, main)


def test_what_partners_see_follows_the_host() -> None:
    world = World("observed")

    async def main(records: OwnRecords) -> None:
        records.handle_network([PRIVATE])
        await trio.sleep(1)
        assert records.loop.status()["error"] == "there is no address to publish yet"
        for network in (NAT, NAT_AGAIN):
            records.handle_network([PRIVATE])
            records.handle_seen_at(network)
            await trio.sleep(1)

    run(world, main)
    assert world.publisher.done == [(NAT,), (NAT_AGAIN,)]


def test_a_provider_that_sees_it_itself_is_asked_again_only_when_partners_see_something_else() -> None:
    world = World("interface", echoes=True)
    world.publisher.sees = (NAT,)

    async def main(records: OwnRecords) -> None:
        records.handle_network([PRIVATE])
        await trio.sleep(100)
        records.handle_seen_at(NAT)
        await trio.sleep(100)
        assert len(world.publisher.done) == 1
        records.handle_seen_at(NAT_AGAIN)
        await trio.sleep(100)
        assert len(world.publisher.done) == 2

    run(world, main)


def test_a_move_is_in_dns_when_the_address_that_is_published_has_changed() -> None:
    """Behind a NAT that is another one than the host's own; a refresh says nothing of a move."""
    world = World("observed")
    world.publisher.refresh_s = 1000.0

    async def main(records: OwnRecords) -> None:
        for outside, told in ((NAT, 1), (NAT_AGAIN, 2), (NAT_AGAIN, 2)):
            records.handle_network([PRIVATE])
            await trio.sleep(1)
            records.handle_seen_at(outside)
            await trio.sleep(1)
            assert world.told == told
        await trio.sleep(1500)
        assert world.publisher.done[2:] == [(NAT_AGAIN,)], "refreshed"
        assert world.told == 2

    run(world, main)


def test_an_update_that_the_host_has_moved_on_from_is_not_the_move_s() -> None:
    world = World("interface")
    world.publisher.takes_s = 5.0

    async def main(records: OwnRecords) -> None:
        world.publisher.interval_s = 60.0  # so that the first is not ended by the second
        records.handle_network(["192.0.2.1"])
        await trio.sleep(1)
        records.handle_network(["192.0.2.2"])
        await trio.sleep(6)
        assert (world.publisher.done, world.told) == ([("192.0.2.1",)], 0)
        await trio.sleep(60)
        assert (len(world.publisher.done), world.told) == (2, 1)

    run(world, main)


def test_another_provider_or_another_address_is_published_and_seen_by_the_world_anew() -> None:
    world, other = World("interface"), FakePublisher()

    async def main(records: OwnRecords) -> None:
        records.handle_network([PRIVATE])
        world.says = LookupResult(A, (PRIVATE,), key=KEY)
        await trio.sleep(10)
        assert records.in_dns
        asked = world.asked
        records.use(Publish(address=(AddressSource(NAT),)), other)
        assert not records.in_dns
        await trio.sleep(10)
        assert (world.publisher.done, other.done) == ([(PRIVATE,)], [(NAT,)])
        assert not records.in_dns, "the zone still says what it said"
        world.says = LookupResult(A, (NAT,), key=KEY)
        await trio.sleep(10)
        assert records.in_dns
        assert world.asked > asked

    run(world, main)
