"""Which servers speak for a name: found once by its SOA and NS records, then remembered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from typing import Final, TypeVar

import dns.flags
import dns.message
import dns.name
import trio
from dns.rdatatype import AAAA, NS, SOA, A, RdataType
from msgspec import Struct

from vipnet.errors import LookupFailedError
from vipnet.names.answer import addresses_in
from vipnet.names.desired import Primary, within
from vipnet.names.message import answers, is_truncated, text_of
from vipnet.system.lookup.ask import ask_tcp, ask_udp, first, has_route
from vipnet.system.lookup.question import make_question, parse_reply
from vipnet.types import Fqdn, Locator

NEXT_SERVER_S: Final = 0.1  # before another of a zone's servers is asked too
SERVERS_TTL_S: Final = (300.0, 86_400.0)  # a zone's servers are believed at least and at most so long
SERVERS_MAX: Final = 6  # of a zone; a hostile zone must not make us ask hundreds
CACHE_MAX: Final = 1024  # zones, and names whose zone is known

Resolve = Callable[[str, RdataType], Awaitable[dns.message.Message]]
K = TypeVar("K")
V = TypeVar("V")


class _Zone(Struct, frozen=True):
    name: str
    servers: tuple[Locator, ...]
    expires_at: float  # on trio's clock


class Authority:
    """The zones we know, and questions to their own servers.

    resolve  asks the network's resolvers
    own      where we answer ourselves; never asked
    port     of all authoritative servers
    """

    def __init__(self, resolve: Resolve, own: Locator | None, port: int) -> None:
        self._resolve, self._own, self._port = resolve, own, port
        self._zone_of: dict[Fqdn, str] = {}
        self._zones: dict[str, _Zone] = {}

    async def servers(self, name: Fqdn, *, timeout_s: float) -> tuple[Locator, ...]:
        """See Lookup.servers."""
        zone = self._known_zone(name)
        if zone is not None and trio.current_time() < zone.expires_at:
            return zone.servers
        try:
            with trio.fail_after(timeout_s):
                return (await self._discover(name)).servers
        except (LookupFailedError, trio.TooSlowError) as error:
            if zone is not None:
                return zone.servers
            why = "no answer in time" if isinstance(error, trio.TooSlowError) else str(error)
            raise LookupFailedError(f"servers of {name}: {why}") from None

    def remember(self, name: Fqdn, servers: Sequence[Locator]) -> None:
        """See Lookup.remember."""
        if servers and name not in self._zone_of:
            _put(self._zone_of, name, name)
            _put(self._zones, name, _Zone(name, tuple(servers[:SERVERS_MAX]), expires_at=0.0))

    def forget(self) -> None:
        """See Lookup.forget_zones."""
        self._zone_of.clear()
        self._zones.clear()

    async def ask(
        self, host: Fqdn, name: str, rdtype: RdataType, *, signed: bool = False
    ) -> dns.message.Message:
        """Ask the servers of HOST's zone for NAME, which is HOST or below it."""
        zone = self._known_zone(host) or self._zone_around(host)
        tried: tuple[Locator, ...] = ()
        if zone is not None:
            tried = zone.servers
            try:
                return await self._ask_servers(tried, name, rdtype, signed=signed)
            except LookupFailedError as error:
                self._zone_of.pop(host, None)  # another zone, or it has other servers by now
                failure = error
        zone = await self._discover(host)
        if zone.servers == tried:
            raise failure
        return await self._ask_servers(zone.servers, name, rdtype, signed=signed)

    async def ask_server(
        self, server: Locator, name: str, rdtype: RdataType, *, signed: bool = False
    ) -> dns.message.Message:
        """Ask one server, which has to be authoritative for NAME."""
        return await self._ask_servers((server,), name, rdtype, signed=signed)

    async def primary(self, name: Fqdn, server: str | None, port: int, zone: str | None) -> Primary:
        """See Lookup.primary."""
        given = await self._host_addresses(server) if server else ()
        servers = tuple(Locator(host, port) for host in given)
        if zone and servers:
            return Primary(zone, servers)
        found, primary_name = await self._start_of_authority(name, servers)
        if not servers:
            servers = tuple(Locator(host, port) for host in await self._host_addresses(primary_name))
        return Primary(zone or found, servers)

    async def _ask_servers(
        self, servers: Sequence[Locator], name: str, rdtype: RdataType, *, signed: bool = False
    ) -> dns.message.Message:
        """The next server is asked when one is slow. Only an authoritative answer counts."""
        query = make_question(name, rdtype, recursion=False, signed=signed)
        accept = partial(answers, query)

        async def ask(server: Locator) -> dns.message.Message:
            reply = await ask_udp(query, server, accept)
            if is_truncated(reply):
                reply = await ask_tcp(query, server, accept)
            message = parse_reply(reply, server)
            if not message.flags & dns.flags.AA:
                raise LookupFailedError(f"{server} is not authoritative for {name}")
            return message

        usable = sorted(servers, key=lambda server: not has_route(server))
        return await first([partial(ask, server) for server in usable], NEXT_SERVER_S)

    def _known_zone(self, name: Fqdn) -> _Zone | None:
        zone = self._zone_of.get(name)
        return None if zone is None else self._zones.get(zone)

    def _zone_around(self, name: Fqdn) -> _Zone | None:
        """The smallest known zone that NAME is in by its labels: right unless a part of it is delegated."""
        around = [zone for zone in self._zones.values() if within(name, zone.name)]
        return max(around, key=lambda zone: len(zone.name), default=None)

    async def _discover(self, name: Fqdn) -> _Zone:
        """Find NAME's zone and its servers: three round trips, one when the zone is known."""
        zone_name, primary = await self._start_of_authority(name)
        zone = self._zones.get(zone_name)
        if zone is None or trio.current_time() >= zone.expires_at:
            zone = await self._find_servers(zone_name, primary)
            _put(self._zones, zone_name, zone)
        _put(self._zone_of, name, zone_name)
        return zone

    async def _start_of_authority(self, name: Fqdn, servers: Sequence[Locator] = ()) -> tuple[str, str]:
        """Return the zone that NAME is in, and its primary's name; ask SERVERS when there are any."""
        asked: str = name
        while asked:
            reply = await (self._ask_servers(servers, asked, SOA) if servers else self._resolve(asked, SOA))
            for rrset in reply.answer + reply.authority:
                zone = text_of(rrset.name)
                if rrset.rdtype == SOA and within(name, zone):
                    return zone, text_of(rrset[0].mname)
            asked = asked.partition(".")[2]  # NAME is an alias into another zone
        raise LookupFailedError(f"no SOA record for {name}")

    async def _find_servers(self, zone: str, primary: str) -> _Zone:
        reply = await self._resolve(zone, NS)
        records = [rrset for rrset in reply.answer if rrset.rdtype == NS]
        hosts = {text_of(rdata.target) for rrset in records for rdata in rrset}
        # The primary first: secondaries lag behind.
        ordered = sorted(hosts, key=lambda host: (host != primary, host))[:SERVERS_MAX]
        found: dict[str, tuple[str, ...]] = {}

        async def ask(host: str) -> None:
            with suppress(LookupFailedError):
                found[host] = await self._host_addresses(host)

        async with trio.open_nursery() as nursery:
            for host in ordered:
                nursery.start_soon(ask, host)
        addresses = dict.fromkeys(address for host in ordered for address in found.get(host, ()))
        locators = [Locator(address, self._port) for address in addresses]
        servers = tuple(locator for locator in locators if locator != self._own)[:SERVERS_MAX]
        if not servers:
            raise LookupFailedError(f"zone {zone}: no name server has an address")
        least, most = SERVERS_TTL_S
        ttl_s = min(max(float(min(rrset.ttl for rrset in records)), least), most)
        return _Zone(zone, servers, trio.current_time() + ttl_s)

    async def _host_addresses(self, host: str) -> tuple[str, ...]:
        """A and AAAA of a name server; HOST may be an address already."""
        with suppress(ValueError):
            return (str(ip_address(host)),)
        found: dict[RdataType, tuple[str, ...]] = {}

        async def ask(rdtype: RdataType) -> None:
            with suppress(LookupFailedError):
                found[rdtype] = addresses_in(await self._resolve(host, rdtype))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, A)
            nursery.start_soon(ask, AAAA)
        addresses = found.get(A, ()) + found.get(AAAA, ())
        if not addresses:
            raise LookupFailedError(f"name server {host} has no address in DNS")
        return addresses


def _put(cache: dict[K, V], key: K, value: V) -> None:
    """Add to a bounded cache; the oldest goes."""
    cache.pop(key, None)
    while len(cache) >= CACHE_MAX:
        del cache[next(iter(cache))]
    cache[key] = value
