"""The whole way of a question with a real BIND as upstream: resolver, name service, look-up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from ipaddress import IPv4Address
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import pytest
import trio
from tests.app.questions import comparable
from tests.bind import Bind, exchange, running_bind, tsig_key

from vipnet.app.config import Dns
from vipnet.app.nameservice import NameService
from vipnet.core.outputs import LookupResult
from vipnet.names.desired import Desired, Primary
from vipnet.names.records import CapabilityRecord
from vipnet.publish.rfc2136 import Rfc2136
from vipnet.system.lookup import Lookup
from vipnet.system.resolver import Resolver
from vipnet.types import Fqdn, Locator, PublicKey, Token

A, B = Fqdn("a.vipip.test"), Fqdn("b.vipip.test")
RECORD = CapabilityRecord(PublicKey(bytes(range(32))), 5847)
TOKEN = Token(IPv4Address("242.0.0.2"))
_BIG = " ".join(f'"{number:0200}"' for number in range(9))
RECORDS = f"""
old A 192.0.2.9
old AAAA 2001:db8::9
old HTTPS 1 . alpn=h2 ipv4hint=192.0.2.9
old MX 10 mail
old LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m
old TYPE65280 \\# 4 0A000001
big TXT {_BIG}
alias CNAME old
vipalias CNAME b
viptree DNAME vipip.test.
viptrees CNAME b.viptree
_sip._udp.old SRV 0 0 5060 old
*.wild TXT "anything"
*.wild A 192.0.2.8
"""
QUESTIONS = [
    ("old", "A"),
    ("OLD", "A"),
    ("old", "AAAA"),
    ("old", "HTTPS"),
    ("old", "MX"),
    ("old", "LOC"),
    ("old", "TYPE65280"),
    ("old", "ANY"),
    ("old", "SPF"),
    ("alias", "A"),
    ("alias", "AAAA"),
    ("alias", "CNAME"),
    ("_sip._udp.old", "SRV"),
    ("anything.wild", "A"),
    ("none", "A"),
    ("none", "TXT"),
    ("big", "TXT"),
    ("ns", "A"),
]


@pytest.fixture(scope="module")
def bind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bind]:
    with running_bind(tmp_path_factory.mktemp("bind") / "named", records=RECORDS) as server:
        yield server


def with_resolver(bind: Bind, main: Callable[[Locator], Awaitable[None]]) -> None:
    """Run MAIN with the address of a resolver that knows no peers and whose upstream is BIND."""

    async def bound(found: LookupResult) -> Token:
        assert (found.name, found.key, found.port) == (B, RECORD.key, RECORD.port)
        assert found.addresses in (("192.0.2.2",), ("192.0.2.2", "2001:db8::2"))
        return TOKEN

    async def everything() -> None:
        lookup = Lookup(lambda: (bind.server,))
        names = NameService(
            own_name=A,
            own_token=lambda: Token(IPv4Address("242.0.0.1")),
            lookup=lookup,
            known=lambda name: None,
            stored=lambda name: False,
            name_of=lambda token: None,
            bind=bound,
            dns=Dns(),
        )
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                resolver = Resolver(Locator("127.0.0.47", bind.server.port), names.answer)
                where = await nursery.start(lambda task_status: resolver.run(task_status=task_status))
                await main(where)
                nursery.cancel_scope.cancel()

    trio.run(everything)


def query(name: str, rdtype: str, *, payload: int | None = 1232, dnssec: bool = False) -> bytes:
    name = f"{name}.vipip.test" if name != "." else name
    edns: dict[str, Any] = (
        {} if payload is None else {"use_edns": 0, "payload": payload, "want_dnssec": dnssec}
    )
    return dns.message.make_query(name, rdtype, **edns).to_wire()


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_legacy_answers_are_those_of_bind(bind: Bind, tcp: bool) -> None:
    async def main(resolver: Locator) -> None:
        for name, rdtype in QUESTIONS:
            for payload in (None, 512, 1232, 4096):
                wire = query(name, rdtype, payload=payload, dnssec=payload == 4096)
                ours = await trio.to_thread.run_sync(partial(exchange, wire, resolver, tcp=tcp))
                theirs = exchange(wire, bind.server, tcp=tcp)
                assert comparable(ours) == comparable(theirs), (name, rdtype, payload)

    with_resolver(bind, main)


def test_a_long_answer_is_truncated_over_udp_and_whole_over_tcp(bind: Bind) -> None:
    async def main(resolver: Locator) -> None:
        wire = query("big", "TXT")
        short = dns.message.from_wire(await trio.to_thread.run_sync(exchange, wire, resolver))
        assert short.flags & dns.flags.TC
        assert not short.answer
        whole = await trio.to_thread.run_sync(partial(exchange, wire, resolver, tcp=True))
        assert len(whole) > 1232
        assert not dns.message.from_wire(whole).flags & dns.flags.TC

    with_resolver(bind, main)


@pytest.mark.parametrize("opcode", [2, 4, 5])  # STATUS, NOTIFY, UPDATE
def test_other_opcodes_are_passed_on(bind: Bind, opcode: int) -> None:
    async def main(resolver: Locator) -> None:
        wire = bytearray(query("old", "SOA", payload=None))
        wire[2] = opcode << 3
        ours = await trio.to_thread.run_sync(exchange, bytes(wire), resolver)
        assert ours == exchange(bytes(wire), bind.server)

    with_resolver(bind, main)


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_a_published_vip_name_is_its_token(bind: Bind, tcp: bool) -> None:
    """What one host publishes another resolves."""

    async def main(resolver: Locator) -> None:
        async def primary() -> Primary:
            return Primary(bind.zone, (bind.server,))

        publisher = Rfc2136(Lookup(lambda: ()).ask, primary, tsig_key(B))
        await publisher.publish(Desired(B, ("192.0.2.2", "2001:db8::2"), RECORD))
        for name, rdtype, expected in (
            ("b", "A", ["242.0.0.2"]),
            ("b", "AAAA", []),
            ("b", "HTTPS", []),
            ("vipalias", "A", ["b.vipip.test.", "242.0.0.2"]),
            ("b.viptree", "A", ["vipip.test.", "b.vipip.test.", "242.0.0.2"]),
            ("viptrees", "A", ["b.viptree.vipip.test.", "vipip.test.", "b.vipip.test.", "242.0.0.2"]),
            ("viptrees", "AAAA", ["b.viptree.vipip.test.", "vipip.test.", "b.vipip.test."]),
        ):
            wire = await trio.to_thread.run_sync(partial(exchange, query(name, rdtype), resolver, tcp=tcp))
            reply = dns.message.from_wire(wire)
            assert reply.rcode() == dns.rcode.NOERROR
            assert [str(rdata) for rrset in reply.answer for rdata in rrset] == expected

    with_resolver(bind, main)


def test_a_wildcard_text_makes_no_vip_name(bind: Bind) -> None:
    async def main(resolver: Locator) -> None:
        reply = dns.message.from_wire(await trio.to_thread.run_sync(exchange, query("x.wild", "A"), resolver))
        assert [str(rdata) for rrset in reply.answer for rdata in rrset] == ["192.0.2.8"]
        assert bind.texts("_vip.x.wild.vipip.test", "TXT") == {'"anything"'}

    with_resolver(bind, main)
