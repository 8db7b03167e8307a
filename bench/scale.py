"""Draw docs/scale.svg from what bench.crowd.py and bench/zone.py measured.

./run bench scale
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench/results"
PLOT = ROOT / "docs/scale.svg"
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"  # Okabe and Ito: told apart by everybody
HOSTS = 1_000_000


def main() -> None:
    mpl.rcParams.update({"font.size": 9, "svg.hashsalt": "vipnet", "axes.spines.top": False})
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_host(left, json.loads((RESULTS / "telling.json").read_text())["one_sided"])
    _draw_zone(right, json.loads((RESULTS / "zone.json").read_text()))
    figure.savefig(PLOT, metadata={"Date": None})
    print(PLOT)


def _draw_host(axes: Axes, measured: list[dict[str, Any]]) -> None:
    partners = [row["partners"] for row in measured]
    axes.loglog(partners, [row["hint_cpu_s"] for row in measured], "o-", color=BLUE, label="CPU (measured)")
    for megabits, color, line in ((1, ORANGE, "--"), (10, GREEN, ":")):
        seconds = [row["hint_bytes"] * 8 / (megabits * 1e6) for row in measured]
        axes.loglog(partners, seconds, line, color=color, label=f"uplink of {megabits} Mbit/s (from bytes)")
    axes.set(title="A move of one host", xlabel="active partners", ylabel="until the last hint has left (s)")
    _finish(axes)


def _draw_zone(axes: Axes, zone: dict[str, Any]) -> None:
    moves = [0.1, 0.3, 1, 3, 10]
    axes.loglog(
        moves,
        [HOSTS * m / 3600 for m in moves],
        "-",
        color=BLUE,
        label="updates of a million hosts (calculated)",
    )
    axes.axhline(zone["updates_per_s"], color=ORANGE, ls="--", label="one BIND, signed updates (measured)")
    axes.set(title="A zone", xlabel="moves of a host, per hour", ylabel="updates per second")
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.spines["right"].set_visible(False)
    axes.grid(visible=True, which="major", color="#dddddd", lw=0.6)
    axes.legend(frameon=False, fontsize=8)


if __name__ == "__main__":
    main()
