"""bench/peers.py: moments, order, and who is said to be ahead."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.support import need_module

need_module("scipy")

from bench.overlays.tinc import Tinc  # noqa: E402
from bench.peers import Plan, cells, measure, rank, text  # noqa: E402 - scipy has to be there
from bench.stats import summarise  # noqa: E402
from bench.turns import CASES, VARIANTS, Key, Limits, Turn  # noqa: E402


def turn(variant: str, switch_ms: float | None, *, run: int = 1, floor_ms: float = 10.0) -> Turn:
    return Turn(
        variant=variant,
        case="udp-two-sided",
        run=run,
        lane=0,
        version="1",
        warm_up_s=1.0,
        recovered=switch_ms is not None,
        switch_ms=switch_ms,
        floor_ms=floor_ms,
        over_floor_ms=None if switch_ms is None else switch_ms - floor_ms,
        sent=100,
        lost=0 if switch_ms is not None else 90,
        duplicated=0,
        refused=0,
        moves=(),
        errors=(),
    )


def plan(runs: int = 2, seed: int = 1) -> Plan:
    return Plan(tuple(VARIANTS), tuple(CASES), runs, 1, seed, Limits())


def test_every_variant_meets_every_case_in_every_run_once() -> None:
    keys = plan().keys()
    assert Counter(keys) == Counter(
        Key(run, case, variant) for run in (1, 2) for case in CASES for variant in VARIANTS
    )


def test_variants_take_turns() -> None:
    """Not one overlay after the other: in the first quarter of a run nearly all have had a turn."""
    keys = plan(runs=1).keys()
    assert len({key.variant for key in keys[: len(keys) // 4]}) > len(VARIANTS) * 3 // 4


def test_moments_cover_the_slowest_timer_and_repeat_by_their_seed() -> None:
    for variant in ("nebula", "tinc, shortest"):
        times = [Key(run, "udp-two-sided", variant).warm_up_s(1, Limits()) for run in range(1000)]
        timer_s = VARIANTS[variant].timer_s
        for tenth in range(10):
            share = sum(timer_s * tenth / 10 <= time - 1 < timer_s * (tenth + 1) / 10 for time in times)
            assert 60 < share < 140
        assert times == [Key(run, "udp-two-sided", variant).warm_up_s(1, Limits()) for run in range(1000)]
        assert times[0] != Key(0, "udp-two-sided", variant).warm_up_s(2, Limits())


def test_a_quick_look_does_not_wait_for_slow_timers() -> None:
    limits = Limits(warm_up_s=3)
    assert all(Key(run, "udp-two-sided", "nebula").warm_up_s(1, limits) <= 4 for run in range(100))


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([1.0, 2.0, 3.0], [100.0, 200.0, 300.0], "ahead"),
        ([100.0, 200.0, 300.0], [1.0, 2.0, 3.0], "behind"),
        ([1.0, 2.0, 3.0], [2.5, 2.6, 2.7], "level"),
        ([1.0, 2.0, 3.0], [None, None, None], "ahead"),
        ([None, None, None], [1.0, 2.0, 3.0], "behind"),
        ([None, None, None], [None, None, None], "level"),
    ],
)
def test_who_is_ahead(ours: list[float | None], theirs: list[float | None], expected: str) -> None:
    assert rank(summarise(ours), summarise(theirs)) == expected


def test_a_run_without_recovery_hides_in_no_cell() -> None:
    turns = [turn("vipnet", 11.0, run=run) for run in (1, 2, 3)]
    turns += [turn("tinc", time, run=run) for run, time in ((1, 500.0), (2, None), (3, None))]
    ours, theirs = cells(turns)
    assert (ours.variant, ours.recovered, ours.switch_ms.median, ours.vipnet_is) == ("vipnet", 3, 11.0, None)
    assert (theirs.recovered, theirs.switch_ms.never, theirs.switch_ms.median) == (1, 2, None)
    assert theirs.lost.median == 90
    assert theirs.vipnet_is == "ahead"


def test_what_is_not_installed_is_left_out_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tinc, "programs", ("sh", "no-such-program", "/no/such/file"))
    tincs = tuple(name for name in VARIANTS if name.startswith("tinc"))
    found = measure(Plan(tincs, ("udp-two-sided",), 1, 1, 1, Limits()))
    assert found.left_out == {name: ["no-such-program", "/no/such/file"] for name in tincs}
    assert found.turns == ()
    assert "left out: tinc (no-such-program, /no/such/file)" in text(found)


def test_a_slow_network_is_not_the_overlays_fault() -> None:
    """The same 2 ms over the floor, in moves of which one took four times as long."""
    turns = [turn("vipnet", 42.0, run=run, floor_ms=40.0) for run in (1, 2, 3)]
    turns += [turn("tinc", 12.0, run=run, floor_ms=10.0) for run in (1, 2, 3)]
    _, theirs = cells(turns)
    assert theirs.vipnet_is == "level"
