"""All that was measured, as it stands in figures.json; what figures and claims are made from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from bench.environment import Environment
from bench.paper.cells import Cell
from bench.paper.trial import Trace, Trial
from bench.stats import Summary, summarise
from msgspec import Struct, field


class Settings(Struct, frozen=True, kw_only=True):
    """What was asked for; `complete`: nothing of it is missing."""

    runs: int
    parts: tuple[str, ...]
    quick: bool
    kernel: str
    complete: bool


class Document(Struct, kw_only=True):
    """`asides` hold what is no move (module aside), by name; `failed` why something is missing."""

    environment: Environment
    settings: Settings
    cells: tuple[Cell, ...]
    trials: list[Trial] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)
    asides: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    schema: int = 1

    def of(self, cell: Cell | str) -> list[Trial]:
        key = cell if isinstance(cell, str) else cell.key
        return [trial for trial in self.trials if trial.cell == key]

    def cells_of(self, part: str, profile: str | None = None, movers: str | None = None) -> list[Cell]:
        return [
            cell
            for cell in self.cells
            if cell.part == part
            and profile in (None, cell.bed.profile)
            and movers in (None, "".join(cell.movers))
        ]

    def udp(self, cell: Cell | str) -> Summary:
        return summarise(trial.udp.switch_ms for trial in self.of(cell) if trial.udp is not None)

    def tcp(self, cell: Cell | str) -> Summary:
        return summarise(trial.tcp.switch_ms for trial in self.of(cell) if trial.tcp is not None)

    def floor(self, cell: Cell | str) -> Summary:
        return summarise(trial.floor_ms for trial in self.of(cell))

    def typical_trace(self, cell: Cell) -> Trace | None:
        """Of the trial whose switch is nearest to the median."""
        trials = [one for one in self.of(cell) if switch_of(one) is not None]
        middle = summarise(switch_of(one) for one in trials).median
        if middle is None:
            return None
        run = min(trials, key=lambda one: abs((switch_of(one) or 0) - middle)).run
        return next((one for one in self.traces if (one.cell, one.run) == (cell.key, run)), None)

    def keep_typical_traces(self) -> None:
        """Drop the others: they would make the document large and show nothing more."""
        kept = [self.typical_trace(cell) for cell in self.cells]
        self.traces = [one for one in kept if one is not None]

    def write(self, file: Path) -> None:
        """In one step: whatever happens, there is a whole document."""
        fresh = file.with_suffix(".new")
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")
        fresh.replace(file)


def read(file: Path) -> Document:
    """Raise OSError, msgspec.DecodeError."""
    return msgspec.json.decode(file.read_bytes(), type=Document)


def switch_of(trial: Trial) -> float | None:
    """Of a trial with one stream."""
    stream = trial.udp or trial.tcp
    return None if stream is None else stream.switch_ms


def agreement(one: Document, other: Document) -> tuple[int, int]:
    """In how many cells' figures the intervals of two documents overlap, and of how many."""
    pairs = [
        (mine(one), mine(other))
        for cell in one.cells
        if cell.key in {theirs.key for theirs in other.cells}
        for mine in _figures(cell)
    ]
    both = [(a, b) for a, b in pairs if a.runs and b.runs]
    return sum(a.overlaps(b) for a, b in both), len(both)


def _figures(cell: Cell) -> Iterable[Any]:
    flows: Sequence[str] = [flow.name[:3] for flow in cell.flows]
    if "UDP" in flows:
        yield lambda document: document.udp(cell)
    if "TCP" in flows:
        yield lambda document: document.tcp(cell)
