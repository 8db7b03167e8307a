"""Measure every kind of move in the lab, and hold it against its limit.

    bench/moves.py [--runs 20] [--only CASE ...] [--json FILE] [--quick]

Each case has a lab of its own (BIND, real daemons), in which host a moves, or a and b do,
while they send to each other: UDP, a datagram of 64 bytes every millisecond, or TCP, a
write of 1,000 bytes every 5 ms, in each direction. docs/lab.md says what each row means.
Exit status 1 when a limit is not met.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a program, too, this is a part of `bench`

from bench.attempts import Attempt, measure
from bench.cases import CASES, Case, Row
from bench.environment import Environment, environment

from vipnet.cli.render import table
from vipnet.errors import VipnetError
from vipnet.lab import lifecycle
from vipnet.lab.figures import middle, worst

ROOT: Final = Path(__file__).parents[1]
RUNS: Final = 20
QUICK_RUNS: Final = 3
QUICK_OUTAGE_S: Final = 10.0  # longer ones are left out

EXPLANATION: Final = """\
All times are the kernel's, of arrival at the receiver. Without an outage: the longest
silence around the move, less the interval at which is sent. After an outage: from the end
of the ip command that completed the new place (address, link, route) to the first arrival
of anything sent over the pair's stream. Of several streams the slowest counts in each run.
floor: the same of bare UDP from the mover to r, outside vipnet, in the same moves.
RTT: of bare echo requests between a and b, before the moves. Lost, duplicated: of all runs;
for TCP what did not arrive once and in order. Refused by the kernel counts as lost."""


# --- results


class RowResult(Struct, frozen=True, kw_only=True):
    case: str
    title: str
    median_ms: float | None
    min_ms: float | None
    max_ms: float | None
    floor_ms: float | None
    rtt_ms: float | None
    limit: str
    limit_ms: float | None
    sent: int
    lost: int
    duplicated: int
    errors: int
    met: bool


class Report(Struct, frozen=True):
    """What --json writes; both dicts by case. `broken`: why a case has fewer attempts."""

    environment: Environment
    runs: int
    rows: tuple[RowResult, ...]
    attempts: dict[str, tuple[Attempt, ...]]
    broken: dict[str, str]
    schema: int = 1

    @property
    def met(self) -> bool:
        return all(row.met for row in self.rows)


def judge(name: str, attempts: Sequence[Attempt]) -> tuple[RowResult, ...]:
    """Median against limit; every message of every run once, and no connection broken."""
    case = CASES[name]
    floor_ms = middle(one.floor_ms for one in attempts)
    rtt_ms = middle(one.rtt_ms for one in attempts)
    errors = sum(len(one.errors) for one in attempts)
    return tuple(_judge_row(name, row, attempts, floor_ms, rtt_ms, errors) for row in case.rows)


def _judge_row(
    name: str,
    row: Row,
    attempts: Sequence[Attempt],
    floor_ms: float | None,
    rtt_ms: float | None,
    errors: int,
) -> RowResult:
    values = [_figure_ms(CASES[name], row, one) for one in attempts]
    median_ms, limit_ms = middle(values), row.limit_ms(floor_ms, rtt_ms)
    streams = [one.flows[flow.name] for one in attempts for flow in row.flows]
    lost = sum(one.lost + one.refused for one in streams)
    duplicated = sum(one.duplicated for one in streams)
    in_time = median_ms is not None and limit_ms is not None and median_ms <= limit_ms
    return RowResult(
        case=name,
        title=row.title,
        median_ms=median_ms,
        min_ms=min((value for value in values if value is not None), default=None),
        max_ms=worst(values),
        floor_ms=floor_ms,
        rtt_ms=rtt_ms,
        limit=row.limit(),
        limit_ms=limit_ms,
        sent=sum(one.sent for one in streams),
        lost=lost,
        duplicated=duplicated,
        errors=errors,
        met=in_time and not (lost or duplicated or errors),
    )


def _figure_ms(case: Case, row: Row, attempt: Attempt) -> float | None:
    if case.outage_s:
        return worst(attempt.returns_ms[flow.name] for flow in row.flows)
    return worst(attempt.flows[flow.name].switch_ms for flow in row.flows)


# --- the program


def run_cases(names: Sequence[str], runs: int) -> Report:
    where = environment()
    attempts: dict[str, tuple[Attempt, ...]] = {}
    broken: dict[str, str] = {}
    rows: list[RowResult] = []
    for name in names:
        done: list[Attempt] = []
        try:
            done.extend(measure(name, runs, _tell))
        except VipnetError as error:
            broken[name] = str(error)
            _tell(f"{name}: {error}")
        attempts[name] = tuple(done)
        for row in judge(name, done):
            rows.append(row if name not in broken else msgspec.structs.replace(row, met=False))
            _tell("  ".join(_cells(rows[-1])))
    return Report(where, runs, tuple(rows), attempts, broken)


def text(report: Report) -> str:
    where = report.environment
    head = ("CASE", "MEDIAN", "MIN", "MAX", "FLOOR", "LIMIT", "", "LOST", "DUPL.", "MET")
    lines = [
        f"vipnet {where.version} ({where.commit}), {report.runs} moves a case",
        f"Linux {where.kernel}, Python {where.python}, {where.cores} cores, load {where.load:.1f}",
        where.bind,
        "",
        *table(head, [_cells(row) for row in report.rows], widest=40),
        "",
        EXPLANATION,
    ]
    lines += [
        f"{name}, run {one.run}: {error}"
        for name, attempts in report.attempts.items()
        for one in attempts
        for error in one.errors
    ]
    lines += [f"{name}: {error}" for name, error in report.broken.items()]
    return "\n".join(lines)


def _cells(row: RowResult) -> tuple[str, ...]:
    times = (row.median_ms, row.min_ms, row.max_ms, row.floor_ms, row.limit_ms)
    shown = ["-" if value is None else f"{value:.1f}" for value in times]
    lost = f"{row.lost:,} of {row.sent:,}"
    return (row.title, *shown, row.limit, lost, f"{row.duplicated}", "yes" if row.met else "NO")


def _tell(line: str) -> None:
    print(f"moves: {line}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure every kind of move in the lab.")
    parser.add_argument("--runs", type=int, help="moves of each case (20)")
    parser.add_argument("--only", nargs="+", choices=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run's figures there")
    parser.add_argument("--quick", action="store_true", help="3 moves, no outage of 30 s")
    options = parser.parse_args()
    runs = options.runs or (QUICK_RUNS if options.quick else RUNS)
    if runs < 1:
        parser.error("--runs: at least 1")
    names = options.only or [
        name for name, case in CASES.items() if not options.quick or case.outage_s <= QUICK_OUTAGE_S
    ]
    try:
        with lifecycle.interrupts_raise():
            report = run_cases(names, runs)
    except KeyboardInterrupt:
        return 130
    print(text(report))
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return 0 if report.met else 1


if __name__ == "__main__":
    sys.exit(main())
