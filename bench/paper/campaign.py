"""All that one call of `bench/figures.py` measures: in which order, how many labs at once, how far it is."""

from __future__ import annotations

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
from typing import Final

from bench.paper.aside import ASIDES
from bench.paper.bed import Bed, make_bed
from bench.paper.cells import Cell
from bench.paper.document import Document
from bench.paper.trial import measure
from tqdm import tqdm

from vipnet.errors import VipnetError

Job = Callable[[], None]

BED_S: Final = 6.0  # to build a lab and take it down
_WAITING_ASIDES: Final = frozenset({"lease"})


class Campaign:
    """What DOCUMENT plans and does not have yet; it is written to FILE after each move.

    Up to AT_ONCE labs work side by side where mostly DNS is waited for, and always for a quick look;
    else one alone, for whatever else the machine does is in the figures.
    """

    def __init__(self, document: Document, file: Path, at_once: int) -> None:
        self.document, self._file = document, file
        hurry = document.settings.quick
        self._measured = {(trial.cell, trial.run) for trial in document.trials}
        missing = [cell for cell in document.cells if self._runs_of(cell)]
        side_by_side, alone = shards(missing, at_once, hurry=hurry)
        asides = [name for name in document.settings.asides if name not in document.asides]
        self._labs = len(side_by_side) + len(alone)
        waiting = [name for name in asides if hurry or name in _WAITING_ASIDES]
        together: list[Job] = [partial(self._try_aside, name) for name in waiting]
        together += [partial(self._measure_lab, lab, f"s{place}") for place, lab in enumerate(side_by_side)]
        after: list[Job] = [partial(self._measure_lab, lab, f"{place}") for place, lab in enumerate(alone)]
        after += [partial(self._try_aside, name) for name in asides if name not in waiting]
        self._phases = ((at_once, together), (1, after))
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._bar = tqdm(
            total=math.ceil(self._expected_s(missing, asides)),
            disable=None if sys.stderr.isatty() else False,
            mininterval=0.5,
            bar_format="{percentage:3.0f}% |{bar:24}| {elapsed} gone, {remaining} left  {desc}",
        )

    def _runs_of(self, cell: Cell) -> list[int]:
        """Those that are missing."""
        runs = range(1, self.document.settings.runs + 1)
        return [run for run in runs if (cell.key, run) not in self._measured]

    def _expected_s(self, cells: Iterable[Cell], asides: Iterable[str]) -> float:
        moves_s = sum(len(self._runs_of(cell)) * cell.expected_s for cell in cells)
        return moves_s + BED_S * self._labs + sum(ASIDES[name][1] for name in asides)

    def run(self) -> None:
        """Raise KeyboardInterrupt or SystemExit when told to; the document has what there is till then."""
        with contextlib.closing(self._bar):
            for lanes, jobs in self._phases:
                with ThreadPoolExecutor(lanes) as pool:
                    futures = [pool.submit(job) for job in jobs]
                    try:
                        for future in futures:
                            future.result()
                    except BaseException:
                        self._stop.set()  # labs go down before this ends; another Ctrl-C must not
                        signal.signal(signal.SIGINT, signal.SIG_IGN)  # leave half of one
                        raise

    def _measure_lab(self, cells: Sequence[Cell], label: str) -> None:
        """All runs of all CELLS of one lab; in rounds, so that whatever comes and goes hits all alike."""
        if self._stop.is_set():
            return
        try:
            with make_bed(cells[0].bed, f"figures-{os.getpid()}-{label}") as bed:
                self._advance(BED_S)
                for run in range(1, self.document.settings.runs + 1):
                    for cell in cells:
                        if self._stop.is_set():
                            return
                        if (cell.key, run) not in self._measured:
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
            self.document.write(self._file)
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


def shards(
    cells: Sequence[Cell], at_once: int, *, hurry: bool = False
) -> tuple[list[list[Cell]], list[list[Cell]]]:
    """CELLS by lab: those that can share the machine, and those that want it alone.

    What mostly waits is dealt out to several labs of its kind, slow and quick ones alike.
    """
    shared = [cell for cell in cells if at_once > 1 and (hurry or cell.mostly_waits)]
    dealt = _by_bed(shared)
    if not hurry:
        dealt = [lab[first::at_once] for lab in dealt for first in range(min(at_once, len(lab)))]
    dealt.sort(key=lambda lab: -sum(cell.expected_s for cell in lab))
    return dealt, _by_bed([cell for cell in cells if cell not in shared])


def _by_bed(cells: Sequence[Cell]) -> list[list[Cell]]:
    return [list(found) for _, found in groupby(cells, key=lambda cell: cell.bed)]
