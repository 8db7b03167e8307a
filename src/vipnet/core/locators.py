"""Which locators the network may name to us (design: everything from there is hostile)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from vipnet.policy import LOCATORS_MAX
from vipnet.types import Locator

_BROADCAST = IPv4Address("255.255.255.255")


def usable(locator: Locator, subnet: IPv4Network, own: Iterable[Locator] = ()) -> bool:
    """Whether a peer can be at LOCATOR.

    Not loopback, multicast, broadcast, unspecified, link-local IPv6 (which names
    no interface), one of our own addresses, or an address inside the token subnet.
    """
    ip = locator.ip
    if ip.is_loopback or ip.is_multicast or ip.is_unspecified or ip == _BROADCAST:
        return False
    if ip.version == 4 and ip in subnet:
        return False
    if ip.version == 6 and (ip.is_link_local or ip.ipv4_mapped is not None):
        return False
    return all(locator.host != mine.host for mine in own)


def usable_only(
    locators: Iterable[Locator], subnet: IPv4Network, own: Iterable[Locator] = ()
) -> tuple[Locator, ...]:
    """The usable ones of LOCATORS in their order, without doubles, at most LOCATORS_MAX."""
    distinct = dict.fromkeys(locator for locator in locators if usable(locator, subnet, own))
    return tuple(distinct)[:LOCATORS_MAX]
