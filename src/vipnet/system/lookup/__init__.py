"""Our own DNS questions: to the network's resolvers, and to a zone's own servers.

ask        one question to one server: sockets, retries, which answers count
question   how we ask, what the answer says
authority  which servers speak for a name
validation whether an answer is what its zone has signed
shared     overlapping look-ups made once
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Literal, Protocol

import dns.message
import dns.name
import dns.rcode
import trio
from dns.rdatatype import AAAA, TXT, A, RdataType
from msgspec import structs

from vipnet.core.outputs import LookupResult
from vipnet.errors import BogusError, HostError, LookupFailedError
from vipnet.names.answer import addresses_in
from vipnet.names.casing import mixed, restored, same_case
from vipnet.names.desired import Primary
from vipnet.names.dnssec import Anchors
from vipnet.names.message import answers, is_truncated, with_id
from vipnet.names.records import capability_name
from vipnet.system.lookup.ask import RETRY_S, Accept, ask_tcp, ask_udp, first, has_route
from vipnet.system.lookup.authority import Authority, Resolve
from vipnet.system.lookup.question import (
    Capability,
    RefusedError,
    capability_from,
    make_question,
    parse_reply,
)
from vipnet.system.lookup.shared import SharedCalls
from vipnet.system.lookup.validation import Validator
from vipnet.types import Fqdn, Locator

__all__ = ["Capability", "Lookup", "SharedCalls", "has_route", "result_of"]

TIMEOUT_S: Final = 3.0  # of one of our questions, with all its retries
PARTNER_TIMEOUT_S: Final = (
    15.0  # of one that asks where a partner is: nobody else can tell (paper, Figure 4: 8 s)
)
PASS_ON_TIMEOUT_S: Final = 5.0  # of an application's question: as long as its stub waits (resolv.conf(5))
PASS_ON_RETRY_S: Final = 0.2  # gentler than RETRY_S: the application's stub asks again too
NEXT_UPSTREAM_S: Final = 0.5  # before another upstream is asked too: recursion takes its time
AUTHORITY_ALONE_S: Final = 0.3  # then the network's resolver too: many networks block port 53
AAAA_DELAY_S: Final = 0.05  # RFC 8305 section 3, "Resolution Delay"


class ResolveSigned(Protocol):
    """Ask a question; `signed`: with the signatures of the answer."""

    async def __call__(
        self, asked: str, rdtype: RdataType, /, *, signed: bool = False
    ) -> dns.message.Message: ...


class Lookup:
    """Asks DNS for the daemon. Methods raise LookupFailedError unless they say otherwise.

    upstreams  the network's resolvers, asked for each time: they change with the network;
               may raise HostError
    own        where we answer ourselves; never asked, or a question would go round for ever
    dnssec     whether capability records that trust hangs on are validated; "allow-downgrade":
               not in a network whose resolvers know nothing of it
    anchors    trusted besides, or instead of, the root's
    now        seconds since 1970
    told_time  told between which times, seconds since 1970, it must be by what was signed
    """

    def __init__(
        self,
        upstreams: Callable[[], Sequence[Locator]],
        *,
        own: Locator | None = None,
        authority_port: int = 53,
        dnssec: Literal["allow-downgrade", "yes", "no"] = "allow-downgrade",
        anchors: Anchors | None = None,
        now: Callable[[], float] = time.time,
        told_time: Callable[[float, float], object] = lambda _earliest_s, _latest_s: None,
    ) -> None:
        self._upstreams, self._now, self._told_time = upstreams, now, told_time
        self._own = own
        self._last_good: Locator | None = None
        self._case_folders: set[Locator] = set()
        self._authority = Authority(self._resolve, own, authority_port)
        self._lookups: SharedCalls[LookupResult] = SharedCalls()
        self._validator: Validator | None = None
        self._proving: Counter[Fqdn] = Counter()
        self.validate(dnssec, anchors or {})

    def validate(self, dnssec: Literal["allow-downgrade", "yes", "no"], anchors: Anchors) -> None:
        """Validate so from now on; what was found valid before has to be found so again."""
        self._validator = None
        if dnssec != "no":
            self._validator = Validator(
                partial(self._resolve, signed=True),
                lambda: frozenset(self._usable()),
                anchors=anchors,
                strict=dnssec == "yes",
                now=self._now,
                told=self._told_time,
            )

    @property
    def answered_by(self) -> Locator | None:
        """Which of the network's resolvers answered last; None before any has."""
        return self._last_good

    async def exchange(self, wire: bytes, *, tcp: bool) -> bytes:
        """Pass an application's question on as it is; return the answer as it came but for the id."""
        query = with_id(wire, os.urandom(2))
        try:
            with trio.fail_after(PASS_ON_TIMEOUT_S):
                reply = await self._ask_upstreams(query, tcp=tcp, retry_s=PASS_ON_RETRY_S)
        except trio.TooSlowError:
            raise self._no_answer() from None
        except LookupFailedError as error:
            refused = error if isinstance(error, RefusedError) else error.__cause__
            if not isinstance(refused, RefusedError):
                raise
            reply = refused.reply
        return with_id(reply, wire[:2])

    async def ask(
        self,
        query: bytes,
        server: Locator,
        *,
        tcp: bool = False,
        accept: Accept | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> bytes:
        """Ask one server and return the first answer that ACCEPT takes; others are ignored as forged."""
        with trio.move_on_after(timeout_s):
            return await (ask_tcp if tcp else ask_udp)(query, server, accept or partial(answers, query))
        raise LookupFailedError(f"{server} does not answer over {'TCP' if tcp else 'UDP'}")

    def insists_on(self, name: Fqdn) -> bool:
        """Whether the user wants that nothing is believed of NAME but what is proved."""
        return self._validator is not None and self._validator.insists_on(dns.name.from_text(name))

    def is_proving(self, name: Fqdn) -> bool:
        """Whether DNS has answered about NAME's capability record, and only the proof of that is awaited."""
        return name in self._proving

    async def capability(self, name: Fqdn, *, verify: bool = False, prove: bool = False) -> Capability:
        """Ask the network's resolvers whether NAME speaks vipnet.

        verify  validate the record; raise BogusError
        prove   and also that there is none: a few questions more for a name without vipnet. Where the
                user insists, that is always done
        """
        with trio.move_on_after(TIMEOUT_S):
            return await self._capability(self._resolve, name, verify=verify, prove=prove)
        raise self._no_answer()

    async def addresses(self, name: Fqdn) -> tuple[str, ...]:
        """Ask the network's resolvers for NAME's addresses, A before AAAA; none is an answer too."""
        with trio.move_on_after(TIMEOUT_S):
            return await _addresses(self._resolve, name)
        raise self._no_answer()

    async def lookup(self, name: Fqdn, *, authoritative: bool, verify: bool = False) -> LookupResult:
        """Ask for NAME's addresses and capability record at once; never raises for network trouble.

        authoritative  ask the zone's own servers: a resolver's cache would lie. The network's
                       resolvers are asked too when those have not answered after 300 ms,
                       and a slow answer is awaited for longer.
        verify         validate the capability record, or that there is none: what is bogus is no
                       answer, and `bogus` says why

        `failed` says that the addresses or the capability record are unknown; what did become
        known is in the result all the same. While one look-up is under way, others
        of the same kind share its result: one question outstanding per server.
        """
        ask = partial(self._lookup, name, authoritative, verify)
        return await self._lookups.share((name, authoritative, verify), ask)

    async def lookup_at(self, name: Fqdn, server: Locator) -> LookupResult:
        """As `lookup`, of one of the zone's own servers alone."""

        async def resolve(asked: str, rdtype: RdataType, *, signed: bool = False) -> dns.message.Message:
            return await self._authority.ask_server(server, asked, rdtype, signed=signed)

        return await self._gather(name, resolve, TIMEOUT_S)

    async def prepare(self) -> None:
        """After a change of network: what a validation would have to find out first."""
        if self._validator is not None:
            await self._validator.prepare()

    async def servers(self, name: Fqdn) -> tuple[Locator, ...]:
        """Return the authoritative servers of NAME's zone, the primary first.

        Cached; expired ones are returned when no new ones can be found. Whoever calls this
        for a partner in good time makes the fall-back after a move a single question.
        """
        return await self._authority.servers(name, timeout_s=TIMEOUT_S)

    def remember(self, name: Fqdn, servers: Sequence[Locator]) -> None:
        """Start with SERVERS for NAME, as found in an earlier run."""
        self._authority.remember(name, servers)

    def forget_zones(self) -> None:
        """What was found of zones and their servers is not to be believed."""
        self._authority.forget()

    async def primary(
        self, name: Fqdn, *, server: str | None = None, port: int = 53, zone: str | None = None
    ) -> Primary:
        """Return where updates of NAME go: what is given, the rest by the SOA record (RFC 2136 section 4)."""
        with trio.move_on_after(TIMEOUT_S):
            return await self._authority.primary(name, server, port, zone)
        raise self._no_answer()

    async def _lookup(self, name: Fqdn, authoritative: bool, verify: bool) -> LookupResult:
        async def resolve(asked: str, rdtype: RdataType, *, signed: bool = False) -> dns.message.Message:
            if not authoritative:
                return await self._resolve(asked, rdtype, signed=signed)
            at_zone = partial(self._authority.ask, name, asked, rdtype, signed=signed)
            at_resolver = partial(self._resolve, asked, rdtype, signed=signed)
            return await first([at_zone, at_resolver], AUTHORITY_ALONE_S)

        timeout_s = PARTNER_TIMEOUT_S if authoritative else TIMEOUT_S
        return await self._gather(name, resolve, timeout_s, verify=verify)

    async def _gather(
        self, name: Fqdn, resolve: ResolveSigned, timeout_s: float, *, verify: bool = False
    ) -> LookupResult:
        """Ask RESOLVE for all that is to be known of NAME, at once."""
        addresses: tuple[str, ...] | None = None
        capability: Capability | None = None
        bogus: str | None = None

        async def ask_addresses() -> None:
            nonlocal addresses
            with suppress(LookupFailedError):
                addresses = await _addresses(resolve, name)
            if addresses is not None:  # worth telling soon, whatever becomes of the record
                scope.deadline = min(scope.deadline, trio.current_time() + TIMEOUT_S)

        async def ask_capability() -> None:
            nonlocal capability, bogus
            try:
                capability = await self._capability(resolve, name, verify=verify, prove=verify)
            except BogusError as error:
                bogus = str(error)
            except LookupFailedError:
                pass

        with trio.move_on_after(timeout_s) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask_addresses)
                nursery.start_soon(ask_capability)
        return result_of(name, addresses, capability, bogus)

    async def _capability(
        self, resolve: ResolveSigned, name: Fqdn, *, verify: bool, prove: bool
    ) -> Capability:
        """Raise BogusError when VERIFY is set and the answer is not what its zone has signed."""
        validator = self._validator if verify else None
        answer = await resolve(capability_name(name), TXT, signed=validator is not None)
        capability = capability_from(answer)
        if validator is None or (capability.record is None and not (prove or self.insists_on(name))):
            return capability
        self._proving[name] += 1
        try:
            return structs.replace(capability, secure=await validator.is_secure(answer))
        finally:
            self._proving -= Counter([name])

    async def _resolve(self, name: str, rdtype: RdataType, *, signed: bool = False) -> dns.message.Message:
        """Ask the network's resolvers a question of our own."""
        query = make_question(name, rdtype, recursion=True, signed=signed)
        reply = await self._ask_upstreams(query, tcp=False, retry_s=RETRY_S)
        if is_truncated(reply):
            reply = await self._ask_upstreams(query, tcp=True, retry_s=RETRY_S)
        return parse_reply(reply, self._last_good or self._usable()[0])

    async def _ask_upstreams(self, query: bytes, *, tcp: bool, retry_s: float) -> bytes:
        async def ask(server: Locator) -> bytes:
            reply = await self._ask_upstream(query, server, tcp=tcp, retry_s=retry_s)
            if reply[3] & 0xF in (dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NOTIMP):
                raise RefusedError(server, reply)
            self._last_good = server
            return reply

        while True:
            upstreams = self._usable()
            if not upstreams:
                raise LookupFailedError("no name server is known: set [dns] upstreams")
            try:
                return await first([partial(ask, server) for server in upstreams], NEXT_UPSTREAM_S)
            except LookupFailedError:
                if set(self._usable()) == set(upstreams):
                    raise
                # The host has moved, and the old network's resolvers were asked no further.

    async def _ask_upstream(self, query: bytes, server: Locator, *, tcp: bool, retry_s: float) -> bytes:
        """Return SERVER's answer, in the case of QUERY whatever case went out."""
        if tcp:
            return await ask_tcp(query, server, partial(answers, query))
        sent = query if server in self._case_folders else mixed(query, os.urandom)
        accept = partial(answers, sent)
        ask = partial(ask_udp, server=server, retry_s=retry_s, wanted=lambda: server in self._usable())
        reply = await ask(sent, accept=accept)
        if sent is not query and not same_case(sent, reply):
            # Forged, or from a server that does not repeat names as they were asked: TCP tells.
            reply = await ask_tcp(sent, server, accept)
            if not same_case(sent, reply):
                self._case_folders.add(server)
        if sent is not query and is_truncated(reply):
            # Compression looks at the case too: with the application's own it may just fit.
            return await ask(query, accept=partial(answers, query))
        return restored(reply, query, sent)

    def _usable(self) -> list[Locator]:
        """The upstreams but ourselves, the one that answered last first."""
        try:
            usable = [server for server in self._upstreams() if server != self._own]
        except HostError as error:
            raise LookupFailedError(str(error)) from None
        return sorted(usable, key=lambda server: server != self._last_good)

    def _no_answer(self) -> LookupFailedError:
        servers = ", ".join(str(server) for server in self._usable()) or "any name server"
        return LookupFailedError(f"no answer from {servers}")


def result_of(
    name: Fqdn,
    addresses: tuple[str, ...] | None,
    capability: Capability | None,
    bogus: str | None = None,
) -> LookupResult:
    """What is known of NAME; None: that question was not answered, or by something BOGUS."""
    record = capability.record if capability else None
    return LookupResult(
        name,
        addresses or (),
        key=record.key if record else None,
        port=record.port if record else None,
        failed=addresses is None or capability is None,
        secure=capability is not None and capability.secure,
        bogus=bogus,
    )


async def _addresses(resolve: Resolve, name: Fqdn) -> tuple[str, ...]:
    """A and AAAA at once; AAAA gets little longer than A. Raise LookupFailedError when neither is known."""
    found: dict[RdataType, tuple[str, ...]] = {}
    errors: list[LookupFailedError] = []

    async def ask(rdtype: RdataType) -> None:
        try:
            found[rdtype] = addresses_in(await resolve(name, rdtype))
        except LookupFailedError as error:
            errors.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, AAAA)
        await ask(A)
        if found.get(A):
            nursery.cancel_scope.deadline = trio.current_time() + AAAA_DELAY_S
    addresses = tuple(dict.fromkeys(found.get(A, ()) + found.get(AAAA, ())))
    if errors and not addresses:
        raise errors[0]
    return addresses
