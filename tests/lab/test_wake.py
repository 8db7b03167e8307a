"""A daemon that did not run for some seconds, as after a sleep: its sockets are what they were."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.lab.apps.shells import ssh
from tests.lab.apps.survival import check_they_go_on, goals_of, same_sockets
from tests.lab.conftest import LabFactory

_STOPPED_S = 3.0


@pytest.mark.parametrize("moves", [False, True], ids=["same-place", "moved-meanwhile"])
def test_a_daemon_that_stood_still_goes_on(
    new_lab: LabFactory, tmp_path: Path, figure: Callable[[str], None], moves: bool
) -> None:
    lab = new_lab()
    with ssh(lab, tmp_path) as session:
        pid = lab.host("a")["pid"]
        with same_sockets((session,)):
            os.kill(pid, signal.SIGSTOP)
            try:
                until = time.monotonic() + _STOPPED_S
                if moves:
                    # By ip alone: `lab move` needs nothing of the daemon.
                    lab.move("a")
                time.sleep(max(0.0, until - time.monotonic()))
                goals = goals_of((session,))
            finally:
                os.kill(pid, signal.SIGCONT)
            check_they_go_on(goals, "after the daemon stood still")
        assert lab.host("a")["pid"] == pid
        figure(session.finish())
