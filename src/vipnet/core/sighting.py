"""Where others see this host: behind a NAT that is not an address it has."""

from __future__ import annotations

from vipnet.core.locators import usable
from vipnet.core.outputs import Output, SeenAt
from vipnet.core.peer import Peer
from vipnet.types import Locator


def seen_at(peer: Peer, observed: Locator | None) -> list[Output]:
    """PEER has sent this to OBSERVED, and it arrived.

    Whoever is believed can lead others astray who ask DNS for this host: only a peer that the
    user has chosen, by asking for it or by its key.
    """
    chosen = peer.known.contacted or peer.known.trust == "pinned"
    if observed is None or not chosen or not usable(observed, peer.host.space.subnet):
        return []
    return [SeenAt(peer.name, observed.host)]
