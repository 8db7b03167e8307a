"""A virtual clock, and everything that is going to happen on one heap."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

from vipnet.types import Instant

_TIMER, _EVENT = 0, 1  # of two things at one instant the timer comes first


class Clock:
    """Time passes from one event to the next; nothing sleeps.

    events      how many have happened
    after_step  called after each of them, when set: what must hold at any time is checked there
    """

    def __init__(self) -> None:
        self.now = Instant(1000.0)
        self.events = 0
        self.after_step: Callable[[], None] | None = None
        self._heap: list[tuple[float, int, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now + delay_s, _EVENT, next(self._order), action))

    def timer(self, at: Instant, action: Callable[[], None]) -> None:
        """ACTION at an instant, which may be over: then it is next."""
        heapq.heappush(self._heap, (at, _TIMER, next(self._order), action))

    def run_until(self, condition: Callable[[], bool], limit_s: float = 60.0) -> float:
        """Let virtual time pass until CONDITION; return the seconds. AssertionError after LIMIT_S."""
        start = self.now
        self._before_run()
        while not condition():
            if not self._step(start + limit_s):
                raise AssertionError(f"not within {limit_s} s {self.story()}")
        return self.now - start

    def run_for(self, seconds: float) -> None:
        end = self.now + seconds
        self._before_run()
        while self._step(end):
            pass
        self.now = Instant(end)

    def story(self) -> str:
        """What a failure has to tell beside itself."""
        return ""

    def _before_run(self) -> None:
        """Whatever was done to the world since the last run."""

    def _step(self, end: float) -> bool:
        """The next event up to END; False when there is none."""
        if not self._heap or self._heap[0][0] > end:
            return False
        at, _, _, action = heapq.heappop(self._heap)
        self.now = Instant(max(self.now, at))
        action()
        self.events += 1
        if self.after_step is not None:
            self.after_step()
        return True
