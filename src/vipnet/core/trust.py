"""Who may open a session to this host, and how sure we are of a peer's key."""

from __future__ import annotations

from fnmatch import fnmatchcase

from msgspec import Struct

from vipnet.core.outputs import TRUST_ORDER, TrustLevel
from vipnet.types import Fqdn, Locator, PublicKey


class AcceptPolicy(Struct, frozen=True):
    """Strangers that may speak to us first.

    patterns  names as `*.example.org`; a name that matches still has to be vouched for by DNS
    xx        answer peers that do not know our key (trust on first use at their side)
    callback  where DNS has an address and no key: believe what answers there
    """

    patterns: tuple[str, ...] = ()
    xx: bool = False
    callback: bool = False

    def allows(self, name: Fqdn) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.patterns)


class ListedPeer(Struct, frozen=True):
    """A peer written down by hand: its key (None: trust on first use), locators, secret."""

    name: Fqdn
    key: PublicKey | None = None
    locators: tuple[Locator, ...] = ()
    psk: bytes = bytes(32)


def at_least(level: TrustLevel, other: TrustLevel) -> TrustLevel:
    """The stronger of two levels: trust is never lowered silently."""
    return max(level, other, key=TRUST_ORDER.index)
