"""A clock that is an hour off keeps a host out of DNS, and out of nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from tests.lab.apps.program import program
from tests.lab.conftest import LabFactory
from tests.lab.labs import Lab, wait_until
from tests.lab.test_dns_trouble import dig
from tests.support import need_program

_PROGRAM: Final = str(Path(__file__).parent / "apps" / "clock_program.py")


def status(lab: Lab) -> dict[str, Any] | None:
    """What a's daemon says; None while there is none."""
    done = lab.on("a", "vipnet", "status", "--json", check=False)
    return None if done.returncode else dict(json.loads(done.stdout))


def state(lab: Lab) -> str | None:
    said = status(lab)
    return None if said is None else said["state"]


@pytest.mark.parametrize("ahead_s", [3600, pytest.param(-3600, marks=pytest.mark.stack)])
def test_a_clock_that_is_an_hour_off(new_lab: LabFactory, tmp_path: Path, ahead_s: int) -> None:
    need_program("dig")
    lab = new_lab()
    assert lab.can_ping("a", "b.vipip.net")
    token = lab.host("a")["token"]
    lab.on("a", "vipnet", "down")
    clock = tmp_path / "clock"
    clock.write_text(str(ahead_s))
    with program(lab, "a", [sys.executable, "-P", _PROGRAM, str(clock), "run"], tmp_path, name="vipnet"):
        wait_until(lambda: state(lab) is not None, "the daemon")
        assert lab.can_ping("a", "b.vipip.net"), "a handshake"
        (move,) = lab.move("a")
        # Leases and keys live by another clock.
        assert lab.can_ping("b", token)
        (peer,) = lab.ask("b", "peers")["peers"]
        assert peer["locator"] == f"{move['to']}:5847"
        assert peer["lease_s"] > 50
        wait_until(lambda: state(lab) == "clock", "state clock")
        said = status(lab)
        assert said is not None
        assert said["publish"]["state"] == "clock"
        assert "BADTIME" in said["publish"]["error"]
        assert dig(lab, "a.vipip.net", "A").split() == [move["from"]]
        clock.write_text("0")
        wait_until(lambda: state(lab) == "ready", "state ready")
        assert dig(lab, "a.vipip.net", "A").split() == [move["to"]]
        assert lab.can_ping("a", "b.vipip.net")
    # The next run has the right time, and handshakes with timestamps that are an hour older.
    lab.on("a", "vipnet", "up")
    assert lab.can_ping("a", "b.vipip.net")
