"""What makes the short way short: that nothing has to be asked again for each packet."""

from __future__ import annotations

from msgspec import Struct

from vipnet.core.outputs import Fragmentation
from vipnet.core.pathmtu import PathMtu
from vipnet.core.session import Session
from vipnet.types import Instant, Locator


class Lane(Struct, frozen=True):
    """Packets go to `to` under `session` and come from there, and nothing else is to be done.

    It holds before `until`, as long as nothing but packets happens to the peer.

    fragmentation  of what is small
    path           what else passes
    """

    session: Session
    to: Locator
    source: str | None
    fragmentation: Fragmentation
    path: PathMtu
    until: Instant
