"""Floods are kept out of the log: what a stranger, or a loop, can cause must not fill the disk."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

# A host that moves may have hundreds of partners, and each of them is told once.
EVENT_BURST: Final = 500  # lines of one event at once ...
EVENT_PER_S: Final = 2.0  # ... and then so many a second
SAME_BURST: Final = 5  # of lines that say the same ...
SAME_PER_S: Final = 1 / 60  # ... and then one a minute
_KEYS_MAX: Final = 512  # lines that are remembered; the one seen longest ago goes first

_PLAIN_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What varies from one line of the event to the next (`extra`)."""
    return {key: value for key, value in vars(record).items() if key not in _PLAIN_FIELDS}


class LogPace(logging.Filter):
    """Lets a line pass unless too many of its event, or with the same fields, were there of late.

    The next line of the event that passes says in `suppressed` how many did not.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._same: OrderedDict[object, _Bucket] = OrderedDict()
        self._events: OrderedDict[object, _Bucket] = OrderedDict()
        self._withheld: dict[str, int] = {}
        self.suppressed = 0  # since the start

    def filter(self, record: logging.LogRecord) -> bool:
        event, now = record.getMessage(), self._clock()
        same = _bucket(self._same, (event, str(fields_of(record))), SAME_BURST, SAME_PER_S, now)
        if not (same.take(now) and _bucket(self._events, event, EVENT_BURST, EVENT_PER_S, now).take(now)):
            self.suppressed += 1
            self._withheld[event] = self._withheld.get(event, 0) + 1
            return False
        if withheld := self._withheld.pop(event, 0):
            record.suppressed = withheld
        return True


class _Bucket:
    """Full of BURST lines; PER_S come in again."""

    def __init__(self, burst: float, per_s: float, now: float) -> None:
        self._burst, self._per_s = burst, per_s
        self._left, self._at = burst, now

    def take(self, now: float) -> bool:
        self._left = min(self._left + (now - self._at) * self._per_s, self._burst)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _bucket(
    buckets: OrderedDict[object, _Bucket], key: object, burst: float, per_s: float, now: float
) -> _Bucket:
    bucket = buckets.setdefault(key, _Bucket(burst, per_s, now))
    buckets.move_to_end(key)
    while len(buckets) > _KEYS_MAX:
        buckets.popitem(last=False)
    return bucket
