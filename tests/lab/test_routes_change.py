"""A second interface comes and goes, and the default route changes: make before break."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

from tests.lab.conftest import LabFactory
from tests.lab.labs import Lab, wait_until
from tests.lab.streams import Stream, check_nothing_lost, streams

_WATCHED_S: Final = 1.0  # of each state, and of each change
_RATIO: Final = 4.0  # a gap of one ordinary spread more is the machine's, not the change's
_OTHER_ROUTE: Final = ("default", "via", "10.201.2.1", "dev", "eth1", "metric", "50")


def seen_at(lab: Lab, address: str) -> bool:
    """Whether b sends to a there."""
    return [peer["locator"].rpartition(":")[0] for peer in lab.ask("b", "peers")["peers"]] == [address]


def longest_gap_ms(stream: Stream, begin_ns: int, end_ns: int) -> float:
    """Between two arrivals of which one is between these instants."""
    times = [at for _, at in stream.arrivals]
    gaps = [later - earlier for earlier, later in pairwise(times) if later >= begin_ns and earlier <= end_ns]
    assert gaps, "the stream did not flow then"
    return max(gaps) / 1e6


def check_no_gap(found: Iterable[Stream], quiet: tuple[int, int], changes: dict[str, tuple[int, int]]) -> str:
    """Fail when a change makes a longer silence than the machine does by itself in the same run."""
    said = []
    for stream in found:
        ordinary = longest_gap_ms(stream, *quiet)
        for what, when in changes.items():
            gap = longest_gap_ms(stream, *when)
            said.append(f"{what} {gap:.0f}/{ordinary:.0f} ms")
            assert gap <= _RATIO * ordinary, f"{stream.name}: {gap:.0f} ms at {what}, {ordinary:.0f} before"
    return ", ".join(said)


def test_make_before_break_delays_nothing(
    new_lab: LabFactory, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    lab = new_lab()
    changes = {}

    def watch(change: Callable[[], object]) -> tuple[int, int]:
        begin_ns = time.monotonic_ns()
        change()
        time.sleep(_WATCHED_S)
        running.go_on("after the change")
        return begin_ns, time.monotonic_ns()

    with streams(lab, tmp_path, {"a": ["b"], "b": ["a"]}) as running:
        # The same work as for a change, so that starting programs is in both.
        quiet = watch(lambda: lab.on("a", "ip", "route", "replace", "blackhole", "192.0.2.0/24"))
        changes["a second interface comes"] = watch(lambda: lab.move("a", "--kind", "add"))
        assert seen_at(lab, "10.201.1.10"), "the first one is preferred"
        changes["the default route changes"] = watch(lambda: lab.on("a", "ip", "route", "add", *_OTHER_ROUTE))
        wait_until(partial(seen_at, lab, "10.201.2.10"), "b sends to the new one")
        assert lab.ask("a", "moves")["moves"][-1]["cause"] == "route"
        changes["the old interface goes"] = watch(lambda: lab.move("a", "--kind", "remove", "--lan", "1"))
        assert seen_at(lab, "10.201.2.10")
        found = running.finish()
    figure(check_nothing_lost(found))
    figure(check_no_gap(found, quiet, changes))


def test_the_preferred_of_two_interfaces_goes(
    new_lab: LabFactory, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    lab = new_lab()
    lab.move("a", "--kind", "add")
    with streams(lab, tmp_path, {"a": ["b"], "b": ["a"]}) as running:
        lab.move("a", "--kind", "remove", "--lan", "1")
        running.go_on("over the second interface")
        assert seen_at(lab, "10.201.2.10")
        figure(check_nothing_lost(running.finish()))
