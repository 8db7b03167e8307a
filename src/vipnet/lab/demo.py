"""Measure what a move costs: a lab, traffic in it, moves, figures.

Each run has two cases: a moves; a and b move at once. In each case new connections
are opened by name, come to flow steadily, go through the move, and are closed when
they flow again. Beside them, in the same case, a bare UDP stream outside the tunnel
shows what the change of address alone costs: the floor.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from vipnet import __version__
from vipnet.app.control import ask_daemon
from vipnet.errors import ConfigError, HostError, VipnetError
from vipnet.lab import capture, lifecycle, nameserver
from vipnet.lab.figures import CaseFigures, RunDetail, alive, case_figures, summary
from vipnet.lab.flows import (
    FLOOR_PORT,
    TCP_PORT,
    UDP_PORT,
    Case,
    Flow,
    Phase,
    SenderSettings,
    Settings,
)
from vipnet.lab.layout import LANS, ROUTER, LabSpec, Layout, router_address
from vipnet.lab.moves import carry_out, plan_move
from vipnet.lab.programs import Traffic

_BEFORE_S: Final = 0.3  # of steady traffic
_NEAR_S: Final = 0.1  # in phase MOVE, before the move
_AFTER_S: Final = 0.3  # of steady traffic
_RECOVER_S: Final = 15.0  # TCP's back-off after an outage of 5 s
_ANSWER_S: Final = 15.0  # a program that captures and says nothing for so long has failed

Tell = Callable[[str], None]


class DemoSpec(Struct, frozen=True, kw_only=True):
    """What `vipnet demo` was asked for; `keep` is where packets and events are left."""

    runs: int = 3
    profile: Literal["default", "paper"] = "default"
    dns: Literal["embedded", "bind"] = "embedded"
    keep: Path | None = None


class Demo(Struct, frozen=True):
    """`vipnet demo --json`. `floor_ms` is the one-sided case's; each case has its own too."""

    version: str
    profile: str
    runs: int
    floor_ms: float | None
    one_sided: CaseFigures
    two_sided: CaseFigures
    runs_detail: tuple[RunDetail, ...]
    schema: int = 1

    @property
    def alive(self) -> bool:
        return alive((self.one_sided, self.two_sided)) and not any(one.errors for one in self.runs_detail)


def run_demo(spec: DemoSpec, tell: Tell) -> Demo:
    """Build a lab, measure in it and take it down again, whatever happens.

    TELL gets a line now and then. Raise ConfigError, HostError, or a daemon's own reason.
    """
    if spec.runs < 1:
        raise ConfigError(f"--runs {spec.runs}: must be at least 1")
    if spec.keep is not None:
        _claim(spec.keep)
    with lifecycle.interrupts_raise():
        tell("building the lab")
        layout = lifecycle.up(LabSpec(name=f"demo-{os.getpid()}", profile=spec.profile, dns=spec.dns))
        try:
            with _keeping(layout, spec.keep) as captured:
                details = tuple(_measure(layout, spec.runs, tell))
            demo = _sum_up(spec, details)
            if spec.keep is not None:
                _write_events(layout, spec.keep, demo, captured)
            return demo
        finally:
            lifecycle.down(layout.name)


def _claim(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise ConfigError(f"--keep {directory}: not empty, and nothing is overwritten: name another")
    except OSError as error:
        raise ConfigError(f"--keep {directory}: {error.strerror}; name another") from None


def _sum_up(spec: DemoSpec, details: Sequence[RunDetail]) -> Demo:
    one_sided, two_sided = (
        summary([detail.figures for detail in details if detail.case == case.name.lower()]) for case in Case
    )
    return Demo(
        __version__, spec.profile, spec.runs, one_sided.floor_ms, one_sided, two_sided, tuple(details)
    )


# --- measuring


def _measure(layout: Layout, runs: int, tell: Tell) -> Iterator[RunDetail]:
    for run in range(1, runs + 1):
        for case in Case:
            tell(f"run {run} of {runs}: {'a moves' if case == Case.ONE_SIDED else 'a and b move at once'}")
            yield _measure_case(layout, run, case)


def _measure_case(layout: Layout, run: int, case: Case) -> RunDetail:
    with Traffic(layout, _settings(layout, run, case)) as traffic:
        traffic.begin()
        time.sleep(_BEFORE_S)
        traffic.enter(Phase.MOVE)
        time.sleep(_NEAR_S)
        movers = ("a",) if case == Case.ONE_SIDED else ("a", "b")
        moves = carry_out([plan_move(layout, mover) for mover in movers])
        errors = traffic.wait_flowing(max(move.done_ns for move in moves), _RECOVER_S)
        traffic.enter(Phase.AFTER)
        time.sleep(_AFTER_S)
        reports = traffic.end()
    errors += [error for report in reports for error in report.errors]
    return RunDetail(run, case.name.lower(), case_figures(case, reports), tuple(moves), tuple(errors))


def _settings(layout: Layout, run: int, case: Case) -> dict[str, Settings]:
    router = router_address(LANS[0], 4)
    return {
        "a": Settings(
            run,
            case,
            (
                SenderSettings(Flow.UDP_A_B, "udp", layout.host("b").name, UDP_PORT),
                SenderSettings(Flow.TCP_A_B, "tcp", layout.host("b").name, TCP_PORT),
                SenderSettings(Flow.PING_A_B, "ping", layout.host("b").name),
                SenderSettings(Flow.FLOOR_A, "udp", router, FLOOR_PORT),
            ),
            UDP_PORT,
            TCP_PORT,
        ),
        "b": Settings(
            run,
            case,
            (
                SenderSettings(Flow.UDP_B_A, "udp", layout.host("a").name, UDP_PORT),
                SenderSettings(Flow.TCP_B_A, "tcp", layout.host("a").name, TCP_PORT),
                SenderSettings(Flow.FLOOR_B, "udp", router, FLOOR_PORT),
            ),
            UDP_PORT,
            TCP_PORT,
        ),
        ROUTER: Settings(run, case, udp_port=FLOOR_PORT),
    }


# --- keeping


@contextlib.contextmanager
def _keeping(layout: Layout, directory: Path | None) -> Iterator[list[capture.Captured]]:
    """Capture both LANs and both tunnels meanwhile; what was captured is in the list afterwards."""
    captured: list[capture.Captured] = []
    if directory is None:
        yield captured
        return
    taps = [
        capture.Tap(
            layout.netns(ROUTER), f"lan{lan}", str(directory / f"lan{lan}.pcap"), capture.LINK_ETHERNET
        )
        for lan in LANS
    ]
    taps += [
        capture.Tap(layout.netns(label), "tun0", str(directory / f"{label}-tun0.pcap"), capture.LINK_RAW)
        for label in ("a", "b")
    ]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "vipnet.lab.capture", msgspec.json.encode(taps).decode()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None  # noqa: S101 - a pipe, by construction
        if process.stdout.readline() != b"ready\n":
            reason = process.communicate()[1].decode(errors="replace").strip().splitlines()
            raise HostError(
                f"cannot capture packets: {reason[-1] if reason else 'no reason given'}; try without --keep"
            )
        yield captured
        output, _ = process.communicate(timeout=_ANSWER_S)
        captured += msgspec.json.decode(output, type=list[capture.Captured])
    finally:
        process.kill()
        process.communicate()
    if dropped := sum(one.dropped for one in captured):
        raise HostError(
            f"{dropped} packets were not captured: the machine is too busy: try again, or without --keep"
        )


def _write_events(layout: Layout, directory: Path, demo: Demo, captured: Sequence[capture.Captured]) -> None:
    """Leave the report, and beside the packets what programs say of the same time."""
    (directory / "demo.json").write_bytes(msgspec.json.encode(demo))
    log = nameserver.log_file(layout)
    shutil.copy(log, directory / log.name)
    events = {
        "monotonic_minus_realtime_ns": time.monotonic_ns() - time.time_ns(),
        "captured": captured,
        "lab_moves": [
            {"run": detail.run, "case": detail.case, "moves": detail.moves} for detail in demo.runs_detail
        ],
        "daemon_moves": {label: _daemon_moves(layout, label) for label in ("a", "b")},
    }
    (directory / "events.json").write_bytes(msgspec.json.encode(events))


def _daemon_moves(layout: Layout, label: str) -> object:
    try:
        return ask_daemon(layout.run_dir(label), "moves")["moves"]
    except VipnetError as error:
        return str(error)
