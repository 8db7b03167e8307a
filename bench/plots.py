"""Figures in one restrained style, legible in print and without colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt

# Okabe and Ito's colours, told apart by people who do not see all of them.
_COLOURS: Final = ("#999999", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")
_PANELS: Final = (
    ("tcp_1", "TCP, 1 connection", "Mbit/s"),
    ("tcp_8", "TCP, 8 connections", "Mbit/s"),
    ("udp_1200", "UDP of 1,200 bytes, flooded", "datagrams/s received"),
    ("udp_64", "UDP of 64 bytes, flooded", "datagrams/s received"),
    ("ping", "round trip, idle", "ms"),
    ("cpu_per_gb", "CPU of the machine, TCP", "s/GB"),
)


def throughput_plot(document: dict[str, Any], file: Path) -> None:
    """Medians with the range of all rounds; the bare wire is a row of its own, off the bars' scale."""
    overlays = [name for name in document["overlays"] if name != "bare"]
    figure, axes = plt.subplots(2, 3, figsize=(10, 5), layout="constrained")
    for (case, title, unit), panel in zip(_PANELS, axes.flat, strict=True):
        for row, name in enumerate(overlays):
            ways = document["overlays"][name]["figures"].get(case, {})
            for number, one in enumerate(ways.values()):
                at = row + (number - 0.5) * 0.36
                span = [[one["median"] - one["min"]], [one["max"] - one["median"]]]
                panel.barh(at, one["median"], 0.34, color=_COLOURS[(row + 1) % len(_COLOURS)])
                panel.errorbar(one["median"], at, xerr=span, color="black", linewidth=0.8, capsize=2)
        bare = document["overlays"].get("bare", {}).get("figures", {}).get(case, {})
        note = ", ".join(f"{one['median']:,.3g}" for one in bare.values())
        panel.set_title(title + (f" (bare wire: {note})" if note else ""), fontsize=8)
        panel.set_yticks(range(len(overlays)), overlays, fontsize=8)
        panel.set_xlabel(unit, fontsize=8)
        panel.tick_params(labelsize=8)
        panel.invert_yaxis()
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def peers_plot(document: dict[str, Any], file: Path, columns: int = 4) -> None:
    """A panel a case: every run a dot, the median a line; at the right edge those that never came back."""
    variants, cases = list(document["variants"]), document["cases"]
    columns = min(columns, len(cases))
    rows = -(-len(cases) // columns)
    size = (1.8 + 2 * columns, rows * (0.9 + 0.2 * len(variants)))
    figure, axes = plt.subplots(rows, columns, figsize=size, sharey=True, squeeze=False, layout="constrained")
    for panel in axes.flat[len(cases) :]:
        panel.set_visible(False)
    for (case, title), panel in zip(cases.items(), axes.flat, strict=False):
        for row, name in enumerate(variants):
            _peer_row(panel, row, document, (name, case))
        panel.set_xscale("log")
        panel.set_xlim(1, document["cap_s"] * 1600)
        panel.set_title(title, fontsize=8)
        panel.set_yticks(range(len(variants)), variants, fontsize=8)
        panel.tick_params(labelsize=8)
        panel.grid(axis="x", linewidth=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    axes[0][0].invert_yaxis()
    figure.supxlabel(f"interruption, ms; bar: median, x: not back within {document['cap_s']:g} s", fontsize=8)
    figure.savefig(file, dpi=200, metadata={"Date": None} if file.suffix == ".svg" else None)
    plt.close(figure)


def _peer_row(panel: Any, row: int, document: dict[str, Any], which: tuple[str, str]) -> None:  # noqa: ANN401
    times = [turn["switch_ms"] for turn in document["turns"] if (turn["variant"], turn["case"]) == which]
    back = [max(time, 1) for time in times if time is not None]
    colour = _COLOURS[1] if which[0] == "vipnet" else "#444444"
    panel.plot(back, [row] * len(back), "o", color=colour, markersize=4, alpha=0.6)
    if len(back) < len(times):
        panel.plot([document["cap_s"] * 1000], [row], "x", color="#D55E00", markersize=6)
    medians = [
        cell["switch_ms"]["median"]
        for cell in document["cells"]
        if (cell["variant"], cell["case"]) == which and cell["switch_ms"]["median"] is not None
    ]
    for median in medians:
        panel.plot([max(median, 1)] * 2, [row - 0.35, row + 0.35], color="black", linewidth=1.2)
