"""What it means that applications survive: same processes, same sockets, and new things come through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Protocol

from tests.lab.apps.program import App, Socket
from tests.lab.labs import Lab, wait_until


class HasSockets(Protocol):
    @property
    def name(self) -> str: ...

    def sockets(self) -> frozenset[Socket]:
        """Those that must stay the same."""


Goals = list[tuple[App, int]]


@contextmanager
def same_sockets(apps: Sequence[HasSockets]) -> Iterator[None]:
    """Fail when an application has other sockets, at either end, after the block than before it."""
    before = {app.name: app.sockets() for app in apps}
    assert all(before.values())
    yield
    assert {app.name: app.sockets() for app in apps} == before


def move_and_check(lab: Lab, mover: str, apps: Sequence[App], *options: str) -> None:
    """Move a host, or `both`, and see that every application goes on."""
    for move in lab.move(mover, *options):
        assert move["from"] != move["to"], move
    check_they_go_on(goals_of(apps), f"after a move of {mover}")


def goals_of(apps: Sequence[App]) -> Goals:
    """What each application reaches only by something that is sent after this call."""
    return [(app, app.goal()) for app in apps]


def check_they_go_on(goals: Goals, when: str) -> None:
    for app, goal in goals:
        wait_until(partial(_has_reached, app, goal), f"{app.name} goes on {when}")


def _has_reached(app: App, goal: int) -> bool:
    return app.progress() >= goal
