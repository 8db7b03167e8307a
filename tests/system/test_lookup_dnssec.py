"""Look-ups that trust hangs on, through a resolver that passes on what BIND has signed, or does not."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import IPv4Address
from typing import Any

import dns.edns
import dns.message
import dns.query
import dns.rrset
import pytest
import trio
from dns.rdatatype import RRSIG, TXT
from tests.fakedns import FakeDns
from tests.signedzones import RECORD, SignedZones, running_signed_zones, with_another_key

from vipnet.app.clock import Clock
from vipnet.app.config import Dns
from vipnet.app.nameservice import NameService
from vipnet.app.resolving import Contact, Resolving
from vipnet.core.outputs import LookupResult
from vipnet.errors import BogusError, UnreachableError
from vipnet.names import dnssec
from vipnet.system.lookup import Capability, Lookup
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


# --- that there is none


GONE = Fqdn("gone.vipip.test")  # an address and a marker, and no capability record


def strip_record(message: dns.message.Message) -> None:
    """As if B had no capability record: without a proof that the zone never signed."""
    if message.question[0].rdtype == TXT:
        message.answer.clear()


def test_that_there_is_none_is_validated_where_trust_hangs_on_it(zones: SignedZones) -> None:
    async def main(resolver: Resolver, lookup: Lookup) -> None:
        found = await lookup.lookup(GONE, authoritative=False, verify=True)
        assert (found.key, found.failed, found.secure, found.bogus) == (None, False, True, None)
        resolver.tamper = strip_record
        found = await lookup.lookup(B, authoritative=False, verify=True)
        assert (found.key, found.failed, found.secure) == (None, True, False)
        assert found.bogus is not None
        assert "nothing proves" in found.bogus

    run(zones, main, anchors=dnssec.parse_anchors(zones.anchors))


def test_names_without_vipnet_cost_no_further_question(zones: SignedZones) -> None:
    """Where the user has not asked for more than the root's signatures."""

    async def main(resolver: Resolver, lookup: Lookup) -> None:
        assert await lookup.capability(GONE, verify=True) == Capability(None, 20.0)
        assert len(resolver.asked) == 1
        assert not lookup.insists_on(GONE)

    run(zones, main)


def service_of(lookup: Lookup, known: Token | None = None) -> NameService:
    return NameService(
        own_name=Fqdn("a.vipip.test"),
        own_token=lambda: pytest.fail("not ours"),
        lookup=lookup,
        known=lambda name: known,
        stored=lambda name: known is not None,
        name_of=lambda token: None,
        bind=lambda found: pytest.fail("nothing to bind"),
        dns=Dns(),
    )


async def ask(service: NameService, name: str) -> tuple[dns.rcode.Rcode, list[str]]:
    query = dns.message.make_query(name, "A", use_edns=0)
    reply = dns.message.from_wire(await service.answer(query.to_wire(), False))
    return reply.rcode(), [rdata.to_text() for rrset in reply.answer for rdata in rrset]


def drop_record(message: dns.message.Message) -> None:
    """No answer that counts, however often it is asked."""
    if message.question[0].rdtype == TXT:
        message.set_rcode(dns.rcode.SERVFAIL)


@pytest.mark.parametrize("tamper", [strip_record, drop_record])
def test_below_an_anchor_of_the_users_a_record_that_was_taken_out_makes_no_legacy_name(
    zones: SignedZones, tamper: Callable[[dns.message.Message], object]
) -> None:
    async def main(resolver: Resolver, lookup: Lookup) -> None:
        service = service_of(lookup)
        resolver.tamper = tamper
        assert await ask(service, B) == (dns.rcode.SERVFAIL, [])
        resolver.tamper = lambda message: None
        assert await ask(service, GONE) == (dns.rcode.NOERROR, ["192.0.2.4"])

    run(zones, main, anchors=dnssec.parse_anchors(zones.anchors))


def test_without_such_an_anchor_it_does(zones: SignedZones) -> None:
    """What docs/security.md says of first contacts."""

    async def main(resolver: Resolver, lookup: Lookup) -> None:
        resolver.tamper = strip_record
        assert await ask(service_of(lookup), B) == (dns.rcode.NOERROR, ["192.0.2.2"])

    run(zones, main)


@pytest.mark.parametrize("signed", [True, False])
def test_resolve_says_whether_a_known_peer_has_withdrawn_its_record(zones: SignedZones, signed: bool) -> None:
    name = GONE if signed else B

    async def reach(_name: Fqdn, _within_s: float) -> float | None:
        return None

    async def main(resolver: Resolver, lookup: Lookup) -> None:
        token = Token(IPv4Address("242.0.0.2"))
        service = service_of(lookup, token)
        resolving = Resolving(
            own_name=Fqdn("a.vipip.test"),
            own_token=lambda: pytest.fail("not ours"),
            lookup=lookup,
            kinds=service.kinds,
            known=lambda name: token,
            name_of=lambda token: None,
            contact=lambda name: Contact("dnssec", RECORD.key, None, None),
            reach=reach,
        )
        resolver.tamper = strip_record
        trace = (await resolving.trace(name)).json()
        assert (trace["kind"], trace["address"]) == ("vip", str(token))
        assert ("withdrawn" in trace["problem"]) is signed
        assert ("suppresses" in trace["problem"]) is not signed

    run(zones, main, anchors=dnssec.parse_anchors(zones.anchors))


# --- the clock


DAY_S = 86_400.0


@pytest.mark.parametrize("ahead_days", [-10_000, 0, 1000])
def test_signatures_tell_that_the_clock_is_wrong(zones: SignedZones, ahead_days: int) -> None:
    """Names cannot be validated then, and `status` can say why."""
    ahead_s = [ahead_days * DAY_S]

    def now() -> float:
        return time.time() + ahead_s[0]

    clock = Clock(now)

    async def main(_resolver: Resolver, lookup: Lookup) -> None:
        found = await lookup.lookup(B, authoritative=False, verify=True)
        assert found.secure is (ahead_days == 0)
        assert clock.wrong is (ahead_days != 0)
        if ahead_days:
            assert found.bogus is not None
            assert "by this host's clock" in found.bogus
            # Not more than is known: signatures hold for weeks.
            assert clock.ahead_s / ahead_s[0] == pytest.approx(1, abs=0.05)
        ahead_s[0] = 0.0
        assert (await lookup.lookup(B, authoritative=False, verify=True)).secure
        assert not clock.wrong

    anchors = dnssec.parse_anchors(zones.anchors)
    run(zones, main, anchors=anchors, now=now, told_time=clock.tell_window)


def add_signature(message: dns.message.Message) -> None:
    """That nobody made, and that begins when the others do not."""
    for rrset in message.answer:
        if rrset.rdtype == RRSIG and rrset.covers == TXT:
            rrset.add(rrset[0].replace(inception=int(time.time()), signature=bytes(64)))


@pytest.mark.parametrize("tamper", [with_another_key, add_signature])
def test_signatures_of_nobody_tell_nothing(
    zones: SignedZones, tamper: Callable[[dns.message.Message], object]
) -> None:
    told: list[float] = []

    async def main(resolver: Resolver, lookup: Lookup) -> None:
        resolver.tamper = tamper
        assert (await lookup.lookup(B, authoritative=False, verify=True)).bogus is not None

    anchors = dnssec.parse_anchors(zones.anchors)
    run(
        zones,
        main,
        anchors=anchors,
        now=lambda: time.time() - 1000 * DAY_S,
        told_time=lambda *window: told.extend(window),
    )
    assert told == []
