"""Applications that know nothing of vipnet go on while a, b or both change place (paper section 4)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import pytest
from tests.lab.apps.program import App
from tests.lab.apps.shells import ssh, telnet
from tests.lab.apps.streams import download, ping, video
from tests.lab.conftest import LabFactory
from tests.lab.labs import Lab, wait_until

Figure = Callable[[str], None]

_ALL: tuple[Callable[[Lab, Path], AbstractContextManager[App]], ...] = (ssh, telnet, download, video, ping)


def survive(lab: Lab, apps: Sequence[App], movers: Sequence[str]) -> None:
    """Move, see that something new comes through for every application, move again.

    At the end each still has the sockets it began with.
    """
    before = {app.name: app.sockets() for app in apps}
    assert all(before.values())
    for number, mover in enumerate(movers, 1):
        lab.move(mover)
        for app, goal in [(app, app.goal()) for app in apps]:
            wait_until(partial(_has_reached, app, goal), f"{app.name} goes on after move {number} ({mover})")
    assert {app.name: app.sockets() for app in apps} == before


def _has_reached(app: App, goal: int) -> bool:
    return app.progress() >= goal


@pytest.mark.parametrize(
    "movers",
    [
        pytest.param(("a", "b", "both") * 3, id="short"),
        pytest.param(("a",) * 20 + ("b",) * 20 + ("both",) * 20, id="twenty-of-each", marks=pytest.mark.long),
    ],
)
def test_applications_survive_moves(
    new_lab: LabFactory, tmp_path: Path, figure: Figure, movers: Sequence[str]
) -> None:
    lab = new_lab()
    with ExitStack() as running:
        apps = [running.enter_context(start(lab, tmp_path)) for start in _ALL]
        began = time.monotonic()
        survive(lab, apps, movers)
        figure(f"{len(movers)} moves in {time.monotonic() - began:.0f} s")
        for app in apps:
            figure(f"{app.name}: {app.finish()}")
