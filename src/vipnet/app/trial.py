"""Publishing for once, without a daemon: what `vipnet init` tries and `vipnet down --unpublish` undoes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import trio
from msgspec import Struct

from vipnet.app import publishers
from vipnet.app.config import Config
from vipnet.app.hook import Hook
from vipnet.core.outputs import LookupResult
from vipnet.errors import HostError, LookupFailedError, NotReadyError, PublishError
from vipnet.names.addresses import OwnAddresses, best_of_each_family
from vipnet.names.desired import Desired
from vipnet.names.records import CapabilityRecord
from vipnet.publish import Publisher
from vipnet.system import netwatch
from vipnet.system.lookup import Lookup, has_route
from vipnet.types import Fqdn, Locator, PublicKey

_BY_HAND: Final = "try again, or delete it at the provider"
UPDATE_S: Final = 30.0
SEEN_S: Final = 60.0  # the secondaries of a big provider take so long
RETRY_S: Final = 0.1  # doubling ...
RETRY_MAX_S: Final = 5.0  # ... to this
SILENT_AFTER: Final = 2  # look-ups of 3 s each without an answer: port 53 is blocked, or the server down


class Trial(Struct, frozen=True):
    """How publishing went.

    addresses  in DNS now; none: nobody has said yet where this host is seen, so nothing was tried
    servers    of the zone, that answer with them
    silent     of the zone, that do not answer at all
    """

    addresses: tuple[str, ...]
    servers: tuple[Locator, ...] = ()
    silent: tuple[Locator, ...] = ()


def try_publishing(config: Config, key: PublicKey) -> Trial | None:
    """Make an update and wait until the zone's servers answer with it; None without a provider.

    Raise ConfigError for a secret that cannot be read; HostError, with the provider's words, when it
    does not take the update; NotReadyError when a server goes on answering something else.
    """
    make = publishers.prepare(config)
    return None if make is None else trio.run(_try_publishing, config, key, make)


def withdraw(config: Config) -> None:
    """Take the capability record out of DNS. Raise ConfigError or HostError, as `try_publishing`."""
    make = publishers.prepare(config)
    if make is not None:
        trio.run(_withdraw, config, make(_lookup(config)))


async def _try_publishing(config: Config, key: PublicKey, make: publishers.Make) -> Trial:
    lookup = _lookup(config)
    publisher = make(lookup)
    record = CapabilityRecord(key, config.transport.port)
    own = OwnAddresses(config.publish.address)
    own.handle_network(await _present(config))
    addresses = best_of_each_family(own.present) if publisher.echoes else own.published
    if not own.present:
        raise HostError("this host has no network address to publish; connect it, or use --offline")
    if not addresses:
        return Trial(())
    there = await _publish(publisher, Desired(config.name, addresses, record, config.publish.ttl))
    expected = record if publisher.writes_record else None
    return await Watch(config, lookup, there, expected).run()


def _lookup(config: Config) -> Lookup:
    hook = Hook(config)
    return Lookup(
        lambda: config.dns.upstreams or [Locator(host, 53) for host in hook.upstreams()],
        own=config.dns.listen,
    )


async def _present(config: Config) -> tuple[str, ...]:
    """The host's addresses now, as the daemon will see them."""
    updates, news = trio.open_memory_channel[netwatch.Underlay](1)
    ignore = frozenset({config.tun.interface})
    async with trio.open_nursery() as nursery:
        await nursery.start(netwatch.watch, updates, ignore, config.transport.interfaces)
        underlay = await news.receive()
        nursery.cancel_scope.cancel()
    return tuple(address.host for address in underlay.addresses)


async def _publish(publisher: Publisher, desired: Desired) -> tuple[str, ...]:
    with trio.move_on_after(UPDATE_S):
        try:
            return await publisher.publish(desired)
        except PublishError as error:
            raise HostError(f"{publisher.provider} did not take the update: {error}") from None
    raise HostError(
        f"{publisher.provider} did not take the update within {UPDATE_S:g} s; does it answer at all?"
    )


async def _withdraw(config: Config, publisher: Publisher) -> None:
    with trio.move_on_after(UPDATE_S):
        try:
            await publisher.withdraw(Desired(config.name, ()))
        except PublishError as error:
            raise HostError(f"the _vip record is still in DNS: {error} ({_BY_HAND})") from None
        return
    raise HostError(f"the _vip record is still in DNS: no answer within {UPDATE_S:g} s ({_BY_HAND})")


class Zone(Protocol):
    """What is asked of system.lookup.Lookup, which says more."""

    async def servers(self, name: Fqdn) -> Sequence[Locator]: ...

    async def lookup_at(self, name: Fqdn, server: Locator) -> LookupResult: ...

    async def lookup(self, name: Fqdn, *, authoritative: bool) -> LookupResult: ...


class Watch:
    """Asks each of the zone's servers until it says what was published."""

    def __init__(
        self, config: Config, lookup: Zone, addresses: tuple[str, ...], record: CapabilityRecord | None
    ) -> None:
        self._name, self._lookup, self._addresses, self._record = config.name, lookup, addresses, record
        self._right: set[Locator] = set()
        self._silent: set[Locator] = set()
        self._last: dict[Locator, LookupResult] = {}

    async def run(self) -> Trial:
        """Raise NotReadyError when not all say so in time."""
        servers = await self._servers()
        with trio.move_on_after(SEEN_S):
            async with trio.open_nursery() as nursery:
                for server in servers:
                    nursery.start_soon(self._ask, server)
        for server in servers:
            if server not in self._right and server not in self._silent:
                raise NotReadyError(f"{server} {self._instead(server)}, {SEEN_S:g} s after the update")
        if not self._right:  # many networks block port 53
            result = await self._lookup.lookup(self._name, authoritative=False)
            if not self._says_so(result):
                raise NotReadyError(f"no name server of {self._name} answers: {_list(servers)}")
        right, silent = (
            tuple(server for server in servers if server in kind) for kind in (self._right, self._silent)
        )
        return Trial(self._addresses, right, silent)

    async def _servers(self) -> Sequence[Locator]:
        try:
            servers = await self._lookup.servers(self._name)
        except LookupFailedError as error:
            raise NotReadyError(f"updated, but which name servers have it cannot be found: {error}") from None
        return [server for server in servers if has_route(server)] or servers

    async def _ask(self, server: Locator) -> None:
        retry_s, unanswered = RETRY_S, 0
        while True:
            result = self._last[server] = await self._lookup.lookup_at(self._name, server)
            if self._says_so(result):
                self._right.add(server)
                return
            unanswered = unanswered + 1 if result.failed else 0
            if unanswered == SILENT_AFTER:
                self._silent.add(server)
                return
            await trio.sleep(retry_s)
            retry_s = min(2 * retry_s, RETRY_MAX_S)

    def _says_so(self, result: LookupResult) -> bool:
        if not set(self._addresses) <= set(result.addresses):
            return False
        return self._record is None or (result.key, result.port) == (self._record.key, self._record.port)

    def _instead(self, server: Locator) -> str:
        found = self._last.get(server)
        if found is None:
            return "has not answered"
        if not set(self._addresses) <= set(found.addresses):
            return f"answers with {_list(found.addresses) or 'no address'}, not {_list(self._addresses)}"
        return f"has no _vip record of {self._name} with this host's key"


def _list(things: Sequence[object]) -> str:
    return ", ".join(str(thing) for thing in things)
