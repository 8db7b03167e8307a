"""A name service between a fake upstream and a daemon of a few dictionaries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from typing import Any

import dns.edns
import dns.message
import dns.rcode
import dns.rdatatype
import trio
from tests.fakedns import FakeDns

from vipnet.app.config import Dns
from vipnet.app.nameservice import NameService
from vipnet.app.resolving import Contact, Resolving
from vipnet.app.texts import NamePattern
from vipnet.core.outputs import LookupResult, TrustLevel
from vipnet.errors import UnreachableError
from vipnet.names.records import CapabilityRecord
from vipnet.system.lookup import Lookup
from vipnet.types import Fqdn, Locator, PublicKey, Token

A, B, C, OLD = (Fqdn(f"{name}.vipip.test") for name in ("a", "b", "c", "old"))
TOKENS = {name: Token(IPv4Address(f"242.0.0.{number}")) for number, name in enumerate((A, B, C), 1)}
RECORD = CapabilityRecord(PublicKey(bytes(range(32))), 5847)
RECORDS = {
    f"{B} A": ["192.0.2.2"],
    f"{B} AAAA": ["2001:db8::2"],
    f"{B} HTTPS": ["1 . ipv4hint=192.0.2.2"],
    f"_vip.{B} TXT": [f'"{RECORD}"'],
    f"{OLD} A": ["192.0.2.9"],
    f"{OLD} AAAA": ["2001:db8::9"],
    f"{OLD} MX": ["10 mail.vipip.test."],
    "www.test CNAME": ["mid.test."],
    "mid.test CNAME": [f"{B}."],
    "plain.test CNAME": [f"{OLD}."],
    "9.2.0.192.in-addr.arpa PTR": [f"{OLD}."],
}


class House:
    """A name service, a fake upstream, and a daemon of a few dictionaries."""

    def __init__(
        self, *, upstreams: tuple[()] | None = None, timeout_s: float = 10.0, **dns_config: tuple[str, ...]
    ) -> None:
        self.upstream = FakeDns(RECORDS)
        self.bindings: dict[Fqdn, Token] = {}
        self.stored: set[Fqdn] = set()
        self.bound: list[LookupResult] = []
        self.reachable = True
        self.agreeable = True
        self.handshake_s = self.negotiation_s = 0.0
        self.asked = trio.Event()  # for a binding
        patterns: dict[str, Any] = {key: tuple(map(NamePattern, names)) for key, names in dns_config.items()}
        self.no_route: set[str] = set()
        self.hooked = self.captive = False
        self.expected: list[Fqdn] = []
        # test_lookup_dnssec.py sees to signatures; here every question counts.
        self.lookup = Lookup(
            lambda: (self.upstream.address,) if upstreams is None else upstreams, dnssec="no"
        )
        self.service = NameService(
            own_name=A,
            own_token=lambda: TOKENS[A],
            lookup=self.lookup,
            known=self.bindings.get,
            stored=lambda name: name in self.stored or name in self.bindings,
            name_of=self.name_of,
            bind=self.bind,
            dns=Dns(**patterns),
            timeout_s=timeout_s,
            hooked=lambda: self.hooked,
            expect=self.expected.append,
            captive=lambda: self.captive,
            has_route=lambda locator: locator.host not in self.no_route,
        )
        # What the daemon knows of peers, for `resolve`.
        self.keys: dict[Fqdn, tuple[TrustLevel, PublicKey]] = {}
        self.sessions_at: dict[Fqdn, float] = {}
        self.locator = Locator("192.0.2.2", 5847)
        self.answers = True
        self.resolving = Resolving(
            own_name=A,
            own_token=lambda: TOKENS[A],
            lookup=self.lookup,
            kinds=self.service.kinds,
            known=self.bindings.get,
            name_of=self.name_of,
            contact=self.contact,
            reach=self.reach,
        )

    def name_of(self, token: Token) -> Fqdn | None:
        return next((name for name, t in self.bindings.items() if t == token), None)

    def contact(self, name: Fqdn) -> Contact | None:
        if name not in self.keys:
            return None
        return Contact(*self.keys[name], self.locator, self.sessions_at.get(name), 1500)

    def meet(self, name: Fqdn) -> None:
        """There are keys with NAME from now on."""
        self.keys.setdefault(name, ("dns", RECORD.key))
        self.sessions_at[name] = trio.current_time()

    async def reach(self, name: Fqdn, within_s: float) -> float | None:
        if not self.answers:
            return None
        if name not in self.sessions_at:
            self.meet(name)
        return 0.0123

    async def bind(self, found: LookupResult) -> Token:
        self.bound.append(found)
        self.asked.set()
        await trio.sleep(self.handshake_s)
        if not self.reachable:
            raise UnreachableError(f"{found.name} does not answer at 192.0.2.2:5847")
        self.meet(found.name)
        await trio.sleep(self.negotiation_s)
        if not self.agreeable:
            raise UnreachableError(f"{found.name} cannot be reached: no token is free on both hosts")
        self.bindings[found.name] = TOKENS[found.name]
        return TOKENS[found.name]

    async def ask(self, name: str, rdtype: str = "A", *, tcp: bool = False) -> dns.message.Message:
        query = dns.message.make_query(name, rdtype, use_edns=0)
        reply = dns.message.from_wire(await self.service.answer(query.to_wire(), tcp))
        assert reply.id == query.id
        assert reply.question == query.question
        return reply

    def run(self, main: Callable[[], Awaitable[None]]) -> None:
        async def everything() -> None:
            with trio.fail_after(20):
                async with self.upstream.serve():
                    await main()

        trio.run(everything)


def data(reply: dns.message.Message) -> list[str]:
    """Records of the answer, without their names."""
    assert reply.rcode() == dns.rcode.NOERROR
    return [
        f"{rrset.ttl} {dns.rdatatype.to_text(rrset.rdtype)} {rdata}"
        for rrset in reply.answer
        for rdata in rrset
    ]


def reason(reply: dns.message.Message) -> str:
    """The extended error of a SERVFAIL."""
    assert reply.rcode() == dns.rcode.SERVFAIL
    assert not reply.answer
    (option,) = reply.options
    assert isinstance(option, dns.edns.EDEOption)
    assert option.code == dns.edns.EDECode.NETWORK_ERROR
    return option.text or ""
