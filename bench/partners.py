"""A real daemon with hundreds of partners: how fast a move is told, and what idling costs.

    python bench/partners.py [--partners 500] [--runs 20] [--kind readdress|switch] [--json FILE]

A lab of its own, in network namespaces: host a runs the daemon as on any machine, with a
name server to update; host b, behind a router, is bench/crowd.py: a node for each partner,
with a key, a Noise handshake, tokens and a sealed session of its own. All partners have
had traffic within the lease, so that a move of a has to be told to every one of them.

Times are from right before the first `ip` command of the move; a hint is on the wire when
the partner's kernel stamps it. Everything shares this machine: the partners, as many hosts
on one processor, answer later than as many machines would.

Needs root. Exit status 1 when a limit is not met: the last hint within 50 ms of the event
(median of the runs), every partner's ack handled, less than 1 % of a processor when idle.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final, Self

import msgspec
from msgspec import Struct

from vipnet.app.control import ask_daemon
from vipnet.app.keys import load_key
from vipnet.crypto.noise import public_key
from vipnet.errors import VipnetError
from vipnet.lab import hosts, lifecycle, moves, nameserver, topology
from vipnet.lab.layout import ZONE, LabHost, LabSpec, Layout, labs_directory
from vipnet.policy import DEFAULT_PORT

HINTS_MS: Final = 50.0
IDLE_PERCENT: Final = 1.0
FIRST_PORT: Final = 20_000
TALK_AGAIN: Final = 0.5  # of the lease: the partners stay active
QUIET_S: Final = 2.5  # after the last packet: the probes of both sides are over
ACKS_S: Final = 5.0  # wait so long for the acks of a move
POLL_S: Final = 0.05
ANSWER_S: Final = 120.0


class Run(Struct, frozen=True):
    """One move; milliseconds are from the event.

    ip_ms        until the `ip` commands were done
    first_ms, last_ms  the first and the last partner's hint on the wire
    acked_ms     until the last ack had been handled, as the daemon says it
    hints, acked, dns  partners that were told; whose ack was handled; that DNS was asked about
    repeated     hints that were sent again
    cpu_ms       that the daemon needed
    """

    ip_ms: float
    first_ms: float
    last_ms: float
    acked_ms: float
    hints: int
    acked: int
    dns: int
    repeated: int
    cpu_ms: float


class Idle(Struct, frozen=True):
    """The daemon without traffic: share of one processor, in percent, while leases run and after."""

    window_s: float
    leases_percent: float
    no_leases_percent: float


class Result(Struct, frozen=True):
    partners: int
    kind: str
    runs: tuple[Run, ...]
    idle: Idle
    memory_mib: float
    met: bool


# --- the machines


@contextlib.contextmanager
def machines(partners: int, lease_s: float) -> Iterator[tuple[Layout, Crowd]]:
    """A with its daemon, b with its crowd; all is gone afterwards."""
    name = f"partners-{secrets.token_hex(4)}"
    a, b = LabHost("a", 10, 1), LabHost("b", 20, 2, vipnet=False)
    layout = Layout(LabSpec(name=name), (a, b), labs_directory())
    topology.need_ip()
    layout.directory.mkdir(parents=True)
    with lifecycle.interrupts_raise(), contextlib.ExitStack() as stack:
        stack.callback(lifecycle.down, name)
        hosts.write_files(layout)
        settings = _settings(layout, b.address(2), partners, lease_s)
        topology.build(layout)
        nameserver.start(layout)
        hosts.start_daemons(layout)
        stack.callback(hosts.stop_daemons, layout)
        yield layout, stack.enter_context(Crowd(layout, settings))


def _settings(layout: Layout, address: str, partners: int, lease_s: float) -> dict[str, Any]:
    """List the partners in a's configuration; return what the crowd has to know."""
    a = layout.host("a")
    config = layout.config_file("a")
    listed, members = [], []
    for number in range(partners):
        name, key, port = f"p{number}.{ZONE}", secrets.token_bytes(32), FIRST_PORT + number
        members.append({"name": name, "private_key": key, "port": port})
        shown = base64.b64encode(public_key(key)).decode()
        listed.append(f'\n[[peer]]\nname = "{name}"\nkey = "{shown}"\naddress = "{address}:{port}"\n')
    text = config.read_text().replace("[mobility]\n", f"[mobility]\nlease_s = {lease_s}\n")
    config.write_text(text + "".join(listed))
    return {
        "address": address,
        "members": members,
        "lease_s": lease_s,
        "other": a.name,
        "other_key": public_key(load_key(layout.key_file("a"))),
        "other_locator": (a.address(a.lan), DEFAULT_PORT),
    }


class Crowd:
    """The process with all partners, led by lines."""

    def __init__(self, layout: Layout, settings: dict[str, Any]) -> None:
        file = layout.host_directory("b") / "crowd.json"
        file.touch(mode=0o600)
        file.write_bytes(msgspec.json.encode(settings))
        program = [sys.executable, "-P", str(Path(__file__).with_name("crowd.py")), str(file)]
        self._process = subprocess.Popen(
            hosts.command_on(layout, "b", program), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.spoke_at = 0.0

    def __enter__(self) -> Self:
        self._read()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()

    def ask(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._read()

    def expect(self, command: str, key: str, number: int) -> None:
        """Raise VipnetError when fewer than NUMBER hosts could do it."""
        done = self.ask(command)[key]
        if done < number:
            raise VipnetError(f"{command}: {done} of {number} partners")

    def talk(self, number: int) -> None:
        self.expect("talk", "answered", number)
        self.spoke_at = time.monotonic()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise VipnetError(f"bench/crowd.py ended with {self._process.wait()}")
        answer: dict[str, Any] = msgspec.json.decode(line)
        return answer


# --- measuring


class Bench:
    def __init__(self, layout: Layout, crowd: Crowd, arguments: argparse.Namespace) -> None:
        self._layout, self._crowd, self._arguments = layout, crowd, arguments
        self._partners: int = arguments.partners
        pid = hosts.daemon_pid(layout.run_dir("a"))
        if pid is None:
            raise VipnetError("a's daemon has ended")
        self._pid = pid

    def measure(self) -> Result:
        self._crowd.expect("meet", "met", self._partners)
        self._say("sessions are up")
        runs = []
        for number in range(self._arguments.runs):
            runs.append(self._move())
            self._say(f"move {number + 1}: last hint {runs[-1].last_ms:.1f} ms, acked {runs[-1].acked}")
        idle = self._idle()
        return Result(self._partners, self._arguments.kind, tuple(runs), idle, self._memory_mib(), False)

    def _move(self) -> Run:
        crowd, layout = self._crowd, self._layout
        if time.monotonic() - crowd.spoke_at > TALK_AGAIN * self._arguments.lease_s:
            crowd.talk(self._partners)
            time.sleep(QUIET_S)
        crowd.ask("clear")
        before = self._last_move()["id"]
        change = moves.plan_move(layout, "a", self._arguments.kind)
        cpu_before = self._cpu_s()
        (done,) = moves.carry_out([change])
        to_unix_ns = time.time_ns() - time.monotonic_ns()
        event_ns = done.event_ns + to_unix_ns
        report = self._wait_for_acks(before)
        cpu_s = self._cpu_s() - cpu_before
        seen = crowd.ask("seen")["hosts"]
        hint_ms = [(one["hint_ns"] - event_ns) / 1e6 for one in seen if one["hint_ns"] is not None]
        lines = report["partners"]
        outcomes = Counter(line["outcome"] for line in lines)
        # The report counts from when the daemon heard of the move.
        offset_ms = report["at"] * 1000 - event_ns / 1e6
        acks_ms = [line["ack_ms"] for line in lines if line["ack_ms"] is not None]
        return Run(
            ip_ms=(done.done_ns - done.event_ns) / 1e6,
            first_ms=min(hint_ms, default=float("inf")),
            last_ms=max(hint_ms, default=float("inf")),
            acked_ms=offset_ms + max(acks_ms, default=float("inf")),
            hints=len(hint_ms),
            acked=outcomes["acked"] + outcomes["dns"],
            dns=sum(line["lookup_ms"] is not None for line in lines),
            repeated=sum(one["repeated"] for one in seen),
            cpu_ms=cpu_s * 1000,
        )

    def _wait_for_acks(self, before: int) -> dict[str, Any]:
        """The report of the newest move, when all its partners have answered or the time is over."""
        deadline = time.monotonic() + ACKS_S
        while True:
            time.sleep(POLL_S)
            report = self._last_move()
            answered = sum(line["ack_ms"] is not None for line in report["partners"])
            if (report["id"] > before and answered == self._partners) or time.monotonic() > deadline:
                time.sleep(POLL_S)  # what is still under way arrives
                return report

    def _idle(self) -> Idle:
        """Nothing is sent from here on: first the leases run, then they have run out."""
        window_s, lease_s = self._arguments.idle_s, self._arguments.lease_s
        self._crowd.talk(self._partners)
        time.sleep(QUIET_S)
        running = self._cpu_percent(window_s)
        self._say(f"idle with leases: {running:.3f} %")
        time.sleep(max(0.0, self._crowd.spoke_at + lease_s + 2 - time.monotonic()))
        over = self._cpu_percent(window_s)
        self._say(f"idle without leases: {over:.3f} %")
        return Idle(window_s, running, over)

    def _cpu_percent(self, window_s: float) -> float:
        before, begun = self._cpu_s(), time.monotonic()
        time.sleep(window_s)
        return 100 * (self._cpu_s() - before) / (time.monotonic() - begun)

    def _cpu_s(self) -> float:
        """Time on a processor so far, of all threads (proc(5), schedstat: nanoseconds)."""
        spent = 0
        for file in Path(f"/proc/{self._pid}/task").glob("*/schedstat"):
            spent += int(file.read_text().split()[0])
        return spent / 1e9

    def _memory_mib(self) -> float:
        for line in Path(f"/proc/{self._pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise VipnetError("a's daemon has ended")

    def _last_move(self) -> dict[str, Any]:
        reports: list[dict[str, Any]] = ask_daemon(self._layout.run_dir("a"), "moves")["moves"]
        return reports[-1]

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


# --- telling


def limits(result: Result) -> list[tuple[str, bool]]:
    """What has to be true, and whether it is."""
    last_ms = median(run.last_ms for run in result.runs)
    idle = max(result.idle.leases_percent, result.idle.no_leases_percent)
    unanswered = sum(result.partners - run.acked for run in result.runs)
    return [
        (f"last hint {last_ms:.1f} ms after the event, at most {HINTS_MS:g}", last_ms <= HINTS_MS),
        (f"{unanswered} acks not handled, none may be", unanswered == 0),
        (f"{idle:.3f} % of a processor when idle, less than {IDLE_PERCENT:g}", idle < IDLE_PERCENT),
    ]


def table(result: Result) -> str:
    rows = [
        ("ip_ms", "ip commands done"),
        ("first_ms", "first hint on the wire"),
        ("last_ms", "last hint on the wire"),
        ("acked_ms", "last ack handled"),
        ("hints", "partners told"),
        ("acked", "acks handled"),
        ("dns", "partners DNS was asked about"),
        ("repeated", "hints sent again"),
        ("cpu_ms", "daemon's processor time, ms"),
    ]
    lines = [f"{result.partners} partners, {len(result.runs)} moves ({result.kind}); ms after the event"]
    lines.append(f"{'':32}{'median':>10}{'least':>10}{'most':>10}")
    for key, title in rows:
        values = [getattr(run, key) for run in result.runs]
        lines.append(f"{title:32}{median(values):10.1f}{min(values):10.1f}{max(values):10.1f}")
    idle = result.idle
    lines.append(f"idle for {idle.window_s:g} s: {idle.leases_percent:.3f} % of a processor, ")
    lines[-1] += f"{idle.no_leases_percent:.3f} % after the leases; {result.memory_mib:.0f} MiB resident"
    lines += [f"{'met    ' if good else 'NOT MET'} {text}" for text, good in limits(result)]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--partners", type=int, default=500)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--kind", choices=["readdress", "switch"], default="readdress")
    parser.add_argument("--idle-s", type=float, default=30.0, help="length of each idle window")
    parser.add_argument("--lease-s", type=float, default=60.0, help="on both sides")
    parser.add_argument("--json", type=Path, help="write the result there too")
    asked = parser.parse_args(arguments)
    if os.geteuid() != 0:
        parser.error("network namespaces need root")
    try:
        with machines(asked.partners, asked.lease_s) as (layout, crowd):
            result = Bench(layout, crowd, asked).measure()
    except VipnetError as error:
        print(f"bench/partners.py: {error}", file=sys.stderr)
        return 2
    met = all(good for _, good in limits(result))
    result = msgspec.structs.replace(result, met=met)
    print(table(result))
    if asked.json is not None:
        asked.json.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
