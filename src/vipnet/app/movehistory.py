"""This host's moves: the last ones for `vipnet moves`, one line each in the log, and what all came to.

A report changes with every partner that answers, thousands of times for a host with as many partners:
nothing here looks at all of them more than once a move.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterator
from copy import deepcopy
from typing import Final

from msgspec import Struct, field

from vipnet.core.outputs import MoveReport, PartnerMove

_KEPT: Final = 100
# Seconds. A move on the same continent is told in tens of milliseconds; a TCP connection
# that waits for more than a few seconds is noticed by people.
BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

log = logging.getLogger(__name__)


class Histogram(Struct):
    """How many of the values were within each of BOUNDS_S (seconds), each in the first that has it."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    sum_s: float = 0.0

    def add(self, value_s: float) -> None:
        self.counts[bisect_left(BOUNDS_S, value_s)] += 1
        self.sum_s += value_s


class MoveTotals(Struct):
    """All moves since the start. Times count from the event; a silence is a length."""

    causes: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)  # of partners
    acknowledged: Histogram = field(default_factory=Histogram)
    silences: Histogram = field(default_factory=Histogram)
    replayed: int = 0
    replayed_bytes: int = 0
    dropped: int = 0

    def add(self, report: MoveReport) -> None:
        self.causes[report.cause] += 1
        for line in report.partners:
            self._add_partner(line)

    def _add_partner(self, line: PartnerMove) -> None:
        if line.outcome is not None:
            self.outcomes[line.outcome] += 1
        if line.ack_ms is not None:
            self.acknowledged.add(line.ack_ms / 1000)
        if line.gap_ms is not None:
            self.silences.add(line.gap_ms / 1000)
        self.replayed += line.replayed
        self.replayed_bytes += line.replayed_bytes
        self.dropped += line.dropped


class MoveHistory:
    """Reports in their order; the newest of a move takes the place of its earlier ones."""

    def __init__(self) -> None:
        self._reports: deque[MoveReport] = deque(maxlen=_KEPT)
        self._past = MoveTotals()  # all but the last, which still changes
        self._concluded = 0  # partners of the last move that are known to be
        self._told = False

    def __iter__(self) -> Iterator[MoveReport]:
        return iter(self._reports)

    @property
    def last(self) -> MoveReport | None:
        return self._reports[-1] if self._reports else None

    @property
    def totals(self) -> MoveTotals:
        totals = deepcopy(self._past)
        if self.last is not None:
            totals.add(self.last)
        return totals

    def add(self, report: MoveReport) -> None:
        last = self.last
        if last is not None and last.id == report.id:
            self._reports[-1] = report
        else:
            if last is not None:
                self._past.add(last)
            self._reports.append(report)
            self._concluded, self._told = 0, False
            new = [str(locator) for locator in report.new]
            log.info("move.begun", extra={"move": report.id, "cause": report.cause, "new": new})
        self._say_when_told(report)

    def _say_when_told(self, report: MoveReport) -> None:
        """All partners know where we are, or have had their time."""
        partners = report.partners
        while self._concluded < len(partners) and partners[self._concluded].outcome is not None:
            self._concluded += 1
        if self._told or not partners or self._concluded < len(partners):
            return
        self._told = True
        outcomes = Counter(line.outcome for line in partners)
        slowest_ms = max((line.ack_ms for line in partners if line.ack_ms is not None), default=None)
        log.log(
            logging.WARNING if outcomes["timeout"] else logging.INFO,
            "move.told",
            extra={
                "move": report.id,
                "partners": len(partners),
                "by_dns": outcomes["dns"],
                "not_reached": outcomes["timeout"],
                "slowest_ms": None if slowest_ms is None else round(slowest_ms, 1),
            },
        )
