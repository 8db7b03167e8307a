"""A locator that is believed, but has not proved itself: it gets little (RFC 9000 section 8)."""

from __future__ import annotations

from typing import Final

from vipnet.policy import AMPLIFICATION, PARTNER_GRACE_BYTES
from vipnet.types import Instant, Locator

_GRACE_AGAIN_S: Final = 1.0


class Trial:
    """What may go to a peer's current locator until it answers a challenge.

    A partner may be lied to about where we are, but must not become a weapon.

    fallback  where the rest goes meanwhile: the locator before it
    """

    def __init__(self) -> None:
        self.fallback: Locator | None = None
        self._allowance_bytes: int | None = None  # None: there is nothing to prove
        self._grace_at: Instant | None = None  # when it was last more than what is received allows

    @property
    def under_way(self) -> bool:
        return self._allowance_bytes is not None

    def begin(self, before: Locator | None, now: Instant) -> None:
        """The peer is believed to be elsewhere than BEFORE.

        Who names one place after another gets the grace once, and once a second after proofs.
        """
        if self._allowance_bytes is not None:
            return
        recent = self._grace_at is not None and now - self._grace_at < _GRACE_AGAIN_S
        self._allowance_bytes, self.fallback = 0 if recent else PARTNER_GRACE_BYTES, before
        if not recent:
            self._grace_at = now

    def takes(self, size_bytes: int) -> bool:
        """Whether a datagram of SIZE_BYTES may go there; then it counts."""
        if self._allowance_bytes is None:
            return True
        if size_bytes > self._allowance_bytes:
            return False
        self._allowance_bytes -= size_bytes
        return True

    def received(self, size_bytes: int) -> None:
        """So much came from there, sealed."""
        if self._allowance_bytes is not None:
            self._allowance_bytes += AMPLIFICATION * size_bytes

    def end(self) -> None:
        """The peer is there, or is believed to be where it was proved to be."""
        self._allowance_bytes = self.fallback = None
