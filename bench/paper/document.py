"""All that was measured, as it stands in figures.json; what figures and claims are made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from bench.environment import Environment
from bench.paper.cells import PROFILES, Cell
from bench.paper.trial import Trace, Trial
from bench.stats import Line, Summary, straight_line, summarise
from msgspec import Struct, field


class Settings(Struct, frozen=True, kw_only=True):
    """What was asked for; `complete`: nothing of it is missing."""

    runs: int
    parts: tuple[str, ...]
    asides: tuple[str, ...] = ()
    quick: bool
    kernel: str
    complete: bool


class Document(Struct, kw_only=True):
    """What was measured.

    asides     what is no move (module aside), by name
    failed     why something is missing
    summaries  switches and floors in ms, by cell and stream; made at the end, for who quotes them
    lines      Figure 4's of UDP, by profile; in seconds
    """

    environment: Environment
    settings: Settings
    cells: tuple[Cell, ...]
    trials: list[Trial] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)
    asides: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    summaries: dict[str, dict[str, Summary]] = field(default_factory=dict)
    lines: dict[str, Line] = field(default_factory=dict)
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

    def dns_s(self, cell: Cell) -> float:
        """What questions about the partner took, on the wire; where none was asked, one right before."""
        if cell.bed.sleepy:  # on the wire there is nothing to see
            return cell.dns_ms / 1000
        trials = self.of(cell)
        times = [one for trial in trials for one in trial.answer_ms.values() if one is not None]
        times = times or [trial.asked_ms for trial in trials if trial.asked_ms is not None]
        return median(times) / 1000 if times else cell.dns_ms / 1000

    def rtt_ms(self, cell: Cell) -> float:
        """Between a and b, outside vipnet."""
        return float(median(trial.rtt_ms for trial in self.of(cell)))

    def step_name(self, cell: Cell) -> str | None:
        """What ended TCP's silence in most runs."""
        names = Counter(trial.story.came_by for trial in self.of(cell) if trial.story is not None)
        return names.most_common(1)[0][0] if names else None

    def udp_line(self, profile: str) -> Line | None:
        """Of Figure 4: switch against DNS latency, both in seconds. None: too few latencies."""
        cells = [cell for cell in self.cells_of("4", profile) if self.udp(cell).median is not None]
        if len(cells) < 2:
            return None
        return straight_line(
            [self.dns_s(cell) for cell in cells], [(self.udp(cell).median or 0) / 1000 for cell in cells]
        )

    def typical_trace(self, cell: Cell) -> Trace | None:
        """Of those that are kept the one whose switch is nearest to the median."""
        switches = {trial.run: switch_of(trial) for trial in self.of(cell)}
        middle = summarise(switches.values()).median
        near: list[tuple[float, int, Trace]] = []
        for one in self.traces:
            switch = switches.get(one.run) if one.cell == cell.key else None
            if switch is not None and middle is not None:
                near.append((abs(switch - middle), one.run, one))
        return min(near)[2] if near else None

    def sum_up(self) -> None:
        """Once all is measured. Of the traces only typical ones stay: the others show nothing more."""
        kept = [self.typical_trace(cell) for cell in self.cells]
        self.traces = [one for one in kept if one is not None]
        self.summaries = {
            cell.key: {"udp": self.udp(cell), "tcp": self.tcp(cell), "floor": self.floor(cell)}
            for cell in self.cells
            if self.of(cell)
        }
        lines = {profile: self.udp_line(profile) for profile in PROFILES}
        self.lines = {profile: line for profile, line in lines.items() if line is not None}

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


def agreement(one: Document, other: Document) -> tuple[int, list[str]]:
    """In how many cells' figures the intervals of two documents overlap, and where they do not."""
    agreed, apart = 0, []
    for cell in one.cells:
        for name, figure in _figures(cell):
            mine, theirs = figure(one), figure(other)
            if mine.overlaps(theirs):
                agreed += 1
            elif mine.runs and theirs.runs:
                apart.append(f"{cell.key} {name}: {mine.text('ms')}, {theirs.text('ms')}")
    return agreed, apart


def _figures(cell: Cell) -> Iterator[tuple[str, Callable[[Document], Summary]]]:
    kinds = {flow.name[:3] for flow in cell.flows}
    if "UDP" in kinds:
        yield "UDP", lambda document: document.udp(cell)
    if "TCP" in kinds:
        yield "TCP", lambda document: document.tcp(cell)
