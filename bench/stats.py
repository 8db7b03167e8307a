"""What many runs say: medians with intervals, and straight lines; never a mean of a skewed thing.

A run that never came back is None, and counts as infinitely long: it cannot hide in a median.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final

import numpy as np
from msgspec import Struct
from scipy.stats import bootstrap, linregress

LEVEL: Final = 0.95
_RESAMPLES: Final = 9_999
_SEED: Final = 1  # the same runs have the same interval
_NEVER: Final = 1e15  # stands for infinity, which has no midpoint with anything
_LARGEST: Final = 1e12  # what is above has a part of _NEVER in it


class Summary(Struct, frozen=True):
    """What RUNS runs say together; None where that lies among the runs that never came back.

    never        how many of the runs did not
    low, high    95 % bootstrap interval of the median; of one run both are that run
    least, most  of the runs that came back
    """

    runs: int
    never: int
    median: float | None
    low: float | None
    high: float | None
    least: float | None
    most: float | None

    def overlaps(self, other: Summary) -> bool:
        """Whether the two intervals have a value in common; nothing is in common with no runs."""
        if not self.runs or not other.runs:
            return False
        mine, theirs = self._ends(), other._ends()
        return mine[0] <= theirs[1] and theirs[0] <= mine[1]

    def _ends(self) -> tuple[float, float]:
        return tuple(_NEVER if end is None else end for end in (self.low, self.high))  # type: ignore[return-value]

    def text(self, unit: str = "") -> str:
        """`23.1 [20.4, 25.0] ms`; how many runs is said once, by whoever shows many of these."""
        if not self.runs:
            return "not measured"
        words = shown(self.median) if self.runs == 1 else f"{shown(self.median)} [{_span(self)}]"
        return f"{words} {unit}" if unit and self.median is not None else words


class Line(Struct, frozen=True):
    """y = slope x + intercept by least squares; `r_squared` is the share of the variance it explains."""

    slope: float
    intercept: float
    r_squared: float


def summarise(runs: Iterable[float | None]) -> Summary:
    """Median and interval of RUNS, all in one unit."""
    values = [_NEVER if value is None else float(value) for value in runs]
    if not values:
        return Summary(0, 0, None, None, None, None, None)
    back = [value for value in values if value < _NEVER]
    low, high = _interval(values)
    ends = (median(values), low, high, min(back, default=_NEVER), max(back, default=_NEVER))
    return Summary(len(values), len(values) - len(back), *map(_finite, ends))


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """Percentiles of the medians of resampled runs (Efron 1979).

    Not BCa, the better one elsewhere: with the median of few runs its jackknife is degenerate.
    """
    if len(set(values)) == 1:
        return values[0], values[0]
    found = bootstrap(
        (values,),
        np.median,
        confidence_level=LEVEL,
        n_resamples=_RESAMPLES,
        method="percentile",
        rng=_SEED,
    ).confidence_interval
    return float(found.low), float(found.high)


def _finite(value: float) -> float | None:
    return round(value, 4) if value < _LARGEST else None


def straight_line(xs: Sequence[float], ys: Sequence[float]) -> Line:
    """Raise ValueError when there are not two different xs."""
    if len(set(xs)) < 2:
        raise ValueError("a line needs two different places")
    if len(set(ys)) == 1:
        return Line(0.0, ys[0], 1.0)  # all of no variance
    found = linregress(xs, ys)
    return Line(float(found.slope), float(found.intercept), float(found.rvalue) ** 2)


def shown(value: float | None) -> str:
    """Three digits that count, and no more; None: `never`."""
    if value is None:
        return "never"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def _span(summary: Summary) -> str:
    return f"{shown(summary.low)}, {shown(summary.high)}"
