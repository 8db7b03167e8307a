"""Applications that know nothing of vipnet go on while a, b or both change place (paper section 4)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from tests.lab.apps.beats import database, mosh, mount, quic
from tests.lab.apps.program import App, ConnectedApp
from tests.lab.apps.shells import ssh, telnet
from tests.lab.apps.streams import call, download, ping, video
from tests.lab.apps.survival import move_and_check, same_sockets
from tests.lab.apps.transfer import transfer
from tests.lab.conftest import LabFactory
from tests.lab.labs import Lab

Figure = Callable[[str], None]

Start = Callable[[Lab, Path], AbstractContextManager[App]]


def rsync(lab: Lab, directory: Path) -> AbstractContextManager[App]:
    return transfer(lab, directory, 50_000_000, 30)


_ALL: tuple[Callable[[Lab, Path], AbstractContextManager[ConnectedApp]], ...] = (
    ssh,
    telnet,
    download,
    video,
    ping,
)
_SHORT_ROW = ("a", "b", "both") * 3
_LONG_ROW = ("a",) * 20 + ("b",) * 20 + ("both",) * 20


@pytest.mark.parametrize(
    "movers",
    [
        pytest.param(_SHORT_ROW, id="short"),
        pytest.param(_LONG_ROW, id="twenty-of-each", marks=pytest.mark.long),
    ],
)
def test_applications_survive_moves(
    new_lab: LabFactory, tmp_path: Path, figure: Figure, movers: Sequence[str]
) -> None:
    survive(new_lab(), tmp_path, figure, movers)


@pytest.mark.stack
def test_applications_survive_moves_as_in_the_paper(
    new_lab: LabFactory, tmp_path: Path, figure: Figure
) -> None:
    """Profile `paper` keeps no packets for a partner that is away: what is not TCP has gaps."""
    survive(new_lab("--profile", "paper"), tmp_path, figure, _SHORT_ROW)


@pytest.mark.stack
@pytest.mark.parametrize(
    ("kind", "movers"),
    [
        ("readdress", _SHORT_ROW),
        ("family", ("a", "b", "both", "both", "both")),  # hosts of different families cannot meet
    ],
)
def test_applications_survive_other_changes(
    new_lab: LabFactory, tmp_path: Path, figure: Figure, kind: str, movers: Sequence[str]
) -> None:
    """Another address on the same LAN; IPv4 to IPv6 and back."""
    survive(new_lab("--ipv6"), tmp_path, figure, movers, "--kind", kind)


@pytest.mark.stack
@pytest.mark.parametrize(
    "start", [call, database, mount, mosh, rsync, quic], ids=lambda start: start.__name__
)
def test_more_applications_survive_moves(
    new_lab: LabFactory, tmp_path: Path, figure: Figure, start: Start
) -> None:
    """One at a time: a database's transaction, a mounted directory and the like (bench/applications.py)."""
    lab = new_lab()
    with start(lab, tmp_path) as app:
        for mover in ("a", "b", "both"):
            move_and_check(lab, mover, [app])
        figure(f"{app.name}: {app.finish()}")


def survive(lab: Lab, directory: Path, figure: Figure, movers: Sequence[str], *options: str) -> None:
    """Run all applications at once, in one lab, through a row of moves."""
    with ExitStack() as running:
        apps = [running.enter_context(start(lab, directory)) for start in _ALL]
        began = time.monotonic()
        with same_sockets(apps):
            for mover in movers:
                move_and_check(lab, mover, apps, *options)
        figure(f"{len(movers)} moves in {time.monotonic() - began:.0f} s")
        for app in apps:
            figure(f"{app.name}: {app.finish()}")
