from __future__ import annotations

import pytest

from vipnet.app.clock import TOLERANCE_S, Clock

NOON = 1_764_000_000.0


class Host:
    """A host that was up for a day at noon, and whose clock somebody sets."""

    def __init__(self, ahead_s: float) -> None:
        self.since_noon_s, self.ahead_s = 0.0, ahead_s
        self.clock = Clock(
            lambda: NOON + self.since_noon_s + self.ahead_s, lambda: 86_400 + self.since_noon_s
        )


def test_nobody_has_told() -> None:
    assert not Host(3600).clock.wrong


@pytest.mark.parametrize("ahead_s", [3600.0, -3600.0, TOLERANCE_S + 1])
def test_a_wrong_clock_is_wrong_until_it_is_set_and_nobody_need_tell_again(
    ahead_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    host = Host(ahead_s)
    for _ in range(2):
        host.clock.tell(NOON)
    assert host.clock.wrong
    assert [record.message for record in caplog.records] == ["clock.wrong"]
    host.since_noon_s = 7200.0
    assert host.clock.ahead_s == ahead_s
    host.ahead_s = 0.0
    assert not host.clock.wrong


def test_a_few_minutes_do_no_harm() -> None:
    host = Host(TOLERANCE_S - 1)
    host.clock.tell(NOON)
    assert not host.clock.wrong
    host.ahead_s = TOLERANCE_S + 1
    assert host.clock.wrong, "set wrong later on"


DAY_S = 86_400.0


def test_what_is_signed_only_later_shows_that_the_clock_is_behind() -> None:
    host = Host(-30 * DAY_S)
    host.clock.tell_window(NOON - DAY_S, NOON + DAY_S)
    assert host.clock.wrong
    assert host.clock.ahead_s == -29 * DAY_S, "at least so much"
    host.clock.tell_window(NOON - 40 * DAY_S, NOON - 20 * DAY_S)
    assert host.clock.wrong, "an older signature says nothing new"
    host.ahead_s = 0.0
    assert not host.clock.wrong


def test_what_has_run_out_makes_the_clock_suspect_until_something_holds_by_it() -> None:
    """Somebody may have played an old answer again."""
    host = Host(0.0)
    host.clock.tell_window(NOON - 9 * DAY_S, NOON - 2 * DAY_S)
    assert (host.clock.wrong, host.clock.ahead_s) == (True, 2 * DAY_S)
    host.clock.tell_window(NOON - DAY_S, NOON + DAY_S)
    assert not host.clock.wrong


@pytest.mark.parametrize("window", [(NOON + DAY_S, NOON + 2 * DAY_S), (NOON - 2 * DAY_S, NOON - DAY_S)])
def test_who_says_what_the_time_is_knows_better(window: tuple[float, float]) -> None:
    host = Host(0.0)
    host.clock.tell(NOON)
    host.clock.tell_window(*window)
    assert not host.clock.wrong
