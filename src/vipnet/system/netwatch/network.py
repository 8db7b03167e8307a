"""The host's networks as far as they are known, and which addresses they give it. No I/O."""

from __future__ import annotations

import socket
from fnmatch import fnmatchcase
from typing import Final, Literal

from msgspec import Struct

from vipnet.system.netwatch.messages import Address, Fact, Link, Route

Cause = Literal["start", "address", "link", "route", "wake"]
Ranked = tuple[tuple["UnderlayAddress", bool], ...]  # with "has a way beyond its own network"

# Somebody's tunnel, or nothing at all, is at the other end of these.
_NO_UNDERLAY: Final = frozenset(
    ("tun", "wireguard", "ipip", "sit", "gre", "gretap", "erspan", "ip6tnl", "ip6gre", "ip6gretap")  # noqa: RUF005
    + ("vti", "vti6", "xfrm", "vxlan", "geneve", "dummy", "ifb", "nlmon", "vcan")
)
_GATEWAYS_MAX: Final = 1024  # keys of routes by gateway that are remembered: a BGP table is not
_NO_RANK: Final = (2, 0)  # worse than default (0, metric) and other gateways (1, metric)


class UnderlayAddress(Struct, frozen=True):
    """An address of this host that peers may reach; host is canonical text."""

    host: str
    interface: str
    index: int


class Network:
    """What the kernel has said so far, and what follows from it."""

    def __init__(self, ignore: frozenset[str], only: tuple[str, ...]) -> None:
        self._ignore, self._only = ignore, only
        self._links: dict[int, Link] = {}
        self._addresses: dict[tuple[int, str], Address] = {}
        self._routes: dict[bytes, tuple[Route, ...]] = {}

    def add(self, fact: Fact, *, replaces: bool = False) -> bool:
        """Take FACT over; True when it was news.

        replaces  a route stands instead of all others of its key
        """
        match fact:
            case Link():
                return self._add_link(fact)
            case Address():
                key = fact.index, fact.host
                known, self._addresses[key] = self._addresses.get(key), fact
                return known != fact
            case Route():
                return self._add_route(fact, replaces)

    def _add_link(self, link: Link) -> bool:
        known, self._links[link.index] = self._links.get(link.index), link
        if known is not None and known.is_up and not link.is_up:
            self._forget_routes(link.index)
        return known != link

    def _add_route(self, route: Route, replaces: bool) -> bool:
        known = self._routes.get(route.key, ())
        wanted = (route,) if replaces else known if route in known else (*known, route)
        if wanted == known or not (known or route.is_default or len(self._routes) < _GATEWAYS_MAX):
            return False
        self._routes[route.key] = wanted
        return True

    def remove(self, fact: Fact) -> bool:
        """Forget FACT; True when it was known."""
        match fact:
            case Link():
                self._forget_routes(fact.index)
                return self._links.pop(fact.index, None) is not None
            case Address():
                return self._remove_address(fact)
            case Route():
                known = self._routes.pop(fact.key, ())
                left = tuple(route for route in known if route.indices != fact.indices)
                if left:
                    self._routes[fact.key] = left
                return left != known

    def _remove_address(self, address: Address) -> bool:
        known = self._addresses.pop((address.index, address.host), None)
        if ":" not in address.host and not any(
            index == address.index and ":" not in host for index, host in self._addresses
        ):
            self._forget_routes(address.index, socket.AF_INET)
        return known is not None

    def _forget_routes(self, index: int, *families: int) -> None:
        """Drop the routes of an interface that went down or has lost its last IPv4 address.

        The kernel does the same, and does not announce it for IPv4.
        """
        families = families or (socket.AF_INET, socket.AF_INET6)
        for key, routes in list(self._routes.items()):
            left = tuple(r for r in routes if index not in r.indices or r.family not in families)
            if left:
                self._routes[key] = left
            else:
                del self._routes[key]

    def ranked(self) -> Ranked:
        """The addresses that count, best first, and whether each has a way beyond its own network.

        First those with a default route, then with any gateway, by metric; IPv4 before
        IPv6 of the same interface; then the rest.
        """
        ranks = self._ranks()
        found = []
        for address in self._addresses.values():
            link = self._links.get(address.index)
            if link is None or not address.usable or not self._counts(link, ranks):
                continue
            is_ipv6 = ":" in address.host
            routed = (address.index, is_ipv6) in ranks
            best = min(ranks.get((address.index, family), _NO_RANK) for family in (False, True))
            order = (not routed, best, address.index, is_ipv6)
            found.append((order, UnderlayAddress(address.host, link.name, address.index), routed))
        found.sort(key=lambda item: item[0])  # stable: the kernel's own order decides the rest
        return tuple((address, routed) for _, address, routed in found)

    def detours(self) -> tuple[str, ...]:
        """Addresses of interfaces that do not count and have taken the default route: a VPN's, mostly.

        What the kernel would send from there goes through somebody's tunnel.
        """
        ranks = self._ranks()
        defaults = {index for (index, _), (kind, _) in ranks.items() if kind == 0}
        elsewhere = {
            link.index
            for link in self._links.values()
            if link.index in defaults and not self._counts(link, ranks)
        }
        return tuple(sorted(one.host for one in self._addresses.values() if one.index in elsewhere))

    def _ranks(self) -> dict[tuple[int, bool], tuple[int, int]]:
        """By interface and "is IPv6": (0 for default, 1 for other gateways; metric), the least."""
        ranks: dict[tuple[int, bool], tuple[int, int]] = {}
        for routes in self._routes.values():
            for route in routes:
                rank = (0 if route.is_default else 1, route.metric)
                for index in route.indices:
                    key = index, route.family == socket.AF_INET6
                    ranks[key] = min(rank, ranks.get(key, _NO_RANK))
        return ranks

    def _counts(self, link: Link, ranks: dict[tuple[int, bool], tuple[int, int]]) -> bool:
        if not (link.is_up and link.has_carrier) or link.name in self._ignore:
            return False
        if self._only:
            if not any(fnmatchcase(link.name, pattern) for pattern in self._only):
                return False
            if link.name in self._only:
                return True  # named on purpose, whatever it is
        if link.kind == "bridge":
            # A virtual machine host has its own address on a bridge; Docker's leads nowhere.
            return any(ranks.get((link.index, family), _NO_RANK)[0] == 0 for family in (False, True))
        return link.kind not in _NO_UNDERLAY
