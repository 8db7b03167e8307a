"""`vipnet resolve` and `ping`: the steps from a name to an address, each with its time and verdict."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from ipaddress import AddressValueError, IPv4Address
from typing import Any, Final, Literal

import trio
from msgspec import Struct, to_builtins

from vipnet.app.explaining import explain
from vipnet.app.namekinds import NameKinds
from vipnet.core.outputs import LookupResult, TrustLevel
from vipnet.errors import BogusError, ConfigError, LookupFailedError, UnreachableError
from vipnet.system.lookup import Capability, Lookup, result_of
from vipnet.types import Fqdn, Locator, PublicKey, Token, parse_name

REACH_S: Final = 2.0  # for the peer's daemon to answer; four tries


class Contact(Struct, frozen=True):
    """What the daemon knows of a peer at this moment.

    session_at  when the keys in use were agreed, on trio's clock; None: there are none
    mtu         largest packet that is known to get there whole, bytes; None: nothing is known
    """

    trust: TrustLevel
    key: PublicKey
    locator: Locator | None
    session_at: float | None
    mtu: int | None = None


class Step(Struct):
    """One step: `ms` is how long it took, `detail` what came of it, for people."""

    id: str
    ms: float = 0.0
    ok: bool = True
    detail: str = ""


class Trace(Struct):
    """The steps for a name so far, and what came of them."""

    name: Fqdn
    kind: Literal["vip", "legacy", "failed"] = "failed"
    address: str | None = None
    steps: list[Step] = []
    locator: Locator | None = None
    rtt_s: float | None = None
    problem: str | None = None
    signed: bool | None = None  # whether what DNS says of the capability record is; None: it need not be

    def add(self, step_id: str, detail: str = "", *, ok: bool = True) -> Step:
        """A step in its place in the order; `timing` says how long it takes."""
        step = Step(step_id, detail=detail, ok=ok)
        self.steps.append(step)
        return step

    def json(self) -> dict[str, Any]:
        """The `resolve` JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "address": self.address,
            "locator": None if self.locator is None else str(self.locator),
            "problem": self.problem,
            "steps": to_builtins(self.steps),
        }


@contextmanager
def timing(step: Step) -> Iterator[None]:
    """Time the body; a failed look-up or a peer out of reach ends it, and the step is not ok."""
    started = time.monotonic()
    try:
        yield
    except (LookupFailedError, UnreachableError) as error:
        step.ok, step.detail = False, str(error)
    finally:
        step.ms = _ms(time.monotonic() - started)


class Resolving:
    """Goes the way that an application's question goes, and looks at each step.

    own_name, own_token  this host
    kinds     decides what a name is and gets its token
    known     the token of a name with a binding, None without
    name_of   the name that a token stands for
    contact   what is known of a peer, None for a stranger
    reach     asks a peer's daemon whether it is there: the round trip in seconds, None in vain
    """

    def __init__(
        self,
        *,
        own_name: Fqdn,
        own_token: Callable[[], Token],
        lookup: Lookup,
        kinds: NameKinds,
        known: Callable[[Fqdn], Token | None],
        name_of: Callable[[Token], Fqdn | None],
        contact: Callable[[Fqdn], Contact | None],
        reach: Callable[[Fqdn, float], Awaitable[float | None]],
    ) -> None:
        self._own_name, self._own_token, self._lookup = own_name, own_token, lookup
        self._kinds, self._known, self._name_of = kinds, known, name_of
        self._contact, self._reach = contact, reach

    async def trace(self, text: str) -> Trace:
        """Return what an application gets for TEXT, a name or a token, and how.

        Raise ConfigError when TEXT is neither.
        """
        name = self._parse(text)
        trace = Trace(name)
        if name == self._own_name:
            trace.add("trust", "this host's own name")
            self._show(trace, self._own_token())
            return trace
        found = await _ask_dns(trace, self._lookup, name)
        trace.signed = True if found.secure else False if found.bogus is not None else None
        by_dns = found.key is not None and self._kinds.possibly_vip(name)
        if not by_dns and not self._kinds.certainly_vip(name):
            if found.addresses and found.bogus is None:
                trace.kind, trace.address = "legacy", found.addresses[0]
        else:
            self._judge(trace, found)
            await (self._meet(trace, found) if self._known(name) is None else self._visit(trace))
        self._conclude(trace)
        return trace

    def _judge(self, trace: Trace, found: LookupResult) -> None:
        """Whose key counts, and whether DNS agrees."""
        contact = self._contact(trace.name)
        if contact is None:
            level = "dnssec" if found.secure else "dns"
            trace.add("trust", f"new peer: the key in DNS counts ({level})" if found.key else "no key known")
            return
        key = b64encode(contact.key).decode()
        trace.add("trust", f"{contact.trust}: key {key} is stored")
        if found.key is not None and found.key != contact.key:
            trace.steps[-1].ok = False
            trace.steps[-1].detail += ", DNS has another"
        withdrawn = found.key is None and not found.failed and contact.trust in ("dns", "dnssec")
        if withdrawn:
            vip_step = next(step for step in trace.steps if step.id == "dns_vip")
            vip_step.ok, vip_step.detail = False, "no capability record, though the peer is known by it"

    async def _meet(self, trace: Trace, found: LookupResult) -> None:
        """A name without a binding: handshake and negotiation, as for an application."""
        handshake = trace.add("handshake")
        started = trio.current_time()
        token: Token | None = None
        with timing(handshake):
            token = await self._kinds.token(trace.name, found)
        ended = trio.current_time()
        contact = self._contact(trace.name)
        agreed_at = contact.session_at if contact is not None else None
        if agreed_at is not None:
            # Tokens travel with the handshake; what is left after it is the negotiation.
            failure, handshake.ok = handshake.detail, True
            handshake.ms, handshake.detail = _ms(max(agreed_at - started, 0.0)), "keys agreed"
            negotiation = trace.add("negotiation", failure or "tokens agreed", ok=token is not None)
            negotiation.ms = _ms(ended - max(agreed_at, started))
        if token is not None:
            self._show(trace, token)
            await self._see_path(trace)

    async def _visit(self, trace: Trace) -> None:
        """A name with a binding: applications get its token whether the peer is there or not."""
        handshake = trace.add("handshake")
        trace.add("negotiation", "not needed: there is a binding")
        token = self._known(trace.name)
        if token is None:
            return
        self._show(trace, token)
        before, started = self._contact(trace.name), trio.current_time()
        await self._see_path(trace)
        contact = self._contact(trace.name)
        agreed_at = contact.session_at if contact is not None else None
        if agreed_at is None:
            handshake.ok, handshake.detail = False, "no answer"
            handshake.ms = trace.steps.pop().ms  # there is no path to judge without keys
        elif before is not None and before.session_at is not None:
            handshake.detail = f"not needed: keys agreed {started - before.session_at:.0f} s ago"
        else:
            handshake.ms, handshake.detail = _ms(max(agreed_at - started, 0.0)), "keys agreed"

    async def _see_path(self, trace: Trace) -> None:
        path = trace.add("path")
        with timing(path):
            trace.rtt_s = await self._reach(trace.name, REACH_S)
        contact = self._contact(trace.name)
        where = contact.locator if contact is not None else None
        trace.locator = where
        if trace.rtt_s is None:
            path.ok, path.detail = False, f"no answer from {where or 'anywhere'} in {REACH_S:g} s"
            return
        mtu = "" if contact is None or contact.mtu is None else f", MTU {contact.mtu}"
        path.detail = f"{where} answers, round trip {trace.rtt_s * 1000:.1f} ms{mtu}"

    def _show(self, trace: Trace, token: Token) -> None:
        trace.kind, trace.address = "vip", str(token)
        trace.add("token", f"{token} stands for {trace.name}")

    def _conclude(self, trace: Trace) -> None:
        """Explain the first step that failed."""
        failed = next((step for step in trace.steps if not step.ok), None)
        if failed is None and trace.kind == "failed":
            failed = trace.steps[0]
        if failed is not None:
            stranger = self._contact(trace.name) is None
            trace.problem = explain(
                failed.id, trace.name, failed.detail, trace.kind, stranger=stranger, signed=trace.signed
            )

    def _parse(self, text: str) -> Fqdn:
        try:
            token = Token(IPv4Address(text))
        except AddressValueError:
            try:
                return parse_name(text)
            except ValueError as error:
                raise ConfigError(f"{error}") from None
        name = self._own_name if token == self._own_token() else self._name_of(token)
        if name is None:
            raise ConfigError(f"{token} stands for no name here; `vipnet peers` lists tokens and names")
        return name


async def _ask_dns(trace: Trace, lookup: Lookup, name: Fqdn) -> LookupResult:
    """Ask for NAME's addresses and capability record at once, and time both."""
    addresses: tuple[str, ...] | None = None
    capability: Capability | None = None
    bogus: str | None = None
    a_step, vip_step = trace.add("dns_a"), trace.add("dns_vip")

    async def ask_addresses() -> None:
        nonlocal addresses
        with timing(a_step):
            addresses = await lookup.addresses(name)
            a_step.detail = _said(", ".join(addresses) or "no address", lookup)

    async def ask_capability() -> None:
        nonlocal capability, bogus
        with timing(vip_step):
            try:
                capability = await lookup.capability(name, verify=True, prove=True)
            except BogusError as error:
                bogus = str(error)
                raise
            validated = ", validated by DNSSEC" if capability.secure else ""
            vip_step.detail = _said(f"{capability.record or 'no capability record'}{validated}", lookup)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_addresses)
        nursery.start_soon(ask_capability)
    return result_of(name, addresses, capability, bogus)


def _said(what: str, lookup: Lookup) -> str:
    return what if lookup.answered_by is None else f"{what} (by {lookup.answered_by})"


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
