"""What `vipnet init` waits for after an update, and what it says of servers that lag, lie or are silent."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from vipnet.app.config import Config
from vipnet.app.trial import SEEN_S, Trial, Watch
from vipnet.core.outputs import LookupResult
from vipnet.errors import LookupFailedError, NotReadyError
from vipnet.names.records import CapabilityRecord
from vipnet.types import Fqdn, Locator, PublicKey

A = Fqdn("a.vipip.test")
KEY, OTHER_KEY = PublicKey(bytes(range(32))), PublicKey(bytes(32))
ADDRESSES = ("192.0.2.1",)
# Of this machine, so that there is a route to them.
NS1, NS2 = Locator("127.0.0.1", 53), Locator("127.0.0.2", 53)
RIGHT = LookupResult(A, ADDRESSES, key=KEY, port=5847)
OLD = LookupResult(A, ("192.0.2.9",), key=KEY, port=5847)
SILENT = LookupResult(A, failed=True)


class FakeLookup:
    """Each server's answers are {seconds: what it says from then on}."""

    def __init__(self, answers: dict[Locator, dict[float, LookupResult]], resolver: LookupResult) -> None:
        self.answers, self.resolver = answers, resolver
        self.begun = 0.0

    async def servers(self, _name: Fqdn) -> Sequence[Locator]:
        if not self.answers:
            raise LookupFailedError("no SOA record")
        return tuple(self.answers)

    async def lookup_at(self, _name: Fqdn, server: Locator) -> LookupResult:
        await trio.sleep(0.01)
        said = self.answers[server]
        result = said[max(at for at in said if at <= trio.current_time() - self.begun)]
        if result.failed:
            await trio.sleep(3)
        return result

    async def lookup(self, _name: Fqdn, *, authoritative: bool) -> LookupResult:
        assert not authoritative
        await trio.lowlevel.checkpoint()
        return self.resolver


def watch(
    answers: dict[Locator, dict[float, LookupResult]],
    *,
    resolver: LookupResult = SILENT,
    key: PublicKey | None = KEY,
) -> Trial:
    async def main() -> Trial:
        lookup = FakeLookup(answers, resolver)
        lookup.begun = trio.current_time()
        record = None if key is None else CapabilityRecord(key, 5847)
        return await Watch(Config(A), lookup, ADDRESSES, record).run()

    return trio.run(main, clock=MockClock(autojump_threshold=0))


def test_all_have_it() -> None:
    assert watch({NS1: {0: RIGHT}, NS2: {0: RIGHT}}) == Trial(ADDRESSES, (NS1, NS2))


def test_a_secondary_may_take_its_time() -> None:
    assert watch({NS1: {0: RIGHT}, NS2: {0: OLD, SEEN_S / 2: RIGHT}}) == Trial(ADDRESSES, (NS1, NS2))


def test_but_not_for_ever() -> None:
    with pytest.raises(
        NotReadyError, match=r"^127.0.0.2:53 answers with 192.0.2.9, not 192.0.2.1, 60 s after"
    ):
        watch({NS1: {0: RIGHT}, NS2: {0: OLD}})


@pytest.mark.parametrize("other", [{"key": OTHER_KEY}, {"port": 1}, {"key": None, "port": None}])
def test_the_record_counts_too(other: dict[str, object]) -> None:
    wrong = LookupResult(A, ADDRESSES, **{"key": KEY, "port": 5847, **other})  # type: ignore[arg-type]
    with pytest.raises(NotReadyError, match=r"has no _vip record of a.vipip.test with this host's key"):
        watch({NS1: {0: wrong}})
    assert watch({NS1: {0: wrong}}, key=None) == Trial(ADDRESSES, (NS1,))


def test_one_that_is_silent_is_named_and_not_waited_for() -> None:
    assert watch({NS1: {0: RIGHT}, NS2: {0: SILENT}}) == Trial(ADDRESSES, (NS1,), (NS2,))


def test_where_port_53_is_blocked_the_resolver_tells() -> None:
    blocked: dict[Locator, dict[float, LookupResult]] = {NS1: {0: SILENT}, NS2: {0: SILENT}}
    assert watch(blocked, resolver=RIGHT) == Trial(ADDRESSES, (), (NS1, NS2))
    with pytest.raises(
        NotReadyError, match=r"no name server of a.vipip.test answers: 127.0.0.1:53, 127.0.0.2"
    ):
        watch(blocked)


def test_no_servers_are_known() -> None:
    with pytest.raises(NotReadyError, match="which name servers have it cannot be found: no SOA record"):
        watch({})
