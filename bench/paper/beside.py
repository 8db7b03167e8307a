"""What was measured besides: other overlays (bench/peers.py) and applications, as tables of the report."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import msgspec
from bench.applications import MOVERS
from bench.applications import Document as Applications
from bench.applications import Row as ApplicationRow
from bench.environment import Environment
from bench.peers import Cell
from bench.peers import Document as Peers
from bench.stats import shown
from msgspec import Struct


class Table(Struct, frozen=True, kw_only=True):
    """`file` without suffix: the CSV. `words` stand above it, `notes` below."""

    file: str
    title: str
    words: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


class Beside(Struct, frozen=True):
    peers: Peers | None = None
    applications: Applications | None = None


def read_beside(peers: Path | None, applications: Path | None) -> Beside:
    """Raise OSError, msgspec.DecodeError."""
    return Beside(
        None if peers is None else msgspec.json.decode(peers.read_bytes(), type=Peers),
        None if applications is None else msgspec.json.decode(applications.read_bytes(), type=Applications),
    )


def tables(beside: Beside, out: Path) -> list[Table]:
    """Write the CSV of each into OUT."""
    found = []
    if beside.peers is not None:
        found.append(_peers(beside.peers))
        _write(out / "peers.csv", _PEERS_HEADS, [_peers_line(cell) for cell in beside.peers.cells])
    if beside.applications is not None:
        found.append(_applications(beside.applications))
        rows = beside.applications.rows
        _write(
            out / "applications.csv",
            ApplicationRow.__struct_fields__,
            [msgspec.structs.astuple(row) for row in rows],
        )
    return found


# --- other overlays


def _peers(document: Peers) -> Table:
    cells = {(cell.variant, cell.case): cell for cell in document.cells}
    return Table(
        file="peers",
        title="Beside other overlays",
        words=f"The same moves, {_runs(document.runs)} each in turns, {_where(document.environment)}. "
        "Switch in ms as above, of the slowest stream, with its interval; in brackets what the overlay adds "
        "to the floor of the same moves; datagrams (of TCP, messages) lost. Who is not back after "
        f"{document.cap_s:g} s is not back. The moment of a move is random over the overlay's slowest timer.",
        heads=("", *document.cases.values()),
        rows=tuple(
            (_variant(document, name), *(_peers_cell(cells.get((name, case))) for case in document.cases))
            for name in document.variants
        ),
        notes=(
            *_ranking(document),
            *(f"Left out: {name} ({', '.join(why)})." for name, why in document.left_out.items()),
            *(f"Not measured: {line}" for line in document.failed),
        ),
    )


def _variant(document: Peers, name: str) -> str:
    about = document.variants[name]
    return f"{name} {about.version} ({about.timer_s:g} s: {about.timer})"


def _peers_cell(cell: Cell | None) -> str:
    if cell is None:
        return "not measured"
    runs = cell.switch_ms.runs
    if not cell.recovered:
        return f"not back in {_runs(runs)}"
    back = "" if cell.recovered == runs else f"; back in {cell.recovered} of {runs}"
    rank = f"; vipnet is {cell.vipnet_is}" if cell.vipnet_is else ""
    added, lost = shown(cell.over_floor_ms.median), f"{cell.lost.median or 0:,.0f}"
    return f"{cell.switch_ms.text()} (+{added}), {lost} lost{back}{rank}"


def _ranking(document: Peers) -> list[str]:
    """Plainly where vipnet is not ahead of who comes back at all."""
    others = [cell for cell in document.cells if cell.vipnet_is is not None and cell.recovered]
    ahead = sum(cell.vipnet_is == "ahead" for cell in others)
    told = [
        f"By what is added to the floor vipnet is ahead in {ahead} of the {len(others)} cells in which the "
        "other overlay comes back at all: its interval lies below the other's."
    ]
    for rank in ("level", "behind"):
        where = [f"{cell.variant}, {document.cases[cell.case]}" for cell in others if cell.vipnet_is == rank]
        if where:
            told.append(f"It is {rank} in {len(where)}: {'; '.join(where)}.")
    return told


_PEERS_HEADS = (
    *("variant", "case", "runs", "recovered", "switch_ms", "switch_low_ms", "switch_high_ms"),
    *("floor_ms", "over_floor_ms", "over_floor_low_ms", "over_floor_high_ms", "lost", "vipnet_is"),
)


def _peers_line(cell: Cell) -> tuple[object, ...]:
    switch, over = cell.switch_ms, cell.over_floor_ms
    return (
        *(cell.variant, cell.case, switch.runs, cell.recovered, switch.median, switch.low, switch.high),
        *(cell.floor_ms.median, over.median, over.low, over.high, cell.lost.median, cell.vipnet_is),
    )


# --- applications


def _applications(document: Applications) -> Table:
    found = {(row.application, row.way, row.mover): row for row in document.rows}
    names = dict.fromkeys((row.application, row.way) for row in document.rows)
    rows = []
    for name, way in names:
        mine = [found.get((name, way, mover)) for mover in MOVERS]
        rest = [row.rest_ms for row in mine if row is not None and row.rest_ms is not None]
        said = next((row.said for row in reversed(mine) if row is not None), "")
        title = name if way == "vipnet" else f"{name}, without vipnet"
        rows.append((title, f"{max(rest):.0f} ms" if rest else "-", *map(_stall, mine), said))
    return Table(
        file="applications",
        title="Applications through moves",
        words=f"Each through moves of a, of b and of both ({document.moves} of each), by the same processes "
        f"and connections, {_where(document.environment)}. The longest time in which nothing came through; "
        "at rest, before the first move, for comparison. mosh and QUIC move by themselves, and run outside "
        "vipnet too.",
        heads=("", "at rest", "a moves", "b moves", "both move", "what it says when both have moved"),
        rows=tuple(rows),
        notes=tuple(f"Left out: {line}." for line in document.left_out),
    )


def _stall(row: ApplicationRow | None) -> str:
    if row is None:
        return "not measured"
    return "did not survive" if row.stall_ms is None else f"survived, {row.stall_ms:.0f} ms"


# --- words and files


def _runs(number: int) -> str:
    return f"{number} run{'s' * (number != 1)}"


def _where(environment: Environment) -> str:
    return f"commit {environment.commit[:12]}, {environment.at[:16]}, {environment.cores} x {environment.cpu}"


def _write(file: Path, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as output:
        writer = csv.writer(output)
        writer.writerow(heads)
        writer.writerows(rows)
