from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vipnet.system.netwatch.network import Cause, Ranked, UnderlayAddress
from vipnet.system.netwatch.pace import HOLD_S, Pace, Underlay

OLD, NEW = UnderlayAddress("10.1.0.1", "eth0", 2), UnderlayAddress("10.2.0.1", "eth1", 3)
WHOLE_OLD: Ranked = ((OLD, True),)
WHOLE_NEW: Ranked = ((NEW, True),)
HALF_NEW: Ranked = ((NEW, False),)


def started(ranked: Ranked = WHOLE_OLD) -> Pace:
    pace = Pace()
    pace.handle_change(ranked, "start", 0.0)
    assert pace.handle_timeout(0.0) == Underlay(tuple(address for address, _ in ranked), "start")
    return pace


def test_the_first_value_is_told_at_once_also_when_it_is_empty() -> None:
    started(())
    started(HALF_NEW)
    assert started().next_timeout() is None


def test_a_switch_is_one_value_at_the_moment_the_route_stands() -> None:
    pace = started()
    pace.handle_change((), "link", 10.0)
    pace.handle_change(HALF_NEW, "address", 10.001)
    assert pace.handle_timeout(10.001) is None
    pace.handle_change(WHOLE_NEW, "route", 10.002)
    assert pace.next_timeout() == 10.002
    assert pace.handle_timeout(10.002) == Underlay((NEW,), "link")
    assert pace.next_timeout() is None


def test_a_network_without_gateway_is_told_after_the_hold() -> None:
    pace = started()
    pace.handle_change((), "link", 10.0)
    pace.handle_change(HALF_NEW, "address", 10.004)
    assert pace.next_timeout() == 10.0 + HOLD_S
    assert pace.handle_timeout(10.0 + HOLD_S) == Underlay((NEW,), "link")


def test_a_gateway_that_comes_later_is_news() -> None:
    pace = started(HALF_NEW)
    pace.handle_change(WHOLE_NEW, "route", 10.0)
    assert pace.handle_timeout(10.0) == Underlay((NEW,), "route")


def test_detached_is_told_after_the_hold() -> None:
    pace = started()
    pace.handle_change((), "link", 10.0)
    assert pace.handle_timeout(10.0) is None
    assert pace.handle_timeout(10.0 + HOLD_S) == Underlay((), "link")


def test_there_and_back_again_is_no_news() -> None:
    pace = started()
    pace.handle_change((), "link", 10.0)
    pace.handle_change(WHOLE_OLD, "link", 10.001)
    assert pace.next_timeout() is None
    assert pace.handle_timeout(11.0) is None
    pace.handle_change(WHOLE_NEW, "address", 12.0)
    assert pace.handle_timeout(12.0) == Underlay((NEW,), "address"), "the old cause is forgotten"


def test_after_a_value_the_rest_of_the_burst_is_one_more() -> None:
    pace = started()
    pace.handle_change(WHOLE_NEW, "address", 10.0)
    assert pace.handle_timeout(10.0)
    both = (*WHOLE_NEW, *WHOLE_OLD)
    pace.handle_change(both, "address", 10.001)
    assert pace.handle_timeout(10.001) is None
    pace.handle_change(tuple(reversed(both)), "route", 10.002)
    assert pace.handle_timeout(10.0 + HOLD_S) == Underlay((OLD, NEW), "address")


def test_a_detour_is_told_though_the_addresses_are_the_same() -> None:
    pace = started()
    pace.handle_change(WHOLE_OLD, "route", 10.0, ("10.99.0.2",))
    assert pace.handle_timeout(10.0) == Underlay((OLD,), "route", ("10.99.0.2",))
    pace.handle_change(WHOLE_OLD, "route", 11.0, ("10.99.0.2",))
    assert pace.next_timeout() is None
    pace.handle_change(WHOLE_OLD, "route", 12.0)
    assert pace.handle_timeout(12.0) == Underlay((OLD,), "route")


def test_waking_up_is_always_told() -> None:
    pace = started()
    pace.handle_change(WHOLE_OLD, "wake", 10.0)
    assert pace.handle_timeout(10.0) == Underlay((OLD,), "wake")


EVENTS = st.tuples(
    st.sampled_from([(), WHOLE_OLD, WHOLE_NEW, HALF_NEW, (*WHOLE_NEW, *WHOLE_OLD)]),
    st.sampled_from(["link", "address", "route", "wake"]),
    st.floats(0, 2 * HOLD_S),
)


@given(st.lists(EVENTS, max_size=30))
def test_the_last_word_is_always_told_and_never_late(events: list[tuple[Ranked, Cause, float]]) -> None:
    pace, now = started(), 10.0
    told: tuple[UnderlayAddress, ...] = (OLD,)
    for ranked, cause, wait_s in events:
        now += wait_s
        pace.handle_change(ranked, cause, now)
        due = pace.next_timeout()
        assert due is None or due <= now + HOLD_S
        if news := pace.handle_timeout(now):
            told = news.addresses
    if news := pace.handle_timeout(now + HOLD_S):
        told = news.addresses
    if events:
        assert told == tuple(address for address, _ in events[-1][0])
    assert pace.next_timeout() is None
