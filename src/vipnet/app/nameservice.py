"""What applications are told when they ask for a name.

Questions for a host's address and for a token's name are answered here when they
concern a VIP name; all others are passed on as they came. A name that DNS calls a VIP
name, one that we know as such, and one the user requires to be one is never answered
with its real address: that would lose mobility and secrecy without a word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import dns.exception
import dns.message
import trio
from dns.edns import EDECode
from dns.rcode import NOERROR, NXDOMAIN
from dns.rdatatype import A

from vipnet.app.config import Dns
from vipnet.app.namekinds import UNVERIFIED_TTL_S, NameKinds
from vipnet.core.outputs import LookupResult
from vipnet.errors import BogusError, LookupFailedError, UnreachableError, WireError
from vipnet.names.answer import (
    Alias,
    addresses_in,
    aliases_in,
    bare_failure,
    failure,
    host_asked_for,
    no_data,
    no_such_name,
    parse_query,
    pointer_answer,
    token_answer,
    token_asked_for,
)
from vipnet.names.message import has_aliases, is_query, parse_question, rcode, with_ttl_at_most
from vipnet.policy import Policy
from vipnet.system.lookup import Capability, Lookup, has_route, result_of
from vipnet.types import Fqdn, Locator, Token, parse_name

CAPABILITY_GRACE_S: Final = 0.5  # for the TXT answer, after the address answer has come
PROOF_GRACE_S: Final = 2.5  # then, for the proof of a TXT answer that is there
# Browsers ask for it before they take their look-ups elsewhere by HTTPS, where no VIP name would
# be found; NXDOMAIN keeps them here (support.mozilla.org/kb/canary-domain-use-application-dnsnet).
CANARY: Final = "use-application-dns.net"
ADDRESS_GRACE_S: Final = 0.05  # for the address answer, after the record: they left together
FAILURE_GRACE_S: Final = 0.05  # the same after an error: no address can slip out, and TXT fails alike


class NameService:
    """Answers applications' questions.

    own_name, own_token  this host
    known       the token of a name with a binding, None without
    stored      True for a peer in the store: never answered as legacy
    name_of     the name that a token stands for
    bind        makes a binding (handshake and negotiation), or raises UnreachableError
    dns         the user's patterns
    timeout_s   how long an application waits for a binding
    hooked      True while the system asks us by our doing
    captive     True while the network answers everything with its own address
    has_route   whether this host has a way to a locator now
    expect      told of a known name that was asked for: packets are about to follow
    """

    def __init__(
        self,
        *,
        own_name: Fqdn,
        own_token: Callable[[], Token],
        lookup: Lookup,
        known: Callable[[Fqdn], Token | None],
        stored: Callable[[Fqdn], bool],
        name_of: Callable[[Token], Fqdn | None],
        bind: Callable[[LookupResult], Awaitable[Token]],
        dns: Dns,
        timeout_s: float = Policy().resolve_timeout_s,
        hooked: Callable[[], bool] = lambda: False,
        expect: Callable[[Fqdn], None] = lambda _name: None,
        captive: Callable[[], bool] = lambda: False,
        has_route: Callable[[Locator], bool] = has_route,
    ) -> None:
        self._hooked, self._captive, self._has_route = hooked, captive, has_route
        self.counters: Counter[str] = Counter()
        self.answers = {"token": 0, "passed_on": 0, "failed": 0}
        self._own_name, self._own_token, self._lookup = own_name, own_token, lookup
        self._name_of = name_of
        self.kinds = NameKinds(
            own_name=own_name,
            own_token=own_token,
            lookup=lookup,
            known=known,
            stored=stored,
            bind=bind,
            dns=dns,
            timeout_s=timeout_s,
            expect=expect,
        )

    async def answer(self, wire: bytes, tcp: bool) -> bytes:
        """Return the answer to WIRE, no bytes for what is no query; whatever WIRE is, never raise."""
        if not is_query(wire):
            return b""
        try:
            question = parse_question(wire)
        except WireError:
            return await self._pass_on(wire, tcp)
        if question.name == CANARY and self._hooked():
            return _built(wire, no_such_name)
        token = token_asked_for(question)
        name = self._name_behind(token) if token is not None else None
        if name is not None:
            return _built(wire, lambda query: pointer_answer(query, name))
        host = host_asked_for(question)
        if host is None:
            return await self._pass_on(wire, tcp)
        if self.kinds.certainly_vip(host):
            return await self._answer_vip(wire, host)
        try:
            return await self._answer_unknown(wire, tcp, host)
        except BogusError as error:
            self.counters["dns_bogus"] += 1
            self.answers["failed"] += 1
            why = str(error)
        return _built(wire, lambda query: failure(query, EDECode.DNSSEC_BOGUS, why))

    async def _answer_unknown(self, wire: bytes, tcp: bool, host: Fqdn) -> bytes:
        """Ask what the application asks and for the capability record at once; the latter decides."""
        capability, reply = await self._ask_both(host, lambda: self._pass_on(wire, tcp))
        if capability is not None:
            return await self._answer_vip(wire, host, found=self._found(host, capability, reply))
        unverified = self.kinds.unverified(host)
        aliases = aliases_in(reply) if has_aliases(reply) else ()
        for number, alias in enumerate(aliases, 1):
            target = _host(alias.target)
            if target is None:
                continue
            vip = self.kinds.certainly_vip(target)
            # What is in between, in big networks' chains mostly, is not worth a question.
            if number == len(aliases) and not vip:
                vip = (await self._ask_both(target, None))[0] is not None
            if vip:
                return await self._answer_vip(wire, target, aliases[:number])
            unverified = unverified or self.kinds.unverified(target)
        return self._short_lived(reply) if unverified or self._captive() else reply

    async def _ask_both(
        self, name: Fqdn, ask: Callable[[], Awaitable[bytes]] | None
    ) -> tuple[Capability | None, bytes]:
        """Return the capability of a VIP name (else None), and what ASK returns; both are asked at once.

        The capability record gets half a second longer than ASK; then the name is legacy, or, where
        the user wants proof, nothing. What has come by then gets the time that its proof takes, and
        is never taken for none. If it is there first, ASK gets as long as its answer may spare another
        question. Raise BogusError.
        """
        if self.kinds.known_legacy(name):
            return None, b"" if ask is None else await ask()
        capability, reply, bogus, proving = None, b"", None, False
        patience, waiting = trio.CancelScope(), trio.CancelScope()

        async def ask_application() -> None:
            nonlocal reply, proving
            if ask is not None:
                reply = await ask()
            grace_s = FAILURE_GRACE_S if ask is not None and _is_error(reply) else CAPABILITY_GRACE_S
            with waiting:
                await trio.sleep(grace_s)
                proving = self._lookup.is_proving(name)
                await trio.sleep(PROOF_GRACE_S if proving else 0)
                patience.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_application)
            with patience:
                try:
                    capability = await self.kinds.capability(name)
                except BogusError as error:
                    bogus = error
                    nursery.cancel_scope.cancel()
            waiting.cancel()
            if patience.cancelled_caught and not (ask is not None and _is_error(reply)):
                if proving or self.kinds.insists_on(name):
                    what = "prove what it says of" if proving else "say whether it has"
                    bogus = BogusError(f"{name}: DNS does not {what} a _vip record in time")
                else:
                    self.kinds.give_up(name)
            if capability is not None:
                nursery.cancel_scope.deadline = trio.current_time() + ADDRESS_GRACE_S
        if bogus is not None:
            raise bogus
        return capability, reply

    def _found(self, name: Fqdn, capability: Capability, reply: bytes) -> LookupResult | None:
        """What is known of a VIP name by the answer to the application; None: it has to be looked up.

        Our own look-up, for AAAA as well, would cost another round trip to the resolver; the
        peer says in the handshake where else it is.
        """
        if not reply or _is_error(reply):
            return None
        try:
            addresses = addresses_in(dns.message.from_wire(reply, ignore_trailing=True))
        except (dns.exception.DNSException, ValueError):
            return None
        record = capability.record
        usable = tuple(one for one in addresses if record and self._has_route(Locator(one, record.port)))
        return result_of(name, usable, capability) if usable else None

    async def _answer_vip(
        self, wire: bytes, name: Fqdn, aliases: tuple[Alias, ...] = (), *, found: LookupResult | None = None
    ) -> bytes:
        """The token for an A question; for AAAA and the like no data, or clients would try real addresses."""
        try:
            query = parse_query(wire)
        except WireError:
            return bare_failure(wire)
        if query.question[0].rdtype != A:
            return no_data(query, aliases)
        try:
            answer = token_answer(query, await self.kinds.token(name, found), aliases)
        except UnreachableError as error:
            self.counters["dns_unreachable"] += 1
            self.answers["failed"] += 1
            return failure(query, EDECode.NETWORK_ERROR, str(error))
        self.answers["token"] += 1
        return answer

    async def _pass_on(self, wire: bytes, tcp: bool) -> bytes:
        try:
            reply = await self._lookup.exchange(wire, tcp=tcp)
        except LookupFailedError as error:
            self.counters["dns_upstream_failed"] += 1
            self.answers["failed"] += 1
            why = str(error)
            return _built(wire, lambda query: failure(query, EDECode.NETWORK_ERROR, why))
        self.answers["passed_on"] += 1
        return reply

    def _short_lived(self, reply: bytes) -> bytes:
        """A legacy answer given without knowing: asked again soon."""
        self.counters["dns_unverified"] += 1
        try:
            return with_ttl_at_most(reply, UNVERIFIED_TTL_S)
        except WireError:
            return reply

    def _name_behind(self, token: Token) -> Fqdn | None:
        return self._own_name if token == self._own_token() else self._name_of(token)


def _built(wire: bytes, build: Callable[[dns.message.Message], bytes]) -> bytes:
    """An answer of our own; SERVFAIL to a query with more wrong than its question."""
    try:
        return build(parse_query(wire))
    except WireError:
        return bare_failure(wire)


def _is_error(reply: bytes) -> bool:
    return rcode(reply) not in (NOERROR, NXDOMAIN)


def _host(text: str) -> Fqdn | None:
    try:
        return parse_name(text)
    except ValueError:
        return None
