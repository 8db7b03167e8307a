"""bench/moves.py: how it judges, and that it measures what it says and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench import moves
from bench.attempts import Attempt
from bench.cases import CASES
from tests.lab.labs import wait_until
from tests.schema import hold
from tests.support import need_program, need_root

from vipnet.lab.figures import FlowFigures

SCRIPT = str(moves.__file__)


def attempt(
    case: str,
    times_ms: dict[str, float | None],
    *,
    floor_ms: float | None = 5.0,
    lost: int = 0,
    duplicated: int = 0,
    refused: int = 0,
    errors: tuple[str, ...] = (),
) -> Attempt:
    """A run in which each stream took that long; the wrong one of the two figures is absurd."""
    after_outage = bool(CASES[case].outage_s)
    return Attempt(
        run=1,
        lab="x",
        rtt_ms=2.0,
        floor_ms=floor_ms,
        outage_ms=0.0,
        moves=(),
        flows={
            flow: FlowFigures(9_999.0 if after_outage else ms, 1_000, lost, duplicated, refused, True)
            for flow, ms in times_ms.items()
        },
        returns_ms={flow: ms if after_outage else -9_999.0 for flow, ms in times_ms.items()},
        vipnet={},
        errors=errors,
    )


def tcp(case: str, ms: float | None, **changes: Any) -> Attempt:
    return attempt(case, {"TCP_A_B": ms, "TCP_B_A": 1.0}, **changes)


@pytest.mark.parametrize(
    ("case", "limit", "limit_ms"),
    [
        ("tcp-one-sided", "floor + 10 ms", 15.0),
        ("tcp-two-sided", "floor + 30 ms", 35.0),
        ("outage-30", "RTT + 15 ms", 17.0),
    ],
)
def test_limits(case: str, limit: str, limit_ms: float) -> None:
    (row,) = moves.judge(case, [tcp(case, limit_ms)])
    assert (row.limit, row.limit_ms, row.median_ms, row.met) == (limit, limit_ms, limit_ms, True)
    (row,) = moves.judge(case, [tcp(case, limit_ms + 0.1)])
    assert not row.met


def test_three_round_trips() -> None:
    (row,) = moves.judge("second-interface", [attempt("second-interface", {"UDP_A_B": 1.0, "UDP_B_A": 1.0})])
    assert (row.limit, row.limit_ms) == ("3 x RTT + 10 ms", 16.0)


def test_directions_are_rows_of_their_own_for_udp() -> None:
    sends, receives = moves.judge(
        "udp-one-sided", [attempt("udp-one-sided", {"UDP_A_B": 8.0, "UDP_B_A": 80.0})]
    )
    assert (sends.median_ms, sends.met) == (8.0, True)
    assert (receives.median_ms, receives.met) == (80.0, False)


def test_the_slower_stream_of_the_median_run_counts() -> None:
    runs = [tcp("tcp-one-sided", ms, floor_ms=floor) for ms, floor in ((12.0, 4.0), (40.0, 5.0), (13.0, 6.0))]
    (row,) = moves.judge("tcp-one-sided", runs)
    assert (row.median_ms, row.min_ms, row.max_ms, row.floor_ms) == (13.0, 12.0, 40.0, 5.0)
    assert row.met


@pytest.mark.parametrize(
    "harm",
    [{"lost": 1}, {"duplicated": 1}, {"refused": 1}, {"errors": ("TCP_A_B: timed out",)}, {"floor_ms": None}],
)
def test_speed_alone_is_not_enough(harm: dict[str, Any]) -> None:
    (row,) = moves.judge(
        "tcp-one-sided", [tcp("tcp-one-sided", 8.0)] * 9 + [tcp("tcp-one-sided", 8.0, **harm)]
    )
    assert not row.met


def test_a_stream_that_never_came_back_is_no_median() -> None:
    runs = [tcp("outage-3", 3.0), tcp("outage-3", 3.0), tcp("outage-3", None)]
    (row,) = moves.judge("outage-3", runs)
    assert (row.median_ms, row.min_ms, row.max_ms, row.met) == (None, 3.0, None, False)


def test_nothing_measured_is_not_met() -> None:
    (row,) = moves.judge("nat", [])
    assert (row.median_ms, row.met) == (None, False)


def left_behind(pid: int) -> list[Path]:
    found = [*Path("/run/netns").glob(f"vipnet-bench-{pid}-*")]
    return [*found, *Path("/run/vipnet-lab").glob(f"bench-{pid}-*")]


def test_one_run(tmp_path: Path) -> None:
    need_root()
    need_program("ip", "named", "ping")
    file = tmp_path / "moves.json"
    command = [sys.executable, SCRIPT, "--runs", "1", "--only", "udp-one-sided", "--json", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        output, progress = process.communicate(timeout=90)
    assert process.returncode in (0, 1), progress
    report = json.loads(file.read_bytes())
    hold(report, "bench-moves")
    assert [row["title"] for row in report["rows"]] == [row.title for row in CASES["udp-one-sided"].rows]
    assert all(row["sent"] > 500 and row["median_ms"] > 0 and row["floor_ms"] > 0 for row in report["rows"])
    assert all(row["title"] in output for row in report["rows"])
    assert (process.returncode == 0) == all(row["met"] for row in report["rows"])
    assert not left_behind(process.pid)


def test_an_interrupt_takes_the_lab_down(tmp_path: Path) -> None:
    need_root()
    need_program("ip", "named", "ping", "nft")
    progress = tmp_path / "progress"
    command = [sys.executable, SCRIPT, "--runs", "99", "--only", "nat"]
    with (
        progress.open("wb") as file,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file) as process,
    ):
        wait_until(lambda: "run 2 of 99" in progress.read_text(), "moves are being measured")
        assert left_behind(process.pid)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == 130
    assert not left_behind(process.pid)
