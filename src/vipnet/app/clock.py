"""Whether this host's clock is right, as far as anybody has told.

A time that was told once is carried on by CLOCK_BOOTTIME, which nobody sets: so that the clock
has been put right is known at once, and without asking again.
"""

from __future__ import annotations

import logging
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
        self._true_minus_boot_s: float | None = None

    def tell(self, unix_s: float) -> None:
        """Somebody who proved who he is says that it is UNIX_S now."""
        was_wrong = self.wrong
        self._true_minus_boot_s = unix_s - self._boot_s()
        if self.wrong and not was_wrong:
            log.warning("clock.wrong", extra={"ahead_s": round(self.ahead_s)})

    @property
    def ahead_s(self) -> float:
        """Seconds that this host's clock is ahead, negative: behind; 0 while nobody has told."""
        if self._true_minus_boot_s is None:
            return 0.0
        return self._unix_s() - self._boot_s() - self._true_minus_boot_s

    @property
    def wrong(self) -> bool:
        return abs(self.ahead_s) > TOLERANCE_S
