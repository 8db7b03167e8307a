from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vipnet.app.publishing import PublishLoop
from vipnet.errors import PublishError
from vipnet.names.desired import Desired
from vipnet.types import Fqdn

A = Fqdn("a.vipip.test")
HOME, TRAIN, WORK = ("192.0.2.1",), ("198.51.100.7",), ("203.0.113.9", "2001:db8::9")


class FakePublisher:
    """Takes `takes_s` for each call, then raises the next of `errors` if there is one."""

    provider = "fake"
    writes_record = True
    echoes = False

    def __init__(
        self,
        *errors: PublishError,
        takes_s: float = 0.0,
        interval_s: float = 0.0,
        refresh_s: float = math.inf,
    ) -> None:
        self.errors = list(errors)
        self.interval_s, self.refresh_s = interval_s, refresh_s
        self.takes_s = takes_s
        self.sees: tuple[str, ...] | None = None
        self.begun: list[tuple[float, tuple[str, ...]]] = []
        self.done: list[tuple[str, ...]] = []
        self._running = 0

    async def publish(self, desired: Desired) -> tuple[str, ...]:
        await self._call(desired.addresses)
        return desired.addresses if self.sees is None else self.sees

    async def withdraw(self, desired: Desired) -> None:
        await self._call(("withdrawn",))

    async def _call(self, addresses: tuple[str, ...]) -> None:
        self.begun.append((trio.current_time(), addresses))
        self._running += 1
        assert self._running == 1
        try:
            await trio.sleep(self.takes_s)
        finally:
            self._running -= 1
        if self.errors:
            raise self.errors.pop(0)
        self.done.append(addresses)


def run(
    publisher: FakePublisher | None,
    main: Callable[[PublishLoop], Awaitable[None]],
    *,
    jitter: float = 0.0,
) -> list[tuple[str, ...]]:
    """Run MAIN beside the loop, on a clock of its own; return what was said to be published."""
    told: list[tuple[str, ...]] = []

    async def everything() -> None:
        loop = PublishLoop(
            publisher, lambda addresses: Desired(A, addresses), published=told.append, jitter=lambda: jitter
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(loop.run)
            await main(loop)
            nursery.cancel_scope.cancel()

    trio.run(everything, clock=MockClock(autojump_threshold=0))
    return told


def test_what_is_wanted_is_published_at_once() -> None:
    publisher = FakePublisher(takes_s=0.1)

    async def main(loop: PublishLoop) -> None:
        assert loop.status() == {
            "provider": "fake",
            "state": "pending",
            "address": None,
            "error": "there is no address to publish yet",
        }
        await trio.sleep(1)
        assert publisher.begun == []
        wanted_at = trio.current_time()
        loop.want(WORK)
        assert loop.state == "pending"
        await trio.sleep(1)
        assert publisher.begun == [(wanted_at, WORK)]
        assert loop.status() == {"provider": "fake", "state": "ok", "address": WORK[0], "error": None}

    assert run(publisher, main) == [WORK]


def test_what_is_wanted_before_the_loop_runs_is_not_lost() -> None:
    publisher = FakePublisher()

    async def main() -> None:
        loop = PublishLoop(publisher, lambda addresses: Desired(A, addresses))
        loop.want(HOME)
        with trio.move_on_after(1):
            await loop.run()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert publisher.done == [HOME]


def test_an_address_that_flaps_is_published_at_once_and_when_it_has_settled() -> None:
    publisher = FakePublisher(takes_s=0.01)

    async def main(loop: PublishLoop) -> None:
        for number in range(10):
            loop.want((f"192.0.2.{number}",))
            await trio.sleep(0.1)
            loop.want(())
            await trio.sleep(0.1)
        loop.want(WORK)
        await trio.sleep(2)

    assert run(publisher, main) == [("192.0.2.0",), WORK]
    assert len(publisher.begun) == 2


def test_the_newest_wins_at_once() -> None:
    """The update from the old address may wait for an answer that cannot come."""
    publisher = FakePublisher(takes_s=10)

    async def main(loop: PublishLoop) -> None:
        for address in (HOME, TRAIN, WORK):
            loop.want(address)
            await trio.sleep(1)
        await trio.sleep(20)
        assert [addresses for _, addresses in publisher.begun] == [HOME, TRAIN, WORK]
        assert loop.state == "ok"

    assert run(publisher, main) == [WORK]


def test_going_back_while_an_update_is_under_way_publishes_again() -> None:
    publisher = FakePublisher(takes_s=1)

    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        await trio.sleep(2)
        loop.want(TRAIN)
        await trio.sleep(0.5)
        loop.want(HOME)  # DNS may have either by now
        assert loop.state == "pending"
        await trio.sleep(2)
        assert loop.status()["address"] == HOME[0]

    assert run(publisher, main) == [HOME, HOME]
    assert publisher.done == [HOME, HOME]


def test_the_same_again_is_nothing_new() -> None:
    publisher = FakePublisher()

    async def main(loop: PublishLoop) -> None:
        for _ in range(3):
            loop.want(HOME)
            await trio.sleep(1)

    run(publisher, main)
    assert publisher.done == [HOME]


def test_without_addresses_dns_is_left_as_it_is() -> None:
    publisher = FakePublisher(takes_s=1)

    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        await trio.sleep(2)
        loop.want(())
        await trio.sleep(2)
        assert loop.status()["address"] == HOME[0]
        loop.want(HOME)
        await trio.sleep(2)
        assert loop.state == "ok"

    run(publisher, main)
    assert publisher.done == [HOME]


def test_what_may_pass_is_tried_again_ever_more_slowly() -> None:
    publisher = FakePublisher(*(PublishError("SERVFAIL") for _ in range(9)))

    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        await trio.sleep(0.5)
        assert loop.status() == {"provider": "fake", "state": "pending", "address": None, "error": "SERVFAIL"}
        await trio.sleep(600)
        assert loop.status()["error"] is None

    run(publisher, main)
    times = [at for at, _ in publisher.begun]
    assert [round(later - earlier) for earlier, later in pairwise(times)] == [
        1, 2, 4, 8, 16, 32, 60, 60, 60,
    ]  # fmt: skip


def test_a_path_event_ends_the_waiting() -> None:
    publisher = FakePublisher(*(PublishError("no route") for _ in range(6)))

    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        await trio.sleep(40)
        count = len(publisher.begun)
        loop.want(HOME)
        await wait_all_tasks_blocked()
        assert len(publisher.begun) == count + 1

    run(publisher, main)


def test_a_wrong_clock_is_tried_every_ten_seconds_for_five_minutes() -> None:
    publisher = FakePublisher(*(PublishError("BADTIME", clock=True) for _ in range(33)))

    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        await trio.sleep(5)
        assert loop.status()["state"] == "clock"
        await trio.sleep(1000)
        assert loop.status()["state"] == "ok"

    run(publisher, main)
    times = [at for at, _ in publisher.begun]
    pauses = [round(later - earlier) for earlier, later in pairwise(times)]
    assert pauses == [10] * 30 + [60] * 3


def test_a_refusal_for_good_stops_until_the_addresses_change(caplog: pytest.LogCaptureFixture) -> None:
    publisher = FakePublisher(PublishError("BADKEY", permanent=True), PublishError("BADKEY", permanent=True))

    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        await trio.sleep(3600)
        loop.want(HOME)
        await trio.sleep(3600)
        assert len(publisher.begun) == 1
        assert loop.status() == {"provider": "fake", "state": "refused", "address": None, "error": "BADKEY"}
        loop.want(TRAIN)
        await trio.sleep(3600)
        assert len(publisher.begun) == 2
        loop.want(WORK)
        await trio.sleep(1)
        assert loop.state == "ok"

    run(publisher, main)
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["publish.failed", "publish.failed"]


def test_one_that_takes_what_it_sees_is_told_of_every_network() -> None:
    """Behind another NAT the host may have the same address; an update under way may have left before."""
    publisher = FakePublisher(takes_s=1, interval_s=60)
    publisher.echoes = True

    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        await trio.sleep(30)
        assert loop.status()["state"] == "ok"
        loop.want(())
        loop.want(HOME)
        assert loop.status()["state"] == "waiting"
        await trio.sleep(30.5)
        loop.want(HOME)  # while the second is under way
        await trio.sleep(10)
        assert loop.status()["state"] == "waiting"
        await trio.sleep(60)
        assert loop.status()["state"] == "ok"
        await trio.sleep(1000)

    run(publisher, main)
    assert [round(at) for at, _ in publisher.begun] == [0, 60, 120]


def test_what_is_there_is_what_the_provider_says() -> None:
    publisher = FakePublisher()
    publisher.echoes = True
    publisher.sees = WORK

    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        await trio.sleep(1)
        assert loop.status()["address"] == WORK[0]
        publisher.sees = ()  # it does not say
        loop.want(HOME)
        await trio.sleep(1)
        assert (loop.state, loop.status()["address"]) == ("ok", None)

    assert run(publisher, main) == [WORK, ()]


def test_withdraw_ends_the_update_under_way() -> None:
    publisher = FakePublisher(takes_s=10)

    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        await trio.sleep(1)
        await loop.withdraw()
        await trio.sleep(100)

    run(publisher, main)
    assert publisher.done == [("withdrawn",)]


def test_no_provider() -> None:
    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        await trio.sleep(1)
        await loop.withdraw()
        assert loop.status() == {"provider": "none", "state": "off", "address": None, "error": None}

    run(None, main)


@pytest.mark.parametrize("refusal", [{"permanent": True}, {"clock": True}, {}])
def test_nothing_is_sent_during_a_pause_and_what_was_refused_before_it_is_tried_again(
    refusal: dict[str, bool],
) -> None:
    """A captive portal may have answered in the provider's place before it was noticed."""
    publisher = FakePublisher(PublishError("not here", **refusal))

    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        await trio.sleep(0.1)
        loop.pause("the network is captive")
        said = {"provider": "fake", "state": "waiting", "address": None, "error": "the network is captive"}
        assert loop.status() == said
        await trio.sleep(500)
        loop.want(WORK)
        await trio.sleep(500)
        assert loop.status() == said
        assert len(publisher.begun) == 1
        loop.resume()
        await trio.sleep(0.1)
        assert loop.state == "ok"

    assert run(publisher, main) == [WORK]


def test_a_pause_ends_the_update_under_way_and_spoils_nothing_that_is_done() -> None:
    publisher = FakePublisher(takes_s=1)

    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        await trio.sleep(2)
        loop.pause("the network is captive")
        assert loop.state == "ok", "DNS has what it should have"
        loop.resume()
        loop.want(WORK)
        await trio.sleep(0.5)
        loop.pause("the network is captive")
        await trio.sleep(10)
        assert publisher.done == [HOME]
        loop.resume()
        await trio.sleep(1.5)
        assert publisher.done == [HOME, WORK]

    run(publisher, main)


# --- another provider


def test_another_provider_gets_what_is_wanted_and_what_the_old_one_says_counts_no_more() -> None:
    old, new = FakePublisher(takes_s=5), FakePublisher()

    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        await trio.sleep(1)
        assert len(old.begun) == 1
        loop.use(new, None)
        await trio.sleep(1)
        assert (old.done, new.done) == ([], [HOME]), "the update under way was ended"
        assert (loop.state, loop.status()["provider"]) == ("ok", "fake")
        await trio.sleep(10)
        assert (old.done, len(new.begun)) == ([], 1)
        loop.use(None, None)
        loop.want(TRAIN)
        await trio.sleep(10)
        assert (loop.state, new.done) == ("off", [HOME])
        loop.use(new, None)
        loop.want(TRAIN)
        await trio.sleep(1)
        assert new.done == [HOME, TRAIN]

    assert run(old, main) == [HOME, TRAIN]


def test_a_refusal_of_the_old_provider_is_forgotten() -> None:
    old, new = FakePublisher(PublishError("no such user", permanent=True)), FakePublisher()

    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        await trio.sleep(1)
        assert loop.state == "refused"
        loop.use(new, None)
        await trio.sleep(1)
        assert (loop.state, loop.status()["error"]) == ("ok", None)

    run(old, main)


def test_a_provider_that_was_asked_a_moment_ago_is_left_alone_for_its_time() -> None:
    """It may be the same one, with another password."""
    old, new = FakePublisher(interval_s=60), FakePublisher(interval_s=60)

    async def main(loop: PublishLoop) -> None:
        loop.want(HOME)
        await trio.sleep(1)
        loop.use(new, None)
        await trio.sleep(50)
        assert (loop.state, new.begun) == ("waiting", [])
        await trio.sleep(10)
        assert (loop.state, new.done) == ("ok", [HOME])

    run(old, main)
