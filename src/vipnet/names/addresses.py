"""Which addresses a host publishes: those it has, those its partners see it at, or fixed ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Final

INTERFACE: Final = "interface"  # what the host has, that of the default route first
OBSERVED: Final = "observed"  # where others see it: behind a NAT that is not what it has


class OwnAddresses:
    """What is known of where this host is.

    sources  in order of preference, INTERFACE, OBSERVED or an address: of each family the
             first that has one is published
    present  addresses of the interfaces, best first
    """

    def __init__(self, sources: Sequence[str]) -> None:
        self._sources = tuple(sources)
        self.present: tuple[str, ...] = ()
        self._seen: dict[bool, str] = {}  # by "is it IPv6"

    def handle_network(self, present: Sequence[str]) -> None:
        """The host has these now, best first. What was seen of it before is of another network."""
        self.present, self._seen = tuple(present), {}

    def handle_seen(self, address: str) -> bool:
        """A partner sees this host at ADDRESS; return whether something else is published by that.

        A partner inside of the same NAT sees a private address: that is no news for a host
        that somebody outside has seen.
        """
        known = self._seen.get(":" in address)
        if known is not None and _is_global(known) and not _is_global(address):
            return False
        before = self.published
        self._seen[":" in address] = address
        return self.published != before

    @property
    def published(self) -> tuple[str, ...]:
        """The best of each family, best first; none while the host has no network."""
        if not self.present:
            return ()
        return best_of_each_family(address for source in self._sources for address in self._of(source))

    def _of(self, source: str) -> tuple[str, ...]:
        if source == INTERFACE:
            return self.present
        if source == OBSERVED:
            # A global address is nobody's private one: it needs no witness.
            own = tuple(address for address in self.present if _is_global(address))
            return (*own, *self._seen.values())
        return (source,)


def best_of_each_family(addresses: Iterable[str]) -> tuple[str, ...]:
    """The first IPv4 and the first IPv6: clients without vipnet try every one they find."""
    first: dict[bool, str] = {}
    for address in addresses:
        first.setdefault(":" in address, address)
    return tuple(first.values())


def _is_global(address: str) -> bool:
    return ip_address(address).is_global
