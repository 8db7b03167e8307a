"""The daemon's answers as plain text: calm, 80 columns, colours only on a terminal.

The shapes are those of docs/json.md, `moves`, `resolve`; absent is None there and "-" here.
screen.py has `status` and `peers`.
"""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click

_WIDTH: Final = 80  # columns of a terminal that nobody has widened
_GOOD: Final = frozenset({"ready", "ok", "acked", "up", "off"})
_BAD: Final = frozenset({"failed", "refused", "timeout", "cloned-key", "clock", "FAULT"})

# --- words and numbers


def coloured(word: str) -> str:
    """WORD in the colour of its meaning; click drops it where output is no terminal."""
    if os.environ.get("NO_COLOR"):  # https://no-color.org
        return word
    return click.style(word, fg="green" if word in _GOOD else "red" if word in _BAD else "yellow")


def ms(value: float | None) -> str:
    """Three figures are enough: 0.42 ms, 4.2 ms, 42 ms, 4,200 ms."""
    if value is None:
        return "-"
    return f"{value:.2f} ms" if value < 1 else f"{value:.1f} ms" if value < 10 else f"{value:,.0f} ms"


def size(count: float) -> str:
    """Bytes with a decimal prefix, as network tools count."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def fields(pairs: Iterable[tuple[str, str]], columns: int = _WIDTH) -> list[str]:
    """A label and its text a line, long texts wrapped under their beginning; none where there is no text."""
    lines = []
    for label, text in pairs:
        rest = textwrap.wrap(text, columns - 12, break_long_words=False, break_on_hyphens=False)
        lines += [f"  {label if n == 0 else '':<9} {part}" for n, part in enumerate(rest)]
    return lines


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, widest: int = 30) -> list[str]:
    """Columns as wide as their widest cell, the last one ragged."""
    lines = [[cut(cell, widest) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


# --- moves


def moves(items: Sequence[dict[str, Any]]) -> str:
    if not items:
        return "No moves since the daemon started."
    return "\n\n".join(_move(move) for move in items)


def _move(move: dict[str, Any]) -> str:
    when = time.strftime("%H:%M:%S", time.localtime(move["at"]))
    old, new = (", ".join(move[key]) or "no network" for key in ("old", "new"))
    lines = [f"#{move['id']}  {when}  {move['cause']}: {old} -> {new}"]
    if move["dns_ms"] is not None:
        lines.append(f"  in DNS after {ms(move['dns_ms'])}")
    for partner in move["partners"]:
        steps = [(key, partner[f"{key}_ms"]) for key in ("hint", "ack", "lookup", "validated")]
        told = ", ".join(f"{key} {ms(value)}" for key, value in steps if value is not None)
        lines.append(f"  {partner['name']}  {coloured(partner['outcome'] or 'pending')}  {told}".rstrip())
        more = []
        if partner["replayed"]:
            more.append(f"sent again: {partner['replayed']} packets, {size(partner['replayed_bytes'])}")
        if partner["dropped"]:
            more.append(f"no room for {partner['dropped']} packets")
        if partner["gap_ms"] is not None:
            more.append(f"silence of {ms(partner['gap_ms'])}")
        if more:
            lines.append(f"    {'; '.join(more)}")
    return "\n".join(lines)


# --- resolve, ping


def resolve(reply: dict[str, Any]) -> str:
    lines = [*_steps(reply["steps"]), *_problem(reply)]
    kind = {"vip": "a vipnet host", "legacy": "not a vipnet host: its real address", "failed": "no address"}
    lines.append(f"{reply['name']}: {kind[reply['kind']]}")
    lines.append(reply["address"] or "-")
    return "\n".join(lines)


def _steps(steps: Iterable[dict[str, Any]]) -> list[str]:
    return [f"{step['id']:<12} {ms(step['ms']):>10}  {_outcome(step)}".rstrip() for step in steps]


def _outcome(step: dict[str, Any]) -> str:
    return ("" if step["ok"] else "FAILED ") + (step["detail"] or "")


def _problem(reply: dict[str, Any]) -> list[str]:
    """What is wrong and what to do, wrapped like the rest."""
    text = reply.get("problem")
    return [] if not text else ["", *textwrap.wrap(text, _WIDTH, break_on_hyphens=False), ""]


def ping_path(reply: dict[str, Any]) -> str:
    """What the first ping found out on its way."""
    lines = [*_steps(reply["steps"]), *_problem(reply)]
    place = "last at" if reply["rtt_ms"] is None else "now at"
    lines.append(f"{reply['name']}: token {reply['token'] or '-'}, {place} {reply['locator'] or '-'}")
    return "\n".join(lines)


def ping_answer(number: int, reply: dict[str, Any]) -> str:
    return f"{number:>4}  {'no answer' if reply['rtt_ms'] is None else ms(reply['rtt_ms'])}"


def ping_summary(replies: Sequence[dict[str, Any]]) -> str:
    times = sorted(reply["rtt_ms"] for reply in replies if reply["rtt_ms"] is not None)
    line = f"{len(replies)} asked, {len(times)} answered"
    if times:
        line += f"; {ms(times[0])} at best, {ms(times[len(times) // 2])} median, {ms(times[-1])} at worst"
    return line
