"""Figures 2a, 2b, 3 and 4 of the paper, and what else its section 4 claims, measured on this machine.

    bench/figures.py [--runs 10] [--only PART ...] [--quick] [--kernel 2001] [--out DIR]

In the lab, with BIND, by tcpdump on the receiving host. Writes into DIR: report.md, report.html,
figures.json (every run), and each figure as CSV, SVG and PNG. An interrupted run leaves what it has.
Exit status 1 when something could not be measured.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Final, get_args

import msgspec
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a program, too, this is a part of `bench`

from bench.environment import environment
from bench.paper.aside import ASIDES
from bench.paper.bed import Bed, make_bed
from bench.paper.cells import PARTS, Cell, Kernel, Part, plan
from bench.paper.document import Document, Settings, agreement, read
from bench.paper.report import write_report
from bench.paper.trial import measure

from vipnet.errors import VipnetError
from vipnet.lab import lifecycle

ROOT: Final = Path(__file__).parents[1]
RUNS: Final = 10
BED_S: Final = 6.0  # to build a lab and take it down
QUICK_PARTS: Final[tuple[Part, ...]] = ("2a", "2b", "3", "4")
QUICK_LANES: Final = 2

DOCUMENT: Final = "figures.json"


class Run:
    """One call of the program: what is to be measured, and how far it is."""

    def __init__(self, document: Document, asides: Sequence[str], out: Path) -> None:
        self.document, self._asides, self._out = document, asides, out
        self._beds = [list(cells) for _, cells in groupby(document.cells, key=lambda cell: cell.bed)]
        self._lock = threading.Lock()
        self._stop = threading.Event()
        runs = document.settings.runs
        total_s = sum(runs * cell.expected_s for cell in document.cells) + BED_S * len(self._beds)
        total_s += sum(ASIDES[name][1] for name in asides)
        self._bar = tqdm(
            total=math.ceil(total_s),
            disable=None if sys.stderr.isatty() else False,
            mininterval=0.5,
            bar_format="{percentage:3.0f}% |{bar:24}| {elapsed} gone, {remaining} left  {desc}",
        )

    def everything(self, lanes: int) -> None:
        """LANES labs at a time: 1 for figures that are to be believed."""
        jobs: list[Callable[[], None]] = []
        with contextlib.ExitStack() as stack, ThreadPoolExecutor(lanes) as pool:
            stack.callback(self._bar.close)
            jobs += [partial(self._measure_bed, cells, number) for number, cells in enumerate(self._beds)]
            jobs += [partial(self._try_aside, name) for name in self._asides]
            futures = [pool.submit(job) for job in jobs]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                self._stop.set()  # labs go down before this ends; a second Ctrl-C must not leave half of one
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                raise

    def _measure_bed(self, cells: Sequence[Cell], number: int) -> None:
        """All runs of all CELLS of one lab; in rounds, so that whatever comes and goes hits all alike."""
        if self._stop.is_set():
            return
        try:
            with make_bed(cells[0].bed, f"figures-{os.getpid()}-{number}") as bed:
                self._advance(BED_S)
                for run in range(1, self.document.settings.runs + 1):
                    for cell in cells:
                        if self._stop.is_set():
                            return
                        self._measure_cell(bed, cell, run)
        except VipnetError as error:
            self._fail(f"all from {cells[0].key} to {cells[-1].key}", error)

    def _measure_cell(self, bed: Bed, cell: Cell, run: int) -> None:
        self._bar.set_description_str(f"{cell.key}, run {run}")
        try:
            trial, trace = measure(bed, cell, run)
        except VipnetError as error:
            self._fail(f"{cell.key}, run {run}", error)
            bed.settle()
            return
        with self._lock:
            self.document.trials.append(trial)
            if trace is not None:
                self.document.traces.append(trace)
            self.document.write(self._out / DOCUMENT)
        self._advance(cell.expected_s)

    def _try_aside(self, name: str) -> None:
        if self._stop.is_set():
            return
        self._bar.set_description_str(name.replace("_", " "))
        try_it, takes_s = ASIDES[name]
        try:
            found = try_it(f"figures-{os.getpid()}-{name[:3]}")
            with self._lock:
                self.document.asides[name] = found
        except VipnetError as error:
            self._fail(name, error)
        self._advance(takes_s)

    def _advance(self, seconds: float) -> None:
        with self._lock:
            self._bar.update(round(seconds, 1))

    def _fail(self, what: str, error: Exception) -> None:
        with self._lock:
            self.document.failed[what] = str(error)
        self._bar.write(f"figures: {what}: {error}", file=sys.stderr)


def main(arguments: Iterable[str] | None = None) -> int:
    options = _options(arguments)
    if options.compare:
        return _compare(*options.compare)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    parts = options.only or (QUICK_PARTS if options.quick else PARTS)
    kernel: Kernel = options.kernel
    settings = Settings(
        runs=options.runs or (1 if options.quick else RUNS),
        parts=tuple(parts),
        quick=options.quick,
        kernel=kernel,
        complete=False,
    )
    cells = plan([part for part in parts if part in PARTS], quick=options.quick, kernel=kernel)
    asides = [name for name in ASIDES if name in parts or not (options.only or options.quick)]
    document = Document(environment=environment(), settings=settings, cells=tuple(cells))
    status = 130
    try:
        with lifecycle.interrupts_raise():
            Run(document, asides, out).everything(lanes=QUICK_LANES if options.quick else 1)
        status = 1 if document.failed else 0
        document.settings = msgspec.structs.replace(settings, complete=not document.failed)
    except KeyboardInterrupt:
        print("figures: interrupted; the report has what was measured", file=sys.stderr)
    finally:
        document.sum_up()
        document.write(out / DOCUMENT)
        write_report(document, out)
    print(f"{out / 'report.html'}\n{out / 'report.md'}")
    return status


def _options(arguments: Iterable[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The paper's Figures 2a, 2b, 3 and 4, on this machine.")
    parser.add_argument("--runs", type=int, help=f"moves of each cell ({RUNS}; 1 with --quick)")
    parser.add_argument(
        "--only", nargs="+", choices=[*PARTS, *ASIDES], metavar="PART", help=", ".join([*PARTS, *ASIDES])
    )
    parser.add_argument("--quick", action="store_true", help="less than a minute: a look, no measurement")
    parser.add_argument(
        "--kernel",
        choices=get_args(Kernel),
        default="today",
        help="2001: a TCP without RACK and tail loss probes",
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "figures", metavar="DIR", help="where all goes (figures/)"
    )
    parser.add_argument(
        "--compare", nargs=2, type=Path, metavar="DIR", help="how often the intervals of two runs overlap"
    )
    options = parser.parse_args(None if arguments is None else list(arguments))
    if options.runs is not None and options.runs < 1:
        parser.error("--runs: at least 1")
    return options


def _compare(one: Path, other: Path) -> int:
    overlapping, of = agreement(read(one / DOCUMENT), read(other / DOCUMENT))
    print(f"the intervals of {overlapping} of {of} cells overlap")
    return 0 if of and overlapping >= 0.9 * of else 1


if __name__ == "__main__":
    sys.exit(main())
