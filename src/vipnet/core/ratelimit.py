"""A bound to what others can make us do in a second."""

from __future__ import annotations

from vipnet.types import Instant


class PerSecond:
    """So many in each second of the clock, at most; two seconds' worth can fall close together."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._second, self._counted = 0, 0

    def exceeded(self, now: Instant) -> bool:
        """Count one more; whether it is one too many."""
        if int(now) != self._second:
            self._second, self._counted = int(now), 0
        self._counted += 1
        return self._counted > self._at_most
