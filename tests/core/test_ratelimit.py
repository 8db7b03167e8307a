"""core/ratelimit.py: so many a second."""

from __future__ import annotations

from vipnet.core.ratelimit import PerSecond
from vipnet.types import Instant


def test_what_is_too_many_in_one_second_is_not_in_the_next() -> None:
    limit = PerSecond(3)
    assert [limit.exceeded(Instant(7.0 + number / 10)) for number in range(5)] == [False] * 3 + [True] * 2
    assert not limit.exceeded(Instant(8.0))


def test_a_clock_that_begins_at_nought() -> None:
    limit = PerSecond(1)
    assert not limit.exceeded(Instant(0.0))
    assert limit.exceeded(Instant(0.9))
