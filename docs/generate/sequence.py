"""Sequence diagrams as SVG that takes the colours of the page around it, light or dark.

    a | DNS | b              those who speak, from left to right
    a: moves                 something happens there
    a -> DNS: update         a message in clear
    a => b: Hint             a sealed one
    a -x b: packet           one that gets lost

Narrow enough for a telephone: text is broken where an arrow is shorter than it.
"""

from __future__ import annotations

import re
import textwrap
from html import escape
from typing import Final, Literal

from msgspec import Struct

WIDTH: Final = 420  # in units of the drawing, of which a letter has about 7
_MARGIN, _TOP = 48, 34
_LINE, _GAP, _LETTER = 16, 12, 6.8
_STEP: Final = re.compile(r"(?P<who>.+?) *(?:(?P<arrow>->|=>|-x) *(?P<to>.+?))?: *(?P<text>.+)")

Arrow = Literal["->", "=>", "-x"]


class Step(Struct, frozen=True):
    """One line of a diagram; arrow and to: None where something only happens."""

    who: str
    arrow: Arrow | None
    to: str | None
    text: str


class Diagram(Struct, frozen=True):
    speakers: tuple[str, ...]
    steps: tuple[Step, ...]


def parse(source: str) -> Diagram:
    """Raise ValueError for a line that is none of the above."""
    first, *rest = [line.strip() for line in source.strip().splitlines() if line.strip()]
    speakers = tuple(name.strip() for name in first.split("|"))
    steps = []
    for line in rest:
        found = _STEP.fullmatch(line)
        if found is None or {found["who"], found["to"] or speakers[0]} - set(speakers):
            raise ValueError(f"no step of a sequence diagram between {', '.join(speakers)}: {line!r}")
        steps.append(Step(found["who"], found["arrow"], found["to"], found["text"]))  # type: ignore[arg-type]
    return Diagram(speakers, tuple(steps))


def html(source: str) -> str:
    """The diagram as a block of HTML without an empty line, as Markdown wants it."""
    diagram = parse(source)
    places = _places(diagram.speakers)
    parts, y = [], _TOP + _GAP
    for step in diagram.steps:
        drawn, y = _draw(step, places, y)
        parts += drawn
    height = y + _GAP
    lines = [f'<line class="life" x1="{x}" y1="{_TOP}" x2="{x}" y2="{height}"/>' for x in places.values()]
    names = [f'<text class="speaker" x="{x}" y="{_TOP - 12}">{escape(n)}</text>' for n, x in places.items()]
    spoken = "; ".join(
        f"{step.who}{f' to {step.to}' if step.to else ''}: {step.text}" for step in diagram.steps
    )
    return "\n".join(
        [
            '<figure class="sequence">',
            f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(spoken)}">',
            *lines,
            *names,
            *parts,
            "</svg>",
            "</figure>",
        ]
    )


def _places(speakers: tuple[str, ...]) -> dict[str, int]:
    """Each one's distance from the left."""
    step = (WIDTH - 2 * _MARGIN) / max(len(speakers) - 1, 1)
    return {name: round(_MARGIN + i * step) for i, name in enumerate(speakers)}


def _draw(step: Step, places: dict[str, int], y: int) -> tuple[list[str], int]:
    """What STEP looks like below Y, and where it ends."""
    x = places[step.who]
    if step.to is None:
        return _note(step.text, x, y)
    to = places[step.to]
    end = to if step.arrow != "-x" else x + round((to - x) * 0.7)
    lines = _broken(step.text, abs(end - x) - 8)
    drawn = [_text(line, (x + end) // 2, y + _LINE * (i + 1)) for i, line in enumerate(lines)]
    y += _LINE * len(lines) + 7
    kind = {"->": "clear", "=>": "sealed", "-x": "lost"}[step.arrow or "->"]
    drawn.append(f'<line class="{kind}" x1="{x}" y1="{y}" x2="{end}" y2="{y}"/>')
    return drawn + _head(end, y, 1 if to > x else -1, lost=kind == "lost"), y + _GAP


def _head(x: int, y: int, way: int, *, lost: bool) -> list[str]:
    if lost:
        return [f'<path class="lost" d="M{x - 5},{y - 5} l10,10 m0,-10 l-10,10"/>']
    return [f'<path class="head" d="M{x},{y} l{-9 * way},-5 v10 z"/>']


def _note(text: str, x: int, y: int) -> tuple[list[str], int]:
    lines = _broken(text, 118)
    width = round(max(map(len, lines)) * _LETTER) + 14
    left = min(max(x - width // 2, 1), WIDTH - width - 1)
    height = _LINE * len(lines) + 8
    drawn = [f'<rect class="note" x="{left}" y="{y}" width="{width}" height="{height}" rx="4"/>']
    drawn += [_text(line, left + width // 2, y + _LINE * (i + 1)) for i, line in enumerate(lines)]
    return drawn, y + height + _GAP


def _broken(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(round(width / _LETTER), 12), break_long_words=False)


def _text(text: str, x: int, y: int) -> str:
    return f'<text x="{x}" y="{y}">{escape(text)}</text>'
