"""Look-ups that trust hangs on, through a resolver that passes on what BIND has signed, or does not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import dns.edns
import dns.message
import dns.query
import dns.rrset
import pytest
import trio
from dns.rdatatype import RRSIG
from tests.fakedns import FakeDns
from tests.signedzones import RECORD, SignedZones, running_signed_zones, with_another_key

from vipnet.app.config import Dns
from vipnet.app.nameservice import NameService
from vipnet.app.resolving import Resolving
from vipnet.core.outputs import LookupResult
from vipnet.errors import BogusError, UnreachableError
from vipnet.names import dnssec
from vipnet.system.lookup import Lookup
from vipnet.types import Fqdn, Token

B, PLAIN, OUTSIDE = Fqdn("b.vipip.test"), Fqdn("b.plain.test"), Fqdn("b.vipip.example")
SECURE = LookupResult(B, ("192.0.2.2",), RECORD.key, RECORD.port, secure=True)


@pytest.fixture(scope="module")
def zones(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SignedZones]:
    with running_signed_zones(tmp_path_factory.mktemp("zones")) as found:
        yield found


class Resolver(FakeDns):
    """Asks BIND; `tamper` changes its answers."""

    def __init__(self, zones: SignedZones) -> None:
        super().__init__()
        self._zones = zones
        self.tamper: Callable[[dns.message.Message], object] = lambda message: None

    def _respond(self, query: dns.message.Message, name: str, rdtype: str) -> dns.message.Message:
        server = self._zones.server
        answer, _ = dns.query.udp_with_fallback(query, server.host, port=server.port, timeout=5)
        self.tamper(answer)
        return answer


def run(zones: SignedZones, main: Callable[[Resolver, Lookup], Awaitable[None]], **options: Any) -> None:
    async def everything() -> None:
        resolver = Resolver(zones)
        with trio.fail_after(20):
            async with resolver.serve():
                await main(resolver, Lookup(lambda: (resolver.address,), **options))

    trio.run(everything)


def strip(message: dns.message.Message) -> None:
    for section in (message.answer, message.authority):
        section[:] = [rrset for rrset in section if rrset.rdtype != RRSIG]


def test_a_signed_record_is_secure_and_the_chain_is_asked_once(zones: SignedZones) -> None:
    async def main(resolver: Resolver, lookup: Lookup) -> None:
        assert await lookup.lookup(B, authoritative=False, verify=True) == SECURE
        chain = [question for question in resolver.asked if question.split()[1] in ("DS", "DNSKEY")]
        assert "vipip.test DS" in chain
        assert await lookup.lookup(B, authoritative=False, verify=True) == SECURE
        again = [question for question in resolver.asked if question.split()[1] in ("DS", "DNSKEY")]
        assert again == chain

    run(zones, main, anchors=dnssec.parse_anchors(zones.anchors))


def test_an_unsigned_zone_is_not_secure(zones: SignedZones) -> None:
    async def main(_resolver: Resolver, lookup: Lookup) -> None:
        found = await lookup.lookup(PLAIN, authoritative=False, verify=True)
        assert (found.key, found.secure, found.failed) == (RECORD.key, False, False)

    run(zones, main, anchors=dnssec.parse_anchors(zones.anchors))


@pytest.mark.parametrize("tamper", [strip, with_another_key])
def test_what_is_bogus_is_no_answer(
    zones: SignedZones, tamper: Callable[[dns.message.Message], object]
) -> None:
    async def main(resolver: Resolver, lookup: Lookup) -> None:
        resolver.tamper = tamper
        found = await lookup.lookup(B, authoritative=False, verify=True)
        assert (found.key, found.failed, found.secure) == (None, True, False)
        assert found.bogus is not None
        assert "DNSSEC" in found.bogus
        with pytest.raises(BogusError):
            await lookup.capability(B, verify=True)
        resolver.tamper = lambda message: None
        assert await lookup.lookup(B, authoritative=False, verify=True) == SECURE

    run(zones, main, anchors=dnssec.parse_anchors(zones.anchors))


def test_where_nothing_hangs_on_it_nothing_is_asked(zones: SignedZones) -> None:
    async def main(resolver: Resolver, lookup: Lookup) -> None:
        assert not (await lookup.lookup(B, authoritative=False)).secure
        assert not [question for question in resolver.asked if question.split()[1] in ("DS", "DNSKEY")]

    run(zones, main, anchors=dnssec.parse_anchors(zones.anchors))


def test_a_network_without_signatures_is_noticed_once(zones: SignedZones) -> None:
    """It knows nothing of the root either: names have the trust that plain DNS gives, at no further cost."""

    async def main(resolver: Resolver, lookup: Lookup) -> None:
        found = await lookup.lookup(B, authoritative=False, verify=True)
        assert (found.key, found.secure, found.failed) == (RECORD.key, False, False)
        asked = len(resolver.asked)
        await lookup.lookup(PLAIN, authoritative=False, verify=True)
        assert {question.split()[1] for question in resolver.asked[asked:]} == {"A", "AAAA", "TXT"}

    run(zones, main)


def test_strictly_such_a_network_is_no_use(zones: SignedZones) -> None:
    async def main(_resolver: Resolver, lookup: Lookup) -> None:
        assert (await lookup.lookup(B, authoritative=False, verify=True)).bogus is not None

    run(zones, main, dnssec="yes")


def test_what_a_network_passes_on_is_found_out_beforehand(zones: SignedZones) -> None:
    async def main(resolver: Resolver, lookup: Lookup) -> None:
        await lookup.prepare()
        await lookup.prepare()
        assert resolver.asked == [". DNSKEY"]
        await lookup.lookup(B, authoritative=False, verify=True)
        assert len(resolver.asked) == 4  # A, AAAA, TXT

    run(zones, main)


def test_switched_off(zones: SignedZones) -> None:
    async def main(resolver: Resolver, lookup: Lookup) -> None:
        resolver.tamper = with_another_key
        found = await lookup.lookup(B, authoritative=False, verify=True)
        assert (found.failed, found.secure, found.bogus) == (False, False, None)

    run(zones, main, dnssec="no", anchors=dnssec.parse_anchors(zones.anchors))


def test_an_application_gets_neither_token_nor_address_for_a_bogus_name(zones: SignedZones) -> None:
    bound: list[LookupResult] = []

    async def bind(found: LookupResult) -> Token:
        bound.append(found)
        raise UnreachableError("not in this test")

    async def main(resolver: Resolver, lookup: Lookup) -> None:
        service = NameService(
            own_name=Fqdn("a.vipip.test"),
            own_token=lambda: pytest.fail("not ours"),
            lookup=lookup,
            known=lambda name: None,
            stored=lambda name: False,
            name_of=lambda token: None,
            bind=bind,
            dns=Dns(),
        )
        resolver.tamper = with_another_key
        query = dns.message.make_query(B, "A", use_edns=0)
        reply = dns.message.from_wire(await service.answer(query.to_wire(), False))
        assert (reply.rcode(), reply.answer) == (dns.rcode.SERVFAIL, [])
        (option,) = reply.options
        assert isinstance(option, dns.edns.EDEOption)
        assert option.code == dns.edns.EDECode.DNSSEC_BOGUS
        assert service.counters["dns_bogus"] == 1
        resolving = Resolving(
            own_name=Fqdn("a.vipip.test"),
            own_token=lambda: pytest.fail("not ours"),
            lookup=lookup,
            kinds=service.kinds,
            known=lambda name: None,
            name_of=lambda token: None,
            contact=lambda name: None,
            reach=lambda name, within_s: pytest.fail("nobody to reach"),
        )
        trace = (await resolving.trace(B)).json()
        assert (trace["kind"], trace["address"]) == ("failed", None)
        assert "DNSSEC" in trace["problem"]
        assert bound == []
        resolver.tamper = lambda message: None
        await service.answer(query.to_wire(), False)
        assert [found.secure for found in bound] == [True]

    run(zones, main, anchors=dnssec.parse_anchors(zones.anchors))
