"""core/schedule.py: whoever asked is served in time, once, in the order of the deadlines."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from vipnet.core.schedule import Schedule
from vipnet.types import Fqdn, Instant

A, B, C = Fqdn("a.example"), Fqdn("b.example"), Fqdn("c.example")


def asked(*deadlines: tuple[Fqdn, float | None]) -> Schedule:
    schedule = Schedule()
    for name, at in deadlines:
        schedule.ask(name, None if at is None else Instant(at))
    return schedule


def served(schedule: Schedule, now: float) -> list[Fqdn]:
    return list(schedule.due(Instant(now)))


def test_nobody_has_a_deadline() -> None:
    schedule = asked((A, None))
    assert schedule.next_timeout() is None
    assert served(schedule, 1e9) == []


def test_the_earliest_is_next() -> None:
    schedule = asked((A, 3.0), (B, 1.0), (C, 2.0))
    assert schedule.next_timeout() == 1.0
    assert served(schedule, 0.5) == []
    assert served(schedule, 2.0) == [B, C]
    assert schedule.next_timeout() == 3.0


def test_of_two_at_one_instant_the_one_that_asked_first() -> None:
    assert served(asked((C, 1.0), (A, 1.0), (B, 1.0)), 1.0) == [C, A, B]


def test_an_earlier_deadline_takes_the_place_of_the_later() -> None:
    schedule = asked((A, 5.0), (A, 2.0))
    assert served(schedule, 2.0) == [A]
    assert served(schedule, 5.0) == []


def test_a_later_deadline_is_asked_for_when_the_earlier_is_over() -> None:
    schedule = asked((A, 2.0), (A, 5.0))
    assert len(schedule) == 1, "nothing is added for it"
    assert served(schedule, 2.0) == [A]
    assert schedule.next_timeout() is None


def test_who_asks_while_others_are_served_is_served_too() -> None:
    schedule = asked((A, 1.0))
    order = []
    for name in schedule.due(Instant(2.0)):
        order.append(name)
        if name == A:
            schedule.ask(B, Instant(2.0))
            schedule.ask(C, Instant(2.5))
    assert order == [A, B]
    assert schedule.next_timeout() == 2.5


def test_who_is_forgotten_is_not_served() -> None:
    schedule = asked((A, 1.0), (B, 1.0))
    schedule.forget(A)
    assert served(schedule, 1.0) == [B]


def test_a_name_that_was_forgotten_may_ask_again() -> None:
    schedule = asked((A, 1.0))
    schedule.forget(A)
    schedule.ask(A, Instant(3.0))
    assert served(schedule, 2.0) == []
    assert served(schedule, 3.0) == [A]


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.integers(0, 20), st.integers(0, 3)), max_size=40))
def test_nobody_waits_longer_than_asked_for(steps: list[tuple[Fqdn, int, int]]) -> None:
    """Against a dict of the earliest deadline of each: plain, and slow with thousands of names."""
    schedule, earliest = Schedule(), dict[Fqdn, float]()
    clock = accumulate(pause for _, _, pause in steps)
    for (name, ahead, _), now in zip(steps, clock, strict=True):
        schedule.ask(name, Instant(now + ahead))
        earliest[name] = min(earliest.get(name, now + ahead), now + ahead)
        due = {name for name, at in earliest.items() if at <= now}
        assert set(served(schedule, now)) == due
        earliest = {name: at for name, at in earliest.items() if name not in due}
        at = schedule.next_timeout()
        assert not earliest or (at is not None and at <= min(earliest.values()))
