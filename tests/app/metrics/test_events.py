"""Every event that the source counts is explained, and nothing else is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from vipnet.app.metrics.events import EVENTS

SOURCE = Path(__file__).parents[3] / "src/vipnet"
FAMILIES_OF_THEIR_OWN = ("send_", "dropped_")


def counted() -> Iterator[str]:
    """Literals in `....count("event", ...)`, `counters["event"] += 1`, and report.counters' own."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(attr="count"), args=[ast.Constant(value=str(event)), *_]):
                    yield event
                case ast.AugAssign(
                    target=ast.Subscript(
                        value=ast.Attribute(attr="counters" | "_counters"),
                        slice=ast.Constant(value=str(event)),
                    )
                ):
                    yield event
                case ast.AnnAssign(value=ast.Call(func=ast.Name(id="Counter"), keywords=given)):
                    yield from (one.arg for one in given if one.arg)


def test_the_table_is_complete() -> None:
    events = {event for event in counted() if not event.startswith(FAMILIES_OF_THEIR_OWN)}
    assert len(events) > 20
    assert events == EVENTS.keys()
