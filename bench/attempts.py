"""One case measured: labs, traffic in them, moves, and what the receivers saw."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
from bench.cases import CASES, Case, Step
from bench.streams import FLOORS, NEAR_S, floor_ms, settings_of, troubles
from msgspec import Struct

from vipnet.app.control import ask_daemon
from vipnet.errors import HostError, VipnetError
from vipnet.lab import lifecycle
from vipnet.lab.figures import FlowFigures, first_arrival_ms, flow_figures, worst
from vipnet.lab.flows import Phase
from vipnet.lab.hosts import command_on
from vipnet.lab.layout import LabSpec, Layout
from vipnet.lab.moves import LabMove, carry_out, plan_move
from vipnet.lab.programs import Traffic

STEADY_S: Final = 0.5  # of steady traffic before a move and after it
RECOVER_S: Final = 15.0  # and as long as the outage was: TCP's own back-off doubles

_BULK_PORT: Final = "5301"
_BULK_BEGINS_S: Final = 1.0

Tell = Callable[[str], None]


class Attempt(Struct, frozen=True, kw_only=True):
    """One move as it was measured.

    outage_ms    from the first command of leaving to the first one of coming back
    returns_ms   per stream: first arrival, from the end of the move's commands on
    vipnet       per host: its own report of its last move
    """

    run: int
    lab: str
    rtt_ms: float
    floor_ms: float | None
    outage_ms: float
    moves: tuple[LabMove, ...]
    flows: dict[str, FlowFigures]
    returns_ms: dict[str, float | None]
    vipnet: dict[str, object]
    errors: tuple[str, ...]


def measure(name: str, runs: int, tell: Tell) -> Iterator[Attempt]:
    """Build labs, move in them RUNS times, and take them down, whatever happens.

    Raise HostError when there is no traffic even before a move.
    """
    case = CASES[name]
    with contextlib.ExitStack() as labs:
        specs = [LabSpec(name=f"bench-{os.getpid()}-{number}", dns="bind") for number in range(case.lanes)]
        lanes = [Lane(case, labs.enter_context(lab(spec))) for spec in specs[:runs]]
        for first in range(1, runs + 1, len(lanes)):
            tell(f"{name}: run {first} of {runs}")
            with contextlib.ExitStack() as traffic:
                begun = []
                for run, lane in zip(range(first, runs + 1), lanes, strict=False):
                    begun.append(traffic.enter_context(lane.attempt(run)))
                    begun[-1].leave()
                for one in begun:
                    one.come_back()
                yield from [one.end() for one in begun]


@contextlib.contextmanager
def lab(spec: LabSpec) -> Iterator[Layout]:
    """A lab that goes down whatever happens. Raise as `lifecycle.up`."""
    layout = lifecycle.up(spec)
    try:
        yield layout
    finally:
        with _uninterrupted():
            lifecycle.down(layout.name)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """A second Ctrl-C must not leave half of it. In a thread there is none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


class Lane:
    """A lab, and in it one move after the other."""

    def __init__(self, case: Case, layout: Layout) -> None:
        self._case, self._layout = case, layout
        self._rtt_ms = round_trip_ms(layout)

    @contextlib.contextmanager
    def attempt(self, run: int) -> Iterator[Running]:
        for step in self._case.before:
            self._take(step)
        bulk = bulk_transfer(self._layout) if self._case.bulk else contextlib.nullcontext()
        with bulk, traffic_of(self._case, self._layout, run) as traffic:
            traffic.begin()
            yield Running(self._case, self._layout, run, self._rtt_ms, traffic)
        for step in self._case.after:
            self._take(step)

    def _take(self, step: Step) -> None:
        carry_out([plan_move(self._layout, "a", step.kind, step.lan)])


class Running:
    """One attempt, from steady traffic to its figures."""

    def __init__(self, case: Case, layout: Layout, run: int, rtt_ms: float, traffic: Traffic) -> None:
        self._case, self._layout, self._run, self._rtt_ms = case, layout, run, rtt_ms
        self._traffic = traffic
        move = case.move
        self._changes = [plan_move(layout, mover, move.kind, move.lan) for mover in case.movers]
        self._left_ns = 0
        self._moves: list[LabMove] = []
        self._errors: list[str] = []

    def leave(self) -> None:
        """Give the traffic time to be steady; where there is an outage, let it begin."""
        time.sleep(STEADY_S)
        self._traffic.enter(Phase.MOVE)
        time.sleep(NEAR_S)
        if self._case.outage_s:
            (left,) = carry_out([msgspec.structs.replace(one, join=()) for one in self._changes])
            self._left_ns = left.event_ns
            self._changes = [msgspec.structs.replace(one, leave=()) for one in self._changes]

    def come_back(self) -> None:
        """Move, or end the outage when it is time; return when all flows again, or will not."""
        outage_s = self._case.outage_s
        if outage_s:
            time.sleep(max(0.0, outage_s - (time.monotonic_ns() - self._left_ns) / 1e9))
        self._moves = carry_out(self._changes)
        done_ns = max(move.done_ns for move in self._moves)
        self._errors = self._traffic.wait_flowing(done_ns, RECOVER_S + outage_s)
        self._traffic.enter(Phase.AFTER)
        time.sleep(STEADY_S)

    def end(self) -> Attempt:
        """Stop the traffic, and count."""
        reports = self._traffic.end()
        flows = flow_figures(reports)
        errors = self._errors + troubles(flows, self._case.flows, reports)
        first, last = self._moves[0], self._moves[-1]
        floors = [FLOORS[mover] for mover in self._case.movers]
        returns_ms = {
            flow: first_arrival_ms(reports, flow, first.event_ns, last.done_ns)
            for flow in (*self._case.flows, *floors)
        }
        outage_floor_ms = worst(returns_ms[one] for one in floors)
        floor = outage_floor_ms if self._case.outage_s else floor_ms(flows, self._case.movers)
        return Attempt(
            run=self._run,
            lab=self._layout.name,
            rtt_ms=self._rtt_ms,
            floor_ms=floor if self._case.floor else None,
            outage_ms=round((first.event_ns - self._left_ns) / 1e6, 3) if self._left_ns else 0.0,
            moves=tuple(self._moves),
            flows={flow.name: flows[flow] for flow in self._case.flows},
            returns_ms={flow.name: returns_ms[flow] for flow in self._case.flows},
            vipnet={label: _last_move(self._layout, label) for label in ("a", "b")},
            errors=tuple(errors),
        )


def traffic_of(case: Case, layout: Layout, run: int) -> Traffic:
    """What flows in CASE, between hosts that know each other by name."""
    settings = settings_of(
        run,
        case.movers,
        case.flows,
        lambda label: layout.host(label).name,
        tcp_bytes=case.tcp_bytes,
        floor=case.floor,
    )
    return Traffic(layout, settings)


@contextlib.contextmanager
def bulk_transfer(layout: Layout) -> Iterator[None]:
    """A connection from a to b that carries as much as it can, and must still be there at the end.

    Raise HostError when it cannot begin, or does not survive.
    """
    listen = command_on(layout, "b", ["iperf3", "-s", "-p", _BULK_PORT, "--one-off"])
    connect = command_on(layout, "a", ["iperf3", "-c", layout.host("b").name, "-p", _BULK_PORT, "-t", "600"])
    with contextlib.ExitStack() as stack:
        for command in (listen, connect):
            program = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            stack.callback(program.wait)
            stack.callback(program.terminate)
            time.sleep(_BULK_BEGINS_S)
        yield
        if program.poll() is not None:
            raise HostError(f"the bulk transfer ended: {program.stderr and program.stderr.read()}")


def round_trip_ms(layout: Layout) -> float:
    """Between a's and b's first addresses, outside vipnet."""
    address = layout.host("b").address(layout.host("b").lan)
    ping = ["ping", "-q", "-n", "-c", "20", "-i", "0.01", address]
    done = subprocess.run(command_on(layout, "a", ping), capture_output=True, text=True, check=False)
    found = re.search(r"= [\d.]+/([\d.]+)/", done.stdout)
    if found is None:
        raise HostError(f"a does not reach b in the lab: {done.stdout or done.stderr}")
    return float(found[1])


def _last_move(layout: Layout, label: str) -> object:
    try:
        moves: list[object] = ask_daemon(layout.run_dir(label), "moves")["moves"]
    except VipnetError as error:
        return str(error)
    return moves[-1] if moves else None
