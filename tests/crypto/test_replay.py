from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnet.crypto.replay import ReplayWindow
from vipnet.policy import REPLAY_WINDOW

SIZE = 64  # small, so that everything happens at its edges


class NaiveWindow:
    """The same with a set: what ReplayWindow has to do, plainly."""

    def __init__(self, size: int) -> None:
        self.size, self.highest = size, -1
        self.received: set[int] = set()

    @property
    def lowest(self) -> int:
        return max(0, self.highest - self.size + 1)

    def is_fresh(self, counter: int) -> bool:
        return counter >= self.lowest and counter not in self.received

    def mark(self, counter: int) -> None:
        self.received.add(counter)
        self.highest = max(self.highest, counter)

    def missing(self) -> set[int]:
        return set(range(self.lowest, self.highest + 1)) - self.received


def steps(size: int) -> st.SearchStrategy[list[int]]:
    """Counters, each as the distance from the highest before: mostly near, some far ahead or behind."""
    small = st.integers(-9, 9)
    near = st.integers(-size - 9, size + 9)
    far = st.integers(-4 * size, 4 * size) | st.sampled_from([2**32, 2**40])
    return st.lists(small | small | small | near | small | small | small | far, max_size=120)


sizes_and_steps = st.sampled_from([8, 16, SIZE]).flatmap(lambda size: st.tuples(st.just(size), steps(size)))


def fill(distances: list[int], size: int) -> tuple[ReplayWindow, NaiveWindow]:
    window, naive = ReplayWindow(size), NaiveWindow(size)
    for distance in distances:
        counter = max(0, naive.highest + distance)
        assert window.is_fresh(counter) is naive.is_fresh(counter)
        if naive.is_fresh(counter):
            window.mark(counter)
            naive.mark(counter)
        assert not window.is_fresh(counter)
        assert window.highest == naive.highest
    return window, naive


@given(sizes_and_steps)
def test_same_as_a_set(case: tuple[int, list[int]]) -> None:
    size, distances = case
    window, naive = fill(distances, size)
    for counter in range(max(0, naive.highest - 2 * size), naive.highest + 2 * size):
        assert window.is_fresh(counter) is naive.is_fresh(counter)


@given(steps(SIZE), st.integers(1, 40))
def test_report_tells_what_is_missing(distances: list[int], max_gaps: int) -> None:
    window, naive = fill(distances, SIZE)
    base, highest, gaps = window.report(max_gaps)
    if naive.highest < 0:
        assert (base, highest, gaps) == (0, 0, ((0, 1),))
        return
    assert highest == naive.highest
    assert len(gaps) <= max_gaps
    assert 0 <= base <= highest
    told = [base + offset + step for offset, length in gaps for step in range(length)]
    assert told == sorted(set(told))
    # Everything missing is told; for want of room the oldest gaps become one.
    assert naive.missing() <= set(told)
    if len(gaps) < max_gaps:
        assert set(told) == naive.missing()
    newer = {counter for counter in told if counter >= base + sum(gaps[0])}
    assert newer <= naive.missing()
    # Runs are as long as they can be, so that room is well used.
    ends = [base + offset + length for offset, length in gaps]
    assert all(end in naive.received for end in ends)


def test_report_examples() -> None:
    """docs/protocol.md, "The replay window"."""
    window = ReplayWindow()
    for counter in (0, 1, 4, 5, 6, 9):
        window.mark(counter)
    assert window.report(8) == (2, 9, ((0, 2), (5, 2)))
    assert window.report(1) == (2, 9, ((0, 7),))


def test_a_duplicate_is_not_fresh_and_the_window_ends_where_it_should() -> None:
    window = ReplayWindow()
    window.mark(REPLAY_WINDOW + 99)
    assert not window.is_fresh(REPLAY_WINDOW + 99)
    assert not window.is_fresh(99)
    assert window.is_fresh(100)
    window.mark(100)
    assert not window.is_fresh(100)
    assert window.is_fresh(2**64 - 1)


def test_asking_changes_nothing() -> None:
    window = ReplayWindow(SIZE)
    window.mark(5)
    assert window.is_fresh(2**40)
    assert window.highest == 5
    assert window.is_fresh(4)


def test_every_counter_in_order_for_several_rounds_of_the_ring() -> None:
    window = ReplayWindow(SIZE)
    for counter in range(10 * SIZE):
        assert window.is_fresh(counter)
        window.mark(counter)
    assert window.report(4) == (10 * SIZE - 1, 10 * SIZE - 1, ())


def test_what_the_ring_held_before_is_forgotten_block_by_block() -> None:
    window = ReplayWindow(SIZE)
    for counter in range(SIZE + 8):  # once round the ring of SIZE + 8 bits
        window.mark(counter)
    for counter in range(SIZE + 8 + 7, 4 * SIZE, 8):  # only the last of each block
        window.mark(counter)
        assert all(window.is_fresh(skipped) for skipped in range(counter - 7, counter))


def test_marking_below_the_window_is_our_mistake() -> None:
    window = ReplayWindow(SIZE)
    window.mark(SIZE)
    with pytest.raises(ValueError, match="below the window"):
        window.mark(0)
    window.mark(1)


@pytest.mark.parametrize("size", [0, -8, 7, 63])
def test_refused_sizes(size: int) -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        ReplayWindow(size)
