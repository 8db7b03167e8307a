"""bench/stats.py: medians that hide nothing, intervals that repeat, lines."""

from __future__ import annotations

import random
from statistics import median

import pytest
from tests.support import need_module

need_module("scipy")

from bench.stats import Line, shown, straight_line, summarise  # noqa: E402 - scipy has to be there


def test_a_median_with_its_interval() -> None:
    found = summarise([5, 1, 4, 2, 3, 100])
    assert (found.runs, found.never, found.median, found.least, found.most) == (6, 0, 3.5, 1, 100)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= 3.5 <= found.high
    assert summarise([5, 1, 4, 2, 3, 100]) == found


def test_the_interval_holds_the_true_median_about_as_often_as_it_says() -> None:
    """Of a skewed thing, too; 40 values each, 300 times."""
    rng = random.Random(1)
    hits = 0
    for _ in range(300):
        found = summarise([rng.expovariate(1.0) for _ in range(40)])
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0.6931 <= found.high  # ln 2
    assert 0.88 <= hits / 300 <= 1.0


def test_one_run_is_its_own_interval() -> None:
    found = summarise([7.0])
    assert (found.median, found.low, found.high) == (7.0, 7.0, 7.0)
    assert found.text("ms") == "7.00 ms"


def test_what_never_came_back_cannot_hide() -> None:
    one_of_five = summarise([1, 2, 3, 4, None])
    assert (one_of_five.median, one_of_five.high, one_of_five.most, one_of_five.never) == (3, None, 4, 1)
    assert summarise([1, None]).median is None
    none_back = summarise([None, None])
    assert (none_back.median, none_back.low, none_back.least) == (None, None, None)
    assert none_back.text("ms") == "never [never, never]"


def test_no_runs_say_nothing() -> None:
    assert summarise([]).text("ms") == "not measured"
    assert not summarise([]).overlaps(summarise([1]))


def test_intervals_overlap() -> None:
    low, high = summarise([1, 2, 3]), summarise([3, 4, 5])
    assert low.overlaps(high)
    assert high.overlaps(low)
    assert not low.overlaps(summarise([4, 5, 6]))
    assert summarise([1, None, None]).overlaps(summarise([900, 901, 902]))
    assert not summarise([None]).overlaps(low)


def test_order_does_not_count() -> None:
    values = [9.0, 2.0, 7.0, 7.0, 1.0]
    assert summarise(values).median == median(values)
    assert summarise(values).overlaps(summarise(values[::-1]))


def test_a_line() -> None:
    found = straight_line([0, 1, 2, 3], [500, 1500, 2500, 3500])
    assert (found.slope, found.intercept) == pytest.approx((1000, 500))
    assert found.r_squared == pytest.approx(1)
    assert straight_line([0, 1, 2, 3], [0, 0, 9, 0]).r_squared < 0.5
    assert straight_line([0, 1, 2], [7, 7, 7]) == Line(0, 7, 1)
    with pytest.raises(ValueError, match="two different"):
        straight_line([1, 1], [2, 3])


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1,234"), (99.96, "100.0"), (23.04, "23.0"), (0.254, "0.25"), (None, "never")],
)
def test_numbers_as_they_are_read(value: float | None, text: str) -> None:
    assert shown(value) == text
