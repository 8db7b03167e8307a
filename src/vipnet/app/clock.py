"""Whether this host's clock is right, as far as anybody has told.

A time that was told once is carried on by CLOCK_BOOTTIME, which nobody sets: so that the clock
has been put right is known at once, and without asking again.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Final

TOLERANCE_S: Final = 300.0  # what signed updates allow for (RFC 8945 section 10)

log = logging.getLogger(__name__)


class Clock:
    """Compares.

    unix_s  what this host takes for the time, seconds since 1970
    boot_s  seconds on a clock that nobody sets
    """

    def __init__(
        self,
        unix_s: Callable[[], float] = time.time,
        boot_s: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._unix_s, self._boot_s = unix_s, boot_s
        # The time minus boot_s: as somebody said, and what it is at least and at most.
        self._told_s: float | None = None
        self._least_s, self._most_s = -math.inf, math.inf

    def tell(self, unix_s: float) -> None:
        """Somebody who proved who he is says that it is UNIX_S now."""
        was_wrong = self.wrong
        self._told_s = unix_s - self._boot_s()
        self._log(was_wrong)

    def tell_window(self, earliest_s: float, latest_s: float) -> None:
        """What somebody who proved who he is has signed holds between these, seconds since 1970.

        Counts while nobody has said what the time is. That it is later than EARLIEST_S is sure, since
        nobody has what will only be signed. What has run out anybody can play again: it makes our
        clock suspect until something holds by it.
        """
        was_wrong = self.wrong
        unix_s, boot_s = self._unix_s(), self._boot_s()
        self._least_s = max(self._least_s, earliest_s - boot_s)
        self._most_s = math.inf if earliest_s <= unix_s <= latest_s else latest_s - boot_s
        self._log(was_wrong)

    def _log(self, was_wrong: bool) -> None:
        if self.wrong and not was_wrong:
            log.warning("clock.wrong", extra={"ahead_s": round(self.ahead_s)})

    @property
    def ahead_s(self) -> float:
        """Seconds that this host's clock is ahead, negative: behind; 0 while nothing speaks against it."""
        ours_s = self._unix_s() - self._boot_s()
        if self._told_s is not None:
            return ours_s - self._told_s
        return min(ours_s - self._least_s, 0.0) + max(ours_s - self._most_s, 0.0)

    @property
    def wrong(self) -> bool:
        return abs(self.ahead_s) > TOLERANCE_S
