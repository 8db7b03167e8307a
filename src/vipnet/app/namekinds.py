"""Which names are VIP names, and how one gets its token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import trio

from vipnet.app.config import Dns
from vipnet.app.texts import name_matches
from vipnet.core.outputs import LookupResult
from vipnet.errors import BogusError, LookupFailedError, UnreachableError
from vipnet.system.lookup import Capability, Lookup, SharedCalls
from vipnet.types import Fqdn, Token

CAPABILITY_RETRY_S: Final = 0.1  # when the servers refuse to say
UNVERIFIED_TTL_S: Final = 5  # how long a name is taken for legacy because DNS would not say
LEGACY_TTL_S: Final = (1.0, 3600.0)  # DNS said so: believed at least and at most so long
CACHE_MAX: Final = 4096  # names that count as legacy


class NameKinds:
    """Decides by what we know, else by what DNS says; see NameService for the arguments."""

    def __init__(
        self,
        *,
        own_name: Fqdn,
        own_token: Callable[[], Token],
        lookup: Lookup,
        known: Callable[[Fqdn], Token | None],
        stored: Callable[[Fqdn], bool],
        bind: Callable[[LookupResult], Awaitable[Token]],
        dns: Dns,
        timeout_s: float,
        expect: Callable[[Fqdn], None],
    ) -> None:
        self._own_name, self._own_token, self._lookup = own_name, own_token, lookup
        self._known, self._stored, self._bind, self._expect = known, stored, bind, expect
        self._dns, self._timeout_s = dns, timeout_s
        self._capabilities: SharedCalls[Capability] = SharedCalls()
        self._bindings: SharedCalls[Token] = SharedCalls()
        # Names that count as legacy until then (trio's clock), and whether DNS has said so.
        self._legacy: dict[Fqdn, tuple[float, bool]] = {}

    def use(self, dns: Dns) -> None:
        """The user's patterns are others from now on."""
        self._dns = dns
        self.forget_legacy()

    def certainly_vip(self, name: Fqdn) -> bool:
        """True when no answer from DNS can make NAME a legacy name (no downgrade)."""
        if name == self._own_name:
            return True
        if name_matches(name, self._dns.bypass):
            return False
        required = name_matches(name, self._dns.require)
        return required or self._stored(name) or self._known(name) is not None

    def possibly_vip(self, name: Fqdn) -> bool:
        """True when DNS is worth asking."""
        return name_matches(name, self._dns.vip_names) and not name_matches(name, self._dns.bypass)

    def unverified(self, name: Fqdn) -> bool:
        """True while NAME is taken for legacy only because DNS would not say."""
        until, verified = self._legacy.get(name, (0.0, True))
        return not verified and trio.current_time() < until

    def known_legacy(self, name: Fqdn) -> bool:
        """True when there is nothing to ask DNS: it has said so not long ago, or the user does."""
        until, _ = self._legacy.get(name, (0.0, True))
        return trio.current_time() < until or not self.possibly_vip(name)

    def insists_on(self, name: Fqdn) -> bool:
        """True when NAME is a legacy name only if its zone has signed that."""
        return self.possibly_vip(name) and self._lookup.insists_on(name)

    def forget_legacy(self) -> None:
        """What another network's DNS has said need not be so here."""
        self._legacy.clear()

    async def capability(self, name: Fqdn) -> Capability | None:
        """What makes NAME a VIP name by DNS, None: it is none.

        DNS is asked again and again while it does not say; the caller's patience ends that.
        Raise BogusError for a record that is not what its zone has signed.
        """
        if self.known_legacy(name):
            return None
        capability = await self._capabilities.share(name, partial(self._ask_capability, name))
        if capability.record is not None:
            return capability
        least, most = LEGACY_TTL_S
        self._remember_legacy(name, min(max(capability.ttl_s, least), most), verified=True)
        return None

    def give_up(self, name: Fqdn) -> None:
        """DNS would not say in time: legacy, for a moment."""
        self._remember_legacy(name, UNVERIFIED_TTL_S, verified=False)

    async def token(self, name: Fqdn, found: LookupResult | None = None) -> Token:
        """Return the token of a VIP name, by a new binding if need be. Raise UnreachableError.

        A known one is there at once, while the mapping behind it is seen to. Everybody who asks
        while a binding is being made gets that one.

        found  what DNS says, if that has been asked already
        """
        if name == self._own_name:
            return self._own_token()
        token = self._known(name)
        if token is not None:
            self._expect(name)
            return token
        began = False

        async def contact() -> Token:
            nonlocal began
            began = True
            return await self._contact(name, found)

        patience = trio.CancelScope(deadline=trio.current_time() + self._timeout_s)
        try:
            return await self._bindings.share(name, contact)
        except UnreachableError:
            if began:
                raise
            # That attempt was older than this question, whose time is not over.
            with patience:
                return await self._bindings.share(name, contact)
            raise

    async def _ask_capability(self, name: Fqdn) -> Capability:
        while True:
            try:
                return await self._lookup.capability(name, verify=True)
            except BogusError:
                raise
            except LookupFailedError:
                await trio.sleep(CAPABILITY_RETRY_S)

    def _remember_legacy(self, name: Fqdn, ttl_s: float, *, verified: bool) -> None:
        self._legacy.pop(name, None)
        while len(self._legacy) >= CACHE_MAX:
            del self._legacy[next(iter(self._legacy))]
        self._legacy[name] = (trio.current_time() + ttl_s, verified)

    async def _contact(self, name: Fqdn, found: LookupResult | None) -> Token:
        with trio.move_on_after(self._timeout_s):
            return await self._bind(self._usable(found or await self._find(name)))
        raise UnreachableError(
            f"{name} has not answered within {self._timeout_s:g} s; "
            f"for its real address: [dns] bypass, or `vipnet trust remove {name}`"
        )

    async def _find(self, name: Fqdn) -> LookupResult:
        # A stored peer may well be where it was: do not let dead DNS use up all the time.
        with trio.move_on_after(self._timeout_s / 3 if self._stored(name) else self._timeout_s):
            return await self._lookup.lookup(name, authoritative=False, verify=True)
        return LookupResult(name, failed=True)

    def _usable(self, found: LookupResult) -> LookupResult:
        """Raise UnreachableError when there is nothing to make a binding from."""
        if found.key is not None or self._stored(found.name):
            return found
        if found.bogus is not None:
            raise UnreachableError(f"DNS is not to be believed: {found.bogus}")
        if found.failed:
            raise UnreachableError(f"DNS does not say how to reach {found.name}; does a name server answer?")
        raise UnreachableError(
            f"{found.name} has no _vip record, and [dns] require forbids its real address; "
            "change require, or add the name to [dns] bypass"
        )
