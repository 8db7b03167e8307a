"""What this host wants DNS to say of it, and where that has to be said."""

from __future__ import annotations

from ipaddress import ip_address

from msgspec import Struct

from vipnet.names.records import CapabilityRecord
from vipnet.policy import LOCATORS_MAX
from vipnet.types import Fqdn, Locator


class Desired(Struct, frozen=True):
    """What a publisher is to make true.

    addresses  IP addresses as canonical text, best first; at most 8
    record     None: leave the capability record alone
    ttl_s      of the address records
    """

    name: Fqdn
    addresses: tuple[str, ...]
    record: CapabilityRecord | None = None
    ttl_s: int = 5

    def __post_init__(self) -> None:
        for address in self.addresses:
            if str(ip_address(address)) != address:
                raise ValueError(f"{address!r} is not in canonical form")
        if len(self.addresses) > LOCATORS_MAX:
            raise ValueError(f"{len(self.addresses)} addresses, at most {LOCATORS_MAX} are published")

    @property
    def ipv4(self) -> tuple[str, ...]:
        return tuple(address for address in self.addresses if ":" not in address)

    @property
    def ipv6(self) -> tuple[str, ...]:
        return tuple(address for address in self.addresses if ":" in address)


class Primary(Struct, frozen=True):
    """Where updates of a zone are sent.

    zone     as text, without the final dot
    servers  in the order in which they are tried
    """

    zone: str
    servers: tuple[Locator, ...]


def within(name: str, zone: str) -> bool:
    """True when NAME is ZONE or below it."""
    return zone == "" or name == zone or name.endswith("." + zone)
