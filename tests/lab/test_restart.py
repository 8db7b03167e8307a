"""A daemon that is killed and started again has the same tokens; connections go on (paper section 3.1)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.lab.apps.shells import ssh
from tests.lab.apps.streams import download
from tests.lab.apps.survival import check_they_go_on, goals_of, move_and_check, same_sockets
from tests.lab.conftest import LabFactory
from tests.lab.labs import Lab, wait_until


def kill_daemon(lab: Lab, host: str) -> None:
    """`kill -9`; return once it is gone."""
    pid = lab.host(host)["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: lab.host(host)["pid"] is None, f"the end of process {pid}")


def tokens(lab: Lab) -> dict[str, str]:
    """By host: its own, and the one its applications get for the other."""
    found = {host: lab.host(host)["token"] for host in ("a", "b")}
    for host, peer in (("a", "b"), ("b", "a")):
        found[f"{peer} on {host}"] = lab.ask(host, "resolve", f"{peer}.vipip.net")["address"]
    assert all(found.values())
    return found


@pytest.mark.parametrize(
    ("killed", "moved"),
    [
        pytest.param(("a",), None, id="client"),
        pytest.param(("b",), None, id="server"),
        pytest.param(("a", "b"), None, id="both"),
        pytest.param(("a",), "a", id="moves-while-it-is-dead"),
    ],
)
def test_connections_survive_kill_and_restart(
    new_lab: LabFactory,
    tmp_path: Path,
    figure: Callable[[str], None],
    killed: Sequence[str],
    moved: str | None,
) -> None:
    lab = new_lab()
    with ssh(lab, tmp_path) as session, download(lab, tmp_path) as endless:
        apps = (session, endless)
        before = tokens(lab)
        with same_sockets(apps):
            for host in killed:
                kill_daemon(lab, host)
            if moved:
                lab.move(moved)
            goals = goals_of(apps)
            for host in killed:
                lab.on(host, "vipnet", "up")
            check_they_go_on(goals, f"after kill -9 on {' and '.join(killed)}")
            assert tokens(lab) == before
            for mover in ("a", "b", "both"):
                move_and_check(lab, mover, apps)
        for app in apps:
            figure(f"{app.name}: {app.finish()}")


def test_up_is_idempotent(new_lab: LabFactory, tmp_path: Path) -> None:
    lab = new_lab()
    with ssh(lab, tmp_path) as session:
        before = lab.status()
        with same_sockets((session,)):
            for host in ("a", "b", "a"):
                lab.on(host, "vipnet", "up")
            check_they_go_on(goals_of((session,)), "after `up` of what is up")
        assert lab.status() == before
        session.finish()
