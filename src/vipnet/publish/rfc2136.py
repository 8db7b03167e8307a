"""Dynamic update (RFC 2136) signed with TSIG (RFC 8945): BIND, Knot, PowerDNS and others.

One message replaces the addresses and the marker `_seq._vip.NAME TXT "seq=<n>"`, on
condition that the marker still is what we wrote last. So an update that somebody
recorded and sends again later is refused, the same bytes may be retransmitted at
will, and an update costs one round trip: the marker has to be read only at the first
start and after a collision.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from typing import Final

import dns.message
import dns.name
import dns.rcode
import dns.tsig
import dns.update
import trio
from dns.rdatatype import AAAA, CNAME, TXT, A, RdataType
from msgspec import Struct

from vipnet.errors import LookupFailedError, PublishError
from vipnet.names.desired import Desired, Primary
from vipnet.names.records import (
    CAPABILITY_TTL_S,
    CapabilityRecord,
    capability_name,
    capability_of,
    format_marker,
    marker_name,
    parse_marker,
)
from vipnet.publish.refusal import refusal
from vipnet.publish.signed import PREREQUISITE_FAILED, Answer, Ask, SignedExchange
from vipnet.types import Fqdn, Locator

ATTEMPTS: Final = 3  # when somebody else moves the marker between our reading and writing


class _Published(Struct, frozen=True):
    """What the primary has.

    marker  texts of the marker's TXT records, as they are
    """

    marker: tuple[bytes, ...]
    record: CapabilityRecord | None
    addresses: frozenset[str]

    @property
    def sequence(self) -> int | None:
        return parse_marker(self.marker[0]) if len(self.marker) == 1 else None

    def satisfies(self, desired: Desired) -> bool:
        return self.addresses == frozenset(desired.addresses) and desired.record in (None, self.record)


class Rfc2136:
    """Publishes at the primary of a zone.

    ask        sends a question to one server
    primary    finds where updates go; asked again when no server answers
    key        shared with the server
    has_route  whether a server can be reached at all (`SignedExchange`)
    now        seconds since 1970, for the first marker
    """

    provider = "rfc2136"
    interval_s = 0.0  # a primary of one's own takes them as they come
    refresh_s = math.inf
    writes_record = True
    echoes = False

    def __init__(
        self,
        ask: Ask,
        primary: Callable[[], Awaitable[Primary]],
        key: dns.tsig.Key,
        *,
        has_route: Callable[[Locator], bool] = lambda _server: True,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._exchange = SignedExchange(ask, key, has_route=has_route)
        self._find_primary, self._key, self._now = primary, key, now
        self._primary: Primary | None = None
        self._published: _Published | None = None

    async def publish(self, desired: Desired) -> tuple[str, ...]:
        """See Publisher."""
        await self._replace(desired, withdraw=False)
        return desired.addresses

    async def withdraw(self, desired: Desired) -> None:
        """See Publisher. The marker stays: without it old updates could be played again."""
        await self._replace(desired, withdraw=True)

    async def _replace(self, desired: Desired, *, withdraw: bool) -> None:
        primary = self._primary = self._primary or await self._locate()
        published = self._published or await self._read(primary, desired.name)
        for _ in range(ATTEMPTS):
            update, result = self._update(primary, published, desired, withdraw=withdraw)
            if await self._send_update(primary, desired.name, update):
                self._published = result
                return
            # Our own update whose answer was lost, or another writer: the primary knows.
            published = self._published = await self._read(primary, desired.name)
            if published.record is None if withdraw else published.satisfies(desired):
                return
        marker = marker_name(desired.name)
        if published.marker and published.sequence is None:
            raise PublishError(
                f"{marker} holds something that is not ours: delete that record", permanent=True
            )
        raise PublishError(f"somebody else keeps changing {marker}: does another host use this name?")

    async def _locate(self) -> Primary:
        try:
            return await self._find_primary()
        except LookupFailedError as error:
            raise PublishError(f"primary server not found: {error}") from None

    def _update(
        self, primary: Primary, published: _Published, desired: Desired, *, withdraw: bool
    ) -> tuple[dns.update.UpdateMessage, _Published]:
        """Return the message, and what the primary has once it has taken it."""
        marker = dns.name.from_text(marker_name(desired.name))
        update = dns.update.UpdateMessage(dns.name.from_text(primary.zone), keyring=self._key)
        if published.sequence is None:
            # Starts at the clock, so that numbers do not come again after a marker was deleted by hand.
            update.absent(marker, TXT)
            sequence = int(self._now())
        else:
            update.present(marker, TXT, _quoted(format_marker(published.sequence)))
            sequence = published.sequence + 1
        update.replace(marker, desired.ttl_s, TXT, _quoted(format_marker(sequence)))
        capability = dns.name.from_text(capability_name(desired.name))
        told = (format_marker(sequence).encode(),)
        if withdraw:
            update.delete(capability, TXT)
            return update, _Published(told, None, published.addresses)
        host = dns.name.from_text(desired.name)
        for rdtype, addresses in ((A, desired.ipv4), (AAAA, desired.ipv6)):
            update.delete(host, rdtype)
            if addresses:
                update.add(host, desired.ttl_s, rdtype, *addresses)
        record = desired.record or published.record
        if record != published.record:
            update.replace(capability, CAPABILITY_TTL_S, TXT, _quoted(str(record)))
        return update, _Published(told, record, frozenset(desired.addresses))

    async def _send_update(self, primary: Primary, name: Fqdn, update: dns.update.UpdateMessage) -> bool:
        """Return whether the primary took it; False: its prerequisite failed."""
        answer = await self._ask(primary, update)
        if answer.authentic and answer.code == dns.rcode.NOERROR:
            return True
        if answer.authentic and answer.code in PREREQUISITE_FAILED:
            return False
        raise self._refused(primary, name, answer)

    async def _read(self, primary: Primary, name: Fqdn) -> _Published:
        """Ask the primary what it has. Signed, so that nobody can forge `your address is there`."""
        asked = ((marker_name(name), TXT), (capability_name(name), TXT), (name, A), (name, AAAA))
        found: dict[tuple[str, RdataType], dns.message.Message] = {}
        errors: list[PublishError] = []

        async def read(owner: str, rdtype: RdataType) -> None:
            try:
                found[owner, rdtype] = await self._query(primary, name, owner, rdtype)
            except PublishError as error:
                errors.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for owner, rdtype in asked:
                nursery.start_soon(read, owner, rdtype)
        if errors:
            raise errors[0]
        marker, capability, ipv4, ipv6 = (found[question] for question in asked)
        if any(rrset.rdtype == CNAME for rrset in ipv4.answer):
            raise PublishError(
                f"{name} is an alias (CNAME) in its zone: delete that record, it hides addresses",
                permanent=True,
            )
        addresses = {rdata.address for rrset in ipv4.answer + ipv6.answer for rdata in rrset}
        return _Published(_texts(marker), capability_of(_texts(capability)), frozenset(addresses))

    async def _query(
        self, primary: Primary, name: Fqdn, owner: str, rdtype: RdataType
    ) -> dns.message.Message:
        query = dns.message.make_query(dns.name.from_text(owner), rdtype, flags=0)
        query.use_tsig(self._key)
        answer = await self._ask(primary, query)
        if answer.authentic and answer.message and answer.code in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return answer.message
        raise self._refused(primary, name, answer)

    async def _ask(self, primary: Primary, message: dns.message.Message) -> Answer:
        try:
            return await self._exchange(message, primary.servers)
        except LookupFailedError as error:
            self._primary = None  # the zone has moved, perhaps
            raise PublishError(str(error)) from None

    def _refused(self, primary: Primary, name: Fqdn, answer: Answer) -> PublishError:
        key = self._key.name.to_text(omit_final_dot=True)
        return refusal(answer, name=name, zone=primary.zone, key=key)


def _texts(message: dns.message.Message) -> tuple[bytes, ...]:
    return tuple(
        b"".join(rdata.strings) for rrset in message.answer if rrset.rdtype == TXT for rdata in rrset
    )


def _quoted(text: str) -> str:
    """TEXT as one character string of a zone file; ours need no escapes."""
    return f'"{text}"'
