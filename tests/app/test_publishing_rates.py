"""A provider's rate limit, Retry-After, refresh: with a clock that nobody waits for."""

from __future__ import annotations

import itertools
import math

import trio
from tests.app.test_publishing import HOME, TRAIN, WORK, A, FakePublisher, run
from trio.testing import MockClock

from vipnet.app.publishing import PublishLoop
from vipnet.errors import PublishError
from vipnet.names.desired import Desired
from vipnet.publish.dyndns2 import SERVICES, Dyndns2
from vipnet.publish.secret import Secret
from vipnet.publish.web import Answer


def test_fifty_changes_in_a_minute_are_two_updates() -> None:
    """At a provider with one update a minute: the first at once, then the last."""
    publisher = FakePublisher(takes_s=0.2, interval_s=60)
    places = [(f"192.0.2.{number}",) for number in range(1, 51)]

    async def main(loop: PublishLoop) -> None:
        for place in places:
            loop.want(place)
            await trio.sleep(1.2)
        await trio.sleep(3600)
        assert loop.status()["address"] == places[-1][0]
        assert loop.state == "ok"

    assert run(publisher, main) == [places[0], places[-1]]
    (first, _), (second, _) = publisher.begun
    assert 60 <= second - first < 61


def test_the_same_by_dyndns2() -> None:
    sent: list[str] = []

    class Web:
        async def __call__(self, method: str, url: str, *, query: dict[str, str], **_: object) -> Answer:
            sent.append(query["myip"])
            await trio.sleep(0.2)
            return Answer(200, f"good {query['myip']}")

    async def main() -> None:
        dyndns2 = Dyndns2(
            Web(),  # type: ignore[arg-type]
            SERVICES["no-ip"],
            "me",
            Secret("x"),
            now=trio.current_time,
        )
        loop = PublishLoop(dyndns2, lambda addresses: Desired(A, addresses))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(loop.run)
            for number in range(1, 51):
                loop.want((f"192.0.2.{number}",))
                await trio.sleep(1.2)
            await trio.sleep(3600)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert sent == ["192.0.2.1", "192.0.2.50"]


def test_waiting_is_a_state_with_its_reason() -> None:
    publisher = FakePublisher(interval_s=60)

    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        await trio.sleep(1)
        assert loop.state == "ok"
        loop.want(TRAIN)
        await trio.sleep(1)
        status = loop.status()
        assert (status["state"], status["address"]) == ("waiting", HOME[0])
        assert status["error"] == "the provider takes one update at a time: the next in 58 s"
        await trio.sleep(60)
        assert loop.status() == {"provider": "fake", "state": "ok", "address": TRAIN[0], "error": None}

    run(publisher, main)


def test_back_home_before_the_time_is_no_update() -> None:
    publisher = FakePublisher(interval_s=60)

    async def main(loop: PublishLoop) -> None:
        for place in (HOME, TRAIN, HOME):
            loop.want(place)
            await trio.sleep(5)
        assert loop.state == "ok"
        await trio.sleep(600)

    run(publisher, main)
    assert publisher.done == [HOME]


def test_an_update_under_way_goes_on_while_no_other_may_be_sent() -> None:
    """Cut off, it would count all the same, and DNS would have neither address for a minute."""
    publisher = FakePublisher(takes_s=5, interval_s=60)

    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        await trio.sleep(1)
        loop.want(WORK)
        await trio.sleep(100)

    assert run(publisher, main) == [HOME, WORK]


def test_an_update_that_hangs_ends_when_another_may_be_sent() -> None:
    publisher = FakePublisher(takes_s=1000, interval_s=60)

    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        await trio.sleep(1)
        loop.want(WORK)
        await trio.sleep(100)

    run(publisher, main)
    assert [(round(at), addresses) for at, addresses in publisher.begun] == [(0, HOME), (60, WORK)]


def test_without_addresses_an_update_under_way_ends_at_once() -> None:
    publisher = FakePublisher(takes_s=1000, interval_s=60)

    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        await trio.sleep(1)
        loop.want(WORK)
        await trio.sleep(1)
        before = trio.current_time()
        publisher.takes_s = 0
        await loop.withdraw()
        assert trio.current_time() == before

    run(publisher, main)
    assert publisher.done == [("withdrawn",)]


def test_what_never_reached_the_provider_does_not_count() -> None:
    publisher = FakePublisher(PublishError("no route", unsent=True), interval_s=60)

    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        await trio.sleep(0.5)
        assert loop.status()["state"] == "pending"
        loop.want(HOME)  # the network is up
        await trio.sleep(0.5)
        assert loop.state == "ok"

    run(publisher, main)


def test_retry_after_holds_whatever_the_network_does() -> None:
    publisher = FakePublisher(PublishError("slow down", retry_after_s=300))

    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        for place in (TRAIN, TRAIN, WORK):
            await trio.sleep(50)
            loop.want(place)
            assert loop.state == "waiting"
        assert loop.status()["error"] == "slow down"
        await trio.sleep(200)
        assert loop.state == "ok"

    assert run(publisher, main) == [WORK]
    assert [round(at) for at, _ in publisher.begun] == [0, 300]


def test_retries_have_jitter_and_a_bound() -> None:
    def pauses(jitter: float) -> list[float]:
        publisher = FakePublisher(*(PublishError("busy") for _ in range(9)))

        async def main(loop: PublishLoop) -> None:
            loop.want(HOME)
            await trio.sleep(1000)

        run(publisher, main, jitter=jitter)
        return [later - earlier for (earlier, _), (later, _) in itertools.pairwise(publisher.begun)]

    least, most = pauses(0.0), pauses(1.0)
    assert all(math.isclose(b, 1.25 * a) for a, b in zip(least, most, strict=True))
    assert max(most) <= 75


def test_a_refusal_of_an_address_that_is_gone_stops_nothing() -> None:
    publisher = FakePublisher(PublishError("badip", permanent=True), takes_s=1, interval_s=10)

    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        await trio.sleep(0.5)
        loop.want(WORK)
        await trio.sleep(20)
        assert loop.state == "ok"

    assert run(publisher, main) == [WORK]


def test_what_expires_is_refreshed_in_time() -> None:
    publisher = FakePublisher(refresh_s=1000)

    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        await trio.sleep(2500)
        assert loop.state == "ok"

    run(publisher, main)
    assert [round(at) for at, _ in publisher.begun] == [0, 1000, 2000]


def test_the_configuration_can_be_slower_than_the_provider_asks() -> None:
    publisher = FakePublisher(interval_s=1)

    async def main() -> None:
        loop = PublishLoop(publisher, lambda addresses: Desired(A, addresses), interval_s=500)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(loop.run)
            for place in (HOME, TRAIN):
                loop.want(place)
                await trio.sleep(400)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert [round(at) for at, _ in publisher.begun] == [0, 500]
