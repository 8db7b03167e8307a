"""sd_notify against a socket as systemd has one; time is trio's mock clock."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from vipnet.system.supervisor import Supervisor


class Systemd:
    """The receiving end, at ADDRESS."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.sock.bind("\0" + address[1:] if address.startswith("@") else address)

    def heard(self) -> list[list[str]]:
        messages = []
        while True:
            try:
                messages.append(self.sock.recv(4096).decode().splitlines())
            except BlockingIOError:
                return messages


@pytest.fixture(params=["file", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    address = str(tmp_path / "notify") if request.param == "file" else f"@vipnet-test-{os.getpid()}"
    systemd = Systemd(address)
    with systemd.sock:
        yield systemd


def attend(supervisor: Supervisor, states: list[str], for_s: float) -> None:
    """Attend for FOR_S; `status` gives STATES, the last for ever."""

    async def main() -> None:
        with trio.move_on_after(for_s):
            await supervisor.attend(lambda: states.pop(0) if len(states) > 1 else states[0])

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_ready_then_three_beats_in_the_watchdogs_time(systemd: Systemd) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "30000000"})
    assert supervisor.watchdog_s == 30
    attend(supervisor, ["starting", "ready"], for_s=31)
    assert systemd.heard() == [
        ["READY=1", "STATUS=starting"],
        ["WATCHDOG=1", "STATUS=ready"],
        ["WATCHDOG=1"],
        ["WATCHDOG=1"],
    ]


def test_a_loop_that_hangs_does_not_beat(systemd: Systemd) -> None:
    """The watchdog is for that: the beat comes from the loop that carries the packets."""
    supervisor = Supervisor({"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "3000000"})
    clock = MockClock(autojump_threshold=0)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.attend, lambda: "ready")
            await trio.sleep(1.5)
            assert systemd.heard()[1:] == [["WATCHDOG=1"]]
            clock.jump(60)  # nobody gives way meanwhile
            assert systemd.heard() == []
            nursery.cancel_scope.cancel()

    trio.run(main, clock=clock)


@pytest.mark.parametrize("limit", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}])
def test_status_without_a_watchdog(systemd: Systemd, limit: dict[str, str]) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": systemd.address, **limit})
    assert supervisor.watchdog_s is None
    attend(supervisor, ["starting", "detached"], for_s=11)
    assert [message[-1] for message in systemd.heard()] == ["STATUS=starting", "STATUS=detached"]


def test_a_watchdog_of_another_process_is_not_ours() -> None:
    assert Supervisor({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).watchdog_s is None
    assert Supervisor({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())}).watchdog_s == 1


def test_nobody_there_stops_nothing(tmp_path: Path) -> None:
    attend(Supervisor({}), ["ready"], for_s=1)
    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell("READY=1")
