"""A claim of the paper as a row of the report, and words for what a document holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Literal

from bench.paper.cells import Cell
from bench.paper.document import Document
from bench.paper.trial import Trial
from bench.stats import Summary, summarise
from msgspec import Struct

Verdict = Literal["holds", "does not hold", "differs", "not measured", ""]  # "": there is no number to hold

NONE: Final = "not measured"
SAME: Final = "as by default"


class Row(Struct, frozen=True, kw_only=True):
    """One claim. `floor`: the same of the bare change of address, where that means anything."""

    id: str
    claim: str
    paper: str
    ours_paper: str = NONE
    ours_default: str = NONE
    floor: str = ""
    why: str = ""
    verdict: Verdict = ""


def by_profile(
    document: Document, part: str, movers: str, figure: Callable[[Cell], Summary]
) -> dict[str, Summary]:
    found = {}
    for profile in ("paper", "default"):
        cells = document.cells_of(part, profile, movers)
        found[profile] = figure(cells[0]) if cells else summarise(())
    return found


def trials_of(document: Document, part: str, profile: str) -> list[Trial]:
    return [trial for cell in document.cells_of(part, profile) for trial in document.of(cell)]


def in_ms(found: Summary) -> str:
    return found.text("ms")


def floor(document: Document, part: str, movers: str) -> str:
    cells = document.cells_of(part, None, movers)
    return summarise(trial.floor_ms for cell in cells for trial in document.of(cell)).text("ms")


def steps(document: Document, part: str, profile: str) -> str:
    names = [trial.story.came_by for trial in trials_of(document, part, profile) if trial.story is not None]
    return ", ".join(f"{name} ({names.count(name)})" for name in dict.fromkeys(sorted(names))) or NONE


def judge(found: Summary, good: Callable[[float], bool]) -> Verdict:
    if not found.runs:
        return NONE
    return "holds" if found.median is not None and good(found.median) else "does not hold"


def verdicts(rows: Iterable[Row]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.verdict or "shown"] = counts.get(row.verdict or "shown", 0) + 1
    return counts
