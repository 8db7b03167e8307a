"""Figures and CSV of a document, in one restrained style: for print, and for eyes that see few colours."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import matplotlib as mpl

mpl.use("svg")

import msgspec
from bench.paper.cells import Cell
from bench.paper.document import Document
from bench.peers import Document as Peers
from bench.plots import peers_plot
from bench.stats import Summary
from matplotlib import pyplot as plt
from matplotlib.ticker import StrMethodFormatter
from msgspec import Struct

# Okabe and Ito's blue and vermilion: different in grey as well. Profiles differ by line and marker, too.
_COLOUR: Final = {"paper": "#D55E00", "default": "#0072B2"}
_LINE: Final = {"paper": "-", "default": "--"}
_MARKER: Final = {"udp": "o", "tcp": "s"}
_NAME: Final = {"paper": "profile paper", "default": "default profile"}
_STYLE: Final[dict[Any, Any]] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.linewidth": 0.3,
    "grid.color": "#cccccc",
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "svg.hashsalt": "vipnet",  # the same numbers, the same file
}
_SIZE_IN: Final = (5.2, 3.2)
_DPI: Final = 200


class Figure(Struct, frozen=True):
    """`files` without suffix; SVG, PNG and CSV are beside each other."""

    file: str
    title: str
    caption: str


def draw_all(document: Document, out: Path) -> list[Figure]:
    """Draw what DOCUMENT has something for."""
    found = []
    with mpl.rc_context(_STYLE):
        for draw in (_one_sided_udp, _one_sided_tcp, _two_sided, _by_latency, _by_round_trip):
            figure = draw(document, out)
            if figure is not None:
                found.append(figure)
    return found


# --- against time


def _one_sided_udp(document: Document, out: Path) -> Figure | None:
    caption = (
        "UDP datagrams received by b against time, while a, which sends one every millisecond, moves to its "
        "other LAN at 0 ms (paper: Figure 2a, 23 ms)."
    )
    return _against_time(document, out, "2a", "figure-2a", "One-sided switch, UDP", caption, _packets)


def _one_sided_tcp(document: Document, out: Path) -> Figure | None:
    caption = (
        "TCP sequence number of each segment received by b against time, while a, which writes 1,000 bytes "
        "every 5 ms, moves to its other LAN at 0 ms (paper: Figure 2b, 400 ms)."
    )
    return _against_time(document, out, "2b", "figure-2b", "One-sided switch, TCP", caption, _bytes)


def _two_sided(document: Document, out: Path) -> Figure | None:
    caption = (
        "UDP datagrams received by b against time, while a, which sends one every millisecond, and b both "
        "move to their other LANs at 0 ms (paper: Figure 3, 644 ms)."
    )
    return _against_time(document, out, "3", "figure-3", "Two-sided switch, UDP", caption, _packets)


def _packets(panel: Any) -> float:  # noqa: ANN401 - matplotlib has no types
    panel.set_ylabel("datagrams received")
    return 1.0


def _bytes(panel: Any) -> float:  # noqa: ANN401
    panel.set_ylabel("sequence number (kB)")
    return 1e-3


def _against_time(
    document: Document,
    out: Path,
    part: str,
    file: str,
    title: str,
    caption: str,
    scale: Callable[[Any], float],
) -> Figure | None:
    cells = [cell for cell in document.cells_of(part) if "".join(cell.movers) in ("a", "ab")]
    traces = {cell.bed.profile: document.typical_trace(cell) for cell in cells}
    if not any(traces.values()):
        return None
    figure, panel = plt.subplots(figsize=_SIZE_IN, layout="constrained")
    factor = scale(panel)
    rows: list[tuple[object, ...]] = []
    for profile, trace in traces.items():
        if trace is None:
            continue
        times, values = zip(*trace.points, strict=True)
        marker = "." if part == "2b" else None
        panel.plot(
            times,
            [value * factor for value in values],
            color=_COLOUR[profile],
            linestyle="none" if marker else _LINE[profile],
            marker=marker,
            markersize=3,
            label=_NAME[profile],
        )
        rows += [(profile, trace.run, *point) for point in trace.points]
    panel.axvline(0, color="#555555", linewidth=0.6)
    panel.set_xlabel("time since the move (ms)")
    panel.legend(loc="upper left")
    _save(figure, out, file)
    _write_csv(out / f"{file}.csv", ("profile", "run", "ms", _what(traces)), rows)
    caption += f" Of {_runs(document)} of each profile the one nearest to the median."
    return Figure(file, title, caption)


def _runs(document: Document) -> str:
    runs = document.settings.runs
    return f"{runs} run{'s' * (runs != 1)}"


def _what(traces: dict[Any, Any]) -> str:
    return str(next(trace.what for trace in traces.values() if trace is not None))


# --- against a latency


def _by_latency(document: Document, out: Path) -> Figure | None:
    cells = [cell for cell in document.cells_of("4") if document.of(cell)]
    if not cells:
        return None
    figure, panel = plt.subplots(figsize=(_SIZE_IN[0], 4.0), layout="constrained")
    for profile in _COLOUR:
        mine = [cell for cell in cells if cell.bed.profile == profile]
        for kind in ("udp", "tcp"):
            _series(panel, document, mine, kind, profile, Document.dns_s, 1000)
    _name_steps(panel, document, [cell for cell in cells if cell.bed.profile == "paper"])
    panel.set_xlabel("DNS latency, measured (s)")
    panel.set_ylabel("switch time (s)")
    panel.set_ylim(bottom=0)
    panel.legend(loc="upper left")
    _save(figure, out, "figure-4")
    rows = [
        (
            cell.bed.profile,
            cell.dns_ms,
            round(1000 * document.dns_s(cell), 3),
            *_ends(document.udp(cell)),
            *_ends(document.tcp(cell)),
            document.floor(cell).median,
            document.step_name(cell),
        )
        for cell in cells
    ]
    heads = (
        "profile",
        "dns_ordered_ms",
        "dns_measured_ms",
        *_heads("udp"),
        *_heads("tcp"),
        "floor_ms",
        "tcp_step",
    )
    _write_csv(out / "figure-4.csv", heads, rows)
    caption = (
        "Switch time against the latency of DNS when both hosts move at once (paper: Figure 4). UDP and TCP "
        f"ride the same moves. Medians of {_runs(document)} with 95 % intervals; the small print "
        "names what of the sender's TCP came through first, by its trace."
    )
    return Figure("figure-4", "Effect of DNS latency on the two-sided switch", caption)


def _series(
    panel: Any,  # noqa: ANN401
    document: Document,
    cells: Sequence[Cell],
    kind: str,
    profile: str,
    place: Callable[[Document, Cell], float],
    unit_ms: float,
) -> None:
    points = [(place(document, cell), getattr(document, kind)(cell)) for cell in cells]
    points = sorted((x, one) for x, one in points if one.median is not None)
    if not points:
        return
    middles = [one.median / unit_ms for _, one in points]
    spans = [
        [(one.median - one.low) / unit_ms for _, one in points],
        [((one.high if one.high is not None else one.most) - one.median) / unit_ms for _, one in points],
    ]
    panel.errorbar(
        [x for x, _ in points],
        middles,
        yerr=spans,
        color=_COLOUR[profile],
        linestyle=_LINE[profile],
        marker=_MARKER[kind],
        markersize=4.5 if kind == "tcp" else 3.5,  # one around the other, where they are the same
        markerfacecolor="white" if kind == "tcp" else _COLOUR[profile],
        capsize=2,
        elinewidth=0.8,
        label=f"{kind.upper()}, {_NAME[profile]}",
    )


def _name_steps(panel: Any, document: Document, cells: Sequence[Cell]) -> None:  # noqa: ANN401
    """Above the middle of each stair; what a busy machine does to single runs has no name."""
    stairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for cell in cells:
        name, tcp = document.step_name(cell), document.tcp(cell).median
        if name is not None and name.startswith("time-out") and tcp is not None:
            stairs[name].append((document.dns_s(cell), tcp / 1000))
    for name, points in stairs.items():
        xs, ys = zip(*points, strict=True)
        panel.annotate(
            name,
            (sum(xs) / len(xs), median(ys)),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=6.5,
            color="#444444",
        )


def _by_round_trip(document: Document, out: Path) -> Figure | None:
    cells = [cell for cell in document.cells_of("rtt") if document.of(cell)]
    if not cells:
        return None
    figure, panel = plt.subplots(figsize=_SIZE_IN, layout="constrained")
    for profile in _COLOUR:
        mine = [cell for cell in cells if cell.bed.profile == profile]
        _series(panel, document, mine, "udp", profile, Document.rtt_ms, 1)
    panel.set_xscale("log")
    panel.set_yscale("log")
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))  # 100, not 10 to the power of 2
    panel.set_xlabel("round trip between a and b, measured (ms)")
    panel.set_ylabel("switch time (ms)")
    panel.legend(loc="upper left")
    _save(figure, out, "figure-rtt")
    rows = [
        (cell.bed.profile, document.rtt_ms(cell), *_ends(document.udp(cell)), document.floor(cell).median)
        for cell in cells
    ]
    _write_csv(out / "figure-rtt.csv", ("profile", "rtt_ms", *_heads("udp"), "floor_ms"), rows)
    caption = (
        "Switch time of UDP from a to b, when b alone moves, against the round trip between the two. Medians "
        f"of {_runs(document)} with 95 % intervals. The paper has no such figure, only the sentence that "
        "the round trip dominates."
    )
    return Figure("figure-rtt", "Effect of the round trip on the one-sided switch", caption)


# --- beside


def draw_peers(document: Peers, out: Path) -> Figure:
    for suffix in ("svg", "png"):
        peers_plot(msgspec.to_builtins(document), out / f"peers.{suffix}", columns=2)
    runs = document.runs
    caption = (
        "Interruption of the slowest stream in each kind of move, with vipnet and with other overlays, as "
        f"shipped and with their shortest timers: a dot a run ({runs} each), a bar the median, a cross at "
        f"the right edge for runs that were not back within {document.cap_s:g} s. Logarithmic."
    )
    return Figure("peers", "The same moves with other overlays", caption)


# --- files


def _save(figure: Any, out: Path, name: str) -> None:  # noqa: ANN401
    figure.savefig(out / f"{name}.svg", metadata={"Date": None})
    figure.savefig(out / f"{name}.png", dpi=_DPI)
    plt.close(figure)


def _heads(kind: str) -> tuple[str, ...]:
    return (f"{kind}_ms", f"{kind}_low_ms", f"{kind}_high_ms", f"{kind}_runs")


def _ends(found: Summary) -> tuple[float | int | None, ...]:
    return (found.median, found.low, found.high, found.runs)


def _write_csv(file: Path, heads: Sequence[object], rows: Iterable[Sequence[object]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as output:
        writer = csv.writer(output)
        writer.writerow(heads)
        writer.writerows(rows)
