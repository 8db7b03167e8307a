"""What DNS says of this host: which addresses are published, and whether the zone's servers have them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from vipnet.app.publishconfig import Publish
from vipnet.app.publishing import PublishLoop
from vipnet.core.outputs import LookupResult
from vipnet.names.addresses import OBSERVED, OwnAddresses, best_of_each_family
from vipnet.names.desired import Desired
from vipnet.publish import Publisher
from vipnet.types import PublicKey

_CHECK_RETRY_S: Final = 0.1  # doubling ...
_CHECK_RETRY_MAX_S: Final = 5.0  # ... to this: the servers of a big provider take a minute, and are not ours


class OwnRecords:
    """Keeps them right, and finds out once that the world sees them.

    publisher  None: nothing is published
    desired    what to publish for given addresses
    ask        the zone's own servers, what they say of this host
    key        this host's present one
    published  told that DNS has where the host is now
    failed     told that an update was in vain
    loop       the updates; others may look at it, and pause it
    in_dns     True once a partner who asked our zone's servers would have found us
    """

    def __init__(
        self,
        config: Publish,
        publisher: Publisher | None,
        desired: Callable[[tuple[str, ...]], Desired],
        *,
        ask: Callable[[], Awaitable[LookupResult]],
        key: Callable[[], PublicKey],
        published: Callable[[], object],
        failed: Callable[[], None],
    ) -> None:
        self._own = self._addresses(config, publisher)
        self._ask, self._key, self._tell = ask, key, published
        self._there: tuple[str, ...] = ()  # what DNS has
        self._confirmed = trio.Event()
        self.in_dns = False
        self.loop = PublishLoop(
            publisher,
            desired,
            interval_s=config.min_interval_s,
            published=self._handle_published,
            failed=failed,
        )

    def use(self, config: Publish, publisher: Publisher | None) -> None:
        """Publish otherwise from now on."""
        present = self._own.present
        self._own = self._addresses(config, publisher)
        self._own.handle_network(present)
        self.in_dns = False
        self.loop.use(publisher, config.min_interval_s)
        self._publish()

    def _addresses(self, config: Publish, publisher: Publisher | None) -> OwnAddresses:
        self._echoes = publisher is not None and publisher.echoes
        return OwnAddresses((OBSERVED,) if self._echoes else config.address)

    async def run(self) -> None:
        """Publish until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.loop.run)
            while True:
                await self._confirmed.wait()
                self._confirmed = trio.Event()
                await self._check()

    def handle_network(self, hosts: Sequence[str]) -> None:
        """The host has these addresses now, best first."""
        self._own.handle_network(hosts)
        self._publish()

    def handle_seen_at(self, address: str) -> None:
        """A partner reaches this host at ADDRESS."""
        changed = self._own.handle_seen(address)
        # A provider that takes what it sees has seen that one; else the loop knows what DNS has.
        if changed and not (self._echoes and address in self._there):
            self._publish()

    def _publish(self) -> None:
        own = self._own
        self.loop.want(best_of_each_family(own.present) if self._echoes else own.published)

    def _handle_published(self, addresses: tuple[str, ...]) -> None:
        # Behind a NAT none of them is the host's own; then a change is what counts, a refresh is none.
        changed = addresses != self._there or not set(addresses).isdisjoint(self._own.present)
        self._there = addresses
        self._confirmed.set()
        if changed and self.loop.state == "ok":  # else it has moved on meanwhile
            self._tell()

    async def _check(self) -> None:
        retry_s = _CHECK_RETRY_S
        while not self.in_dns:
            result = await self._ask()
            key = self._key() if self.loop.writes_record else None
            self.in_dns = set(self._there) <= set(result.addresses) and key in (None, result.key)
            await trio.sleep(retry_s)
            retry_s = min(2 * retry_s, _CHECK_RETRY_MAX_S)
