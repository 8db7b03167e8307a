"""Moves while DNS is away, and an address that cannot make up its mind."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path

import pytest
from tests.lab.apps.shells import ssh
from tests.lab.apps.survival import check_they_go_on, goals_of, same_sockets
from tests.lab.conftest import LabFactory
from tests.lab.labs import Lab, wait_until
from tests.lab.streams import check_nothing_lost, streams
from tests.support import need_program

from vipnet.lab import lifecycle, processes
from vipnet.lab.moves import carry_out, plan_move

_SERVER = "10.201.1.1"
_FLAPS, _FLAPPING_S = 10, 2.0
Figure = Callable[[str], None]


def dig(lab: Lab, *question: str) -> str:
    return lab.on("r", "dig", "+short", "+tries=1", "+time=2", f"@{_SERVER}", *question, check=False).stdout


def serial(lab: Lab) -> int:
    """Of the zone: every update that changes something makes it one greater (RFC 2136 section 3.6)."""
    return int(dig(lab, "vipip.net", "SOA").split()[2])


class NameServer:
    """The lab's BIND, to be stopped and started again."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._record = Path(lab.status()["dns"]["log"]).with_name("pid.json")
        self.process: subprocess.Popen[bytes] | None = None
        server = processes.recorded(self._record)
        assert server is not None
        self._server = server
        self._command = Path(f"/proc/{server.pid}/cmdline").read_text().split("\0")[:-1]

    def answers(self) -> bool:
        return dig(self._lab, "vipip.net", "SOA").startswith("r.")

    def stop(self) -> None:
        processes.stop(self._server)
        assert not self.answers()

    def start(self) -> None:
        log = self._record.with_name("again.log")
        self.process = processes.start(self._lab.command_on("r", *self._command), log, self._record)
        wait_until(self.answers, "BIND answers again")


@contextmanager
def name_server(lab: Lab) -> Iterator[NameServer]:
    """What was started again ends with the block."""
    server = NameServer(lab)
    try:
        yield server
    finally:
        if server.process is not None:
            server.process.terminate()
            server.process.wait(30)


def published(lab: Lab, host: str) -> dict[str, str]:
    found: dict[str, str] = lab.ask(host, "status")["publish"]
    return found


def is_published(lab: Lab, host: str) -> bool:
    return published(lab, host)["state"] == "ok"


def has_reason(lab: Lab, host: str) -> bool:
    return bool(published(lab, host)["error"])


def has_published(lab: Lab, host: str, address: str | None) -> bool:
    return published(lab, host)["address"] == address


@pytest.mark.parametrize("off_s", [0.0, pytest.param(60.0, marks=pytest.mark.long)])
def test_one_sided_moves_without_dns(
    new_lab: LabFactory, tmp_path: Path, figure: Figure, off_s: float
) -> None:
    """For as long as two moves take, and longer."""
    need_program("dig")
    lab = new_lab()
    both_ways = {"a": ["b"], "b": ["a"]}
    with (
        name_server(lab) as server,
        ssh(lab, tmp_path) as session,
        streams(lab, tmp_path, both_ways) as running,
    ):
        with same_sockets((session,)):
            in_dns = {host: lab.host(host)["address"] for host in both_ways}
            server.stop()
            off_until = time.monotonic() + off_s
            for number, mover in enumerate(cycle(both_ways)):
                if number >= len(both_ways) and time.monotonic() >= off_until:
                    break
                lab.move(mover)
                goals = goals_of((session,))
                running.go_on(f"after a move of {mover} without DNS")
                check_they_go_on(goals, f"after a move of {mover} without DNS")
                said = published(lab, mover)
                assert said["state"] in ("pending", "waiting"), said
                assert said["address"] == in_dns[mover], "that is what DNS has"
                wait_until(partial(has_reason, lab, mover), "the reason in status")
        figure(check_nothing_lost(running.finish()))
        session.finish()
        server.start()
        for host in ("a", "b"):
            wait_until(partial(is_published, lab, host), f"{host} is in DNS again")
            assert dig(lab, f"{host}.vipip.net", "A").split() == [lab.host(host)["address"]]


def test_a_flapping_address_makes_two_updates(new_lab: LabFactory, tmp_path: Path, figure: Figure) -> None:
    """One at once, one when it has settled; the connection follows each change."""
    need_program("dig")
    lab = new_lab()
    layout = lifecycle.load(lab.name)
    with streams(lab, tmp_path, {"a": ["b"], "b": ["a"]}) as running:
        before = serial(lab)
        begun = time.monotonic()
        for flap in range(_FLAPS):
            time.sleep(max(0.0, begun + flap * _FLAPPING_S / _FLAPS - time.monotonic()))
            (move,) = carry_out([plan_move(layout, "a", "readdress")])
            if not flap:
                wait_until(partial(has_published, lab, "a", move.after), "the first change is in DNS")
        figure(f"{_FLAPS} changes in {time.monotonic() - begun:.1f} s")
        running.go_on("after the flapping")
        wait_until(partial(has_published, lab, "a", move.after), "the last change is in DNS")
        figure(check_nothing_lost(running.finish()))
    assert published(lab, "a")["state"] == "ok"
    assert dig(lab, "a.vipip.net", "A").split() == [move.after]
    assert serial(lab) - before == 2
