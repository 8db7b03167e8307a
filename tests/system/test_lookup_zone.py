"""Look-ups that ask the zone's own servers, and how those are found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import dns.flags
import dns.message
import dns.rcode
import pytest
import trio
from tests.fakedns import FakeDns
from tests.system.lookups import FOUND, RECORDS, B

from vipnet.errors import LookupFailedError
from vipnet.names.desired import Primary
from vipnet.system.lookup import Lookup
from vipnet.types import Fqdn, Locator

ZONE = {
    **RECORDS,
    "vipip.test SOA": ["ns1.vipip.test. hostmaster.vipip.test. 1 3600 600 86400 20"],
    "vipip.test NS": ["ns0.vipip.test.", "ns1.vipip.test."],
    "ns0.vipip.test A": ["127.0.0.2"],
    "ns1.vipip.test A": ["127.0.0.1"],
}


def run_with_zone(main: Callable[[FakeDns, FakeDns, Lookup], Awaitable[None]]) -> None:
    """Run MAIN with an upstream whose cache is old, and the zone's own server on another port."""

    async def everything() -> None:
        with trio.fail_after(20):
            async with FakeDns(ZONE).serve() as upstream, FakeDns(ZONE, authoritative=True).serve() as own:
                upstream.records[f"{B} A"] = ["192.0.2.1"]
                lookup = Lookup(lambda: (upstream.address,), authority_port=own.address.port)
                await main(upstream, own, lookup)

    trio.run(everything)


def test_authoritative_asks_the_zone_and_not_a_cache() -> None:
    async def main(upstream: FakeDns, own: FakeDns, lookup: Lookup) -> None:
        assert await lookup.lookup(B, authoritative=True) == FOUND
        assert (await lookup.lookup(B, authoritative=False)).addresses[0] == "192.0.2.1"

    run_with_zone(main)


def test_a_slow_answer_about_a_partner_is_awaited_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vipnet.system.lookup.TIMEOUT_S", 0.1)

    async def main(upstream: FakeDns, own: FakeDns, lookup: Lookup) -> None:
        lookup.remember(B, [own.address])
        slow = {"A": 0.4, "AAAA": 0.4, "TXT": 0.4}
        upstream.delays_s, own.delays_s = slow, slow
        assert await lookup.lookup(B, authoritative=True) == FOUND
        assert (await lookup.lookup(B, authoritative=False)).failed
        own.silent, upstream.silent = {"TXT"}, {"TXT"}
        found = await lookup.lookup(B, authoritative=True)  # what is known is told, and soon
        assert (found.addresses, found.failed) == (FOUND.addresses, True)

    run_with_zone(main)


def test_a_known_zone_costs_one_round_trip_and_no_upstream() -> None:
    async def main(upstream: FakeDns, own: FakeDns, lookup: Lookup) -> None:
        servers = await lookup.servers(B)
        assert servers == (own.address, Locator("127.0.0.2", own.address.port))  # the primary first
        upstream.asked.clear()
        assert await lookup.lookup(B, authoritative=True) == FOUND
        assert upstream.asked == []
        assert sorted(own.asked) == sorted([f"{B} A", f"{B} AAAA", f"_vip.{B} TXT"])
        # Another host of the zone, never heard of before.
        own.records["c.vipip.test A"] = ["192.0.2.3"]
        assert (await lookup.lookup(Fqdn("c.vipip.test"), authoritative=True)).addresses == ("192.0.2.3",)
        assert upstream.asked == []

    run_with_zone(main)


def test_remembered_servers_need_no_upstream() -> None:
    async def main(upstream: FakeDns, own: FakeDns, lookup: Lookup) -> None:
        lookup.remember(B, (own.address,))
        assert await lookup.lookup(B, authoritative=True) == FOUND
        assert upstream.asked == []

    run_with_zone(main)


def test_recursion_is_not_asked_of_the_zone() -> None:
    async def main(upstream: FakeDns, own: FakeDns, lookup: Lookup) -> None:
        flags = []

        def note(response: dns.message.Message) -> dns.message.Message:
            flags.append(response.flags & dns.flags.RD)
            return response

        own.rewrite = note
        lookup.remember(B, (own.address,))
        await lookup.lookup(B, authoritative=True)
        assert flags == [0, 0, 0]

    run_with_zone(main)


def test_a_blocked_zone_falls_back_to_the_upstream() -> None:
    async def main(upstream: FakeDns, own: FakeDns, lookup: Lookup) -> None:
        await lookup.servers(B)
        own.silent = {"A", "AAAA", "TXT"}
        started = trio.current_time()
        assert (await lookup.lookup(B, authoritative=True)).addresses[0] == "192.0.2.1"
        assert trio.current_time() - started > 0.25

    run_with_zone(main)


def test_a_server_that_no_longer_has_the_zone_is_replaced() -> None:
    async def main(upstream: FakeDns, own: FakeDns, lookup: Lookup) -> None:
        async with FakeDns(ZONE).serve() as lame:
            lookup.remember(B, (lame.address,))
            assert await lookup.lookup(B, authoritative=True) == FOUND
            lame.asked.clear()
            assert await lookup.lookup(B, authoritative=True) == FOUND
            assert lame.asked == []

    run_with_zone(main)


def test_a_delegated_part_of_a_known_zone_is_found() -> None:
    async def main(upstream: FakeDns, own: FakeDns, lookup: Lookup) -> None:
        async with FakeDns(ZONE).serve() as parent:  # answers without authority, as a referral does
            lookup.remember(Fqdn("vipip.test"), (parent.address,))
            assert await lookup.lookup(B, authoritative=True) == FOUND
            assert f"{B} A" in parent.asked

    run_with_zone(main)


def test_servers_of_an_unknown_zone() -> None:
    async def main(upstream: FakeDns, own: FakeDns, lookup: Lookup) -> None:
        upstream.rcodes["SOA"] = dns.rcode.SERVFAIL
        with pytest.raises(LookupFailedError, match=rf"servers of {B}: .* answers SERVFAIL"):
            await lookup.servers(B)

    run_with_zone(main)


def test_primary_is_found_by_the_soa_record() -> None:
    async def main(upstream: FakeDns, own: FakeDns, lookup: Lookup) -> None:
        assert await lookup.primary(B) == Primary("vipip.test", (Locator("127.0.0.1", 53),))
        given = await lookup.primary(B, server="127.0.0.1", port=own.address.port)
        assert given == Primary("vipip.test", (own.address,))
        named = await lookup.primary(B, server="ns0.vipip.test", zone="vipip.test")
        assert named == Primary("vipip.test", (Locator("127.0.0.2", 53),))

    run_with_zone(main)


def test_a_given_primary_needs_no_dns() -> None:
    async def main() -> None:
        primary = await Lookup(lambda: ()).primary(B, server="192.0.2.53", port=5353, zone="vipip.test")
        assert primary == Primary("vipip.test", (Locator("192.0.2.53", 5353),))

    trio.run(main)
