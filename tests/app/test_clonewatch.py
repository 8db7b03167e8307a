"""A host whose key and name another machine has, too."""

from __future__ import annotations

import pytest
import trio
from tests.app.test_publishing import FakePublisher
from trio.testing import MockClock

from vipnet.app.clonewatch import AGAIN_S, CloneWatch
from vipnet.app.publishing import PublishLoop
from vipnet.core.outputs import LookupResult
from vipnet.names.desired import Desired
from vipnet.types import Fqdn

OURS, THEIRS = "192.0.2.1", "192.0.2.2"


class Pauses:
    def __init__(self) -> None:
        self.paused = False
        self.address: str | None = OURS

    def pause(self, why: str, *, lost: bool = False) -> None:
        assert "key rotate" in why
        assert lost
        self.paused = True

    def resume(self) -> None:
        self.paused = False


@pytest.mark.parametrize(
    ("in_dns", "stops"),
    [
        pytest.param((THEIRS,), True, id="the other one has updated it"),
        pytest.param((OURS,), False, id="a partner may lie"),
        pytest.param((), False, id="DNS does not answer"),
    ],
)
def test_publishing_stops_only_when_dns_shows_another_machine(in_dns: tuple[str, ...], stops: bool) -> None:
    pauses, until = Pauses(), 100.0

    async def ask() -> LookupResult:
        return LookupResult(Fqdn("a.example"), in_dns)

    async def main() -> None:
        watch = CloneWatch(pauses, ask=ask, cloned=lambda: trio.current_time() - began < until)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run)
            watch.handle_notice()
            await trio.sleep(1)
            assert pauses.paused is stops
            pauses.paused = False  # a captive portal opens, and knows nothing of this
            await trio.sleep(AGAIN_S)
            assert pauses.paused is stops
            await trio.sleep(until)
            assert not pauses.paused
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_the_name_leads_here_again_when_the_other_machine_is_gone() -> None:
    publisher = FakePublisher()
    loop = PublishLoop(publisher, lambda addresses: Desired(Fqdn("a.example"), addresses))

    async def ask() -> LookupResult:
        return LookupResult(Fqdn("a.example"), (THEIRS,))

    async def main() -> None:
        watch = CloneWatch(loop, ask=ask, cloned=lambda: trio.current_time() - began < 100)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run)
            nursery.start_soon(loop.run)
            loop.want((OURS,))
            await trio.sleep(1)
            assert loop.state == "ok"
            watch.handle_notice()
            await trio.sleep(1)
            assert loop.status()["state"] == "waiting"
            assert "key rotate" in loop.status()["error"]
            await trio.sleep(90)
            assert publisher.done == [(OURS,)]
            await trio.sleep(2 * AGAIN_S)
            assert (loop.state, publisher.done) == ("ok", [(OURS,), (OURS,)])
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
