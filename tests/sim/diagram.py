"""What hosts sent to each other, drawn for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vipnet.types import Fqdn

_COLUMN = 30

Line = tuple[float, str, str, str]  # when, from, to, what


def sequence(trace: Iterable[Line], columns: Sequence[Fqdn | str], last: int = 60) -> str:
    """The LAST lines between COLUMNS as a sequence diagram; what goes elsewhere is left out.

       seconds a.example                     b.example
    1000.0200  |------- handshake 1 -------->|
    """
    places = {name: number for number, name in enumerate(columns)}
    lines = [line for line in trace if line[1] in places and line[2] in places and line[1] != line[2]]
    head = " " * 4 + "seconds " + "".join(name.ljust(_COLUMN) for name in columns)
    return "\n".join((head.rstrip(), *(_arrow(line, places) for line in lines[-last:])))


def _arrow(line: Line, places: dict[str, int]) -> str:
    at, source, target, text = line
    left, right = sorted((places[source], places[target]))
    width = (right - left) * _COLUMN - 1
    shaft = f" {text} ".center(width - 1, "-")[: width - 1]
    arrow = f"{shaft}>" if places[source] < places[target] else f"<{shaft}"
    before = "|".ljust(_COLUMN) * left
    after = "".join(" " * (_COLUMN - 1) + "|" for _ in range(right, len(places) - 1))
    return f"{at:10.4f}  {before}|{arrow}|{after}"
