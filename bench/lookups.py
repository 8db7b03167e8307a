"""What a look-up costs beside asking BIND directly, in a lab with BIND.

    python bench/lookups.py [--runs 300] [--first 20] [--rtt MS] [--json FILE]

Host a asks, by UDP from a program of its own: names without vipnet, of BIND and of a's
resolver in turns; b, whose binding is known; and b after a has forgotten it, so that each
time a handshake and a negotiation are needed. Then dnsperf asks 2,000 times a second while
ping goes through the tunnel.

Needs root, named and dnsperf. Exit status 1 when a limit is not met (medians):

    legacy name          1.1 x asking BIND directly + 1 ms
    VIP name, first time 2 x round trip + 10 ms
    known binding        an echo on the loopback + 1 ms
    2,000 a second       none lost, ping at most 5 ms longer
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

import dns.message
import msgspec
from msgspec import Struct

from vipnet.lab import hosts, lifecycle
from vipnet.lab.layout import ZONE, LabSpec, Layout

RESOLVER: Final = "127.0.0.47"
RATE: Final = 2_000  # questions a second
RATE_S: Final = 5
LOSSES_MAX: Final = 0
PING_MS: Final = 5.0
PING_EVERY_S: Final = 0.01
COMMAND_S: Final = 120.0
ANSWER_S: Final = 10.0


class Figure(Struct, frozen=True):
    """One row: what was measured, in milliseconds, and the most that it may be."""

    what: str
    ms: float
    limit_ms: float

    @property
    def met(self) -> bool:
        return self.ms <= self.limit_ms


class Load(Struct, frozen=True):
    """dnsperf at RATE: what it got, what a packet took meanwhile, and what of a processor we needed."""

    per_s: float
    lost: int
    latency_ms: float
    cpu_percent: float
    ping_ms: float
    ping_idle_ms: float

    @property
    def met(self) -> bool:
        return self.lost <= LOSSES_MAX and self.ping_ms <= self.ping_idle_ms + PING_MS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=300, help="questions of each kind")
    parser.add_argument("--first", type=int, default=20, help="first contacts")
    parser.add_argument("--rtt", type=float, default=0.0, help="round trip between hosts, ms")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--client", help=argparse.SUPPRESS)  # a job in JSON: this program on host a
    options = parser.parse_args()
    if options.client:
        print(json.dumps(_client(**json.loads(options.client))))
        return 0
    with _lab(options.rtt) as layout:
        figures = [*_costs(layout, options.runs), _first_contact(layout, options.first)]
        load = _load(layout)
    for figure in figures:
        print(
            f"{figure.what:<44} {figure.ms:8.3f} ms   limit {figure.limit_ms:8.3f} ms   {_said(figure.met)}"
        )
    print(
        f"{RATE:,} look-ups a second for {RATE_S} s: {load.per_s:,.0f}/s, {load.lost} lost, "
        f"{load.latency_ms:.2f} ms each, {load.cpu_percent:.0f} % of a processor;\n"
        f"ping through the tunnel {load.ping_ms:.3f} ms, idle {load.ping_idle_ms:.3f} ms   {_said(load.met)}"
    )
    if options.json:
        found = {"figures": msgspec.to_builtins(figures), "load": msgspec.to_builtins(load)}
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if load.met and all(figure.met for figure in figures) else 1


def _said(met: bool) -> str:
    return "ok" if met else "NOT MET"


# --- measurements


def _costs(layout: Layout, runs: int) -> Iterator[Figure]:
    """Names without vipnet and the known one. The first question for a name asks for its record too."""
    server = lifecycle.status(layout).dns.address
    _on(layout, "ping", "-c", "1", f"b.{ZONE}")
    mark = secrets.token_hex(3)
    fresh = {
        way: [f"{mark}-{label}{number}.{ZONE}" for number in range(runs)]
        for way, label in ((server, "d"), (RESOLVER, "r"))
    }
    legacy = f"c.{ZONE}"
    turns = zip(fresh[server], fresh[RESOLVER], strict=True)
    asked = [pair for direct, ours in turns for pair in ((server, direct), (RESOLVER, ours))]
    first = _ask(layout, asked)
    asked = [(server, legacy), (RESOLVER, legacy), (RESOLVER, f"b.{ZONE}"), ("echo", legacy)]
    again = _ask(layout, asked * runs)
    direct = median(first[::2])
    yield Figure("legacy name, asked for the first time", median(first[1::2]), 1.1 * direct + 1)
    direct = median(again[::4])
    yield Figure(f"legacy name (BIND directly: {direct:.3f} ms)", median(again[1::4]), 1.1 * direct + 1)
    echo = median(again[3::4])
    yield Figure(f"known binding (loopback echo: {echo:.3f} ms)", median(again[2::4]), echo + 1)


def _first_contact(layout: Layout, runs: int) -> Figure:
    """DNS, handshake and negotiation, each time anew for a."""
    rtt_ms = _ping_ms(layout, 20)
    took = []
    for _ in range(runs):
        _on(layout, "vipnet", "trust", "remove", f"b.{ZONE}")
        took += _ask(layout, [(RESOLVER, f"b.{ZONE}")])
    print(f"an fsync where the hosts keep their state: {_fsync_ms(layout.directory):.3f} ms")
    return Figure(f"VIP name, first time (round trip {rtt_ms:.3f} ms)", median(took), 2 * rtt_ms + 10)


def _fsync_ms(directory: Path) -> float:
    """A first contact waits for three, one after the other: what was agreed must survive a crash."""
    took = []
    with (directory / "fsync").open("wb", buffering=0) as file:
        for _ in range(20):
            file.write(bytes(4096))
            started = time.perf_counter()
            os.fsync(file.fileno())
            took.append((time.perf_counter() - started) * 1000)
    return median(took)


def _load(layout: Layout) -> Load:
    pid = hosts.daemon_pid(layout.run_dir("a"))
    idle_ms = _ping_ms(layout, 300)
    data = layout.directory / "dnsperf.txt"
    names = [f"{label}.{ZONE}" for label in ("b", "c", "a", "r")]
    data.write_text("".join(f"{name} A\n" for name in names))
    command = ["dnsperf", "-s", RESOLVER, "-d", str(data), "-Q", str(RATE), "-l", str(RATE_S), "-q", "100"]
    before_s = _cpu_s(pid)
    with subprocess.Popen(
        hosts.command_on(layout, "a", command),
        stdout=subprocess.PIPE,
        text=True,
        env=hosts.environment(layout, "a"),
    ) as dnsperf:
        ping_ms = _ping_ms(layout, int(RATE_S * 0.8 / PING_EVERY_S))
        printed, _ = dnsperf.communicate(timeout=COMMAND_S)
    used_s = _cpu_s(pid) - before_s

    def number(pattern: str) -> float:
        found = re.search(pattern, printed)
        if found is None:
            raise SystemExit(f"dnsperf does not say {pattern}:\n{printed}")
        return float(found[1])

    return Load(
        per_s=number(r"per second:\s+([\d.]+)"),
        lost=int(number(r"lost:\s+(\d+)")),
        latency_ms=1000 * number(r"Average Latency \(s\):\s+([\d.]+)"),
        cpu_percent=100 * used_s / RATE_S,
        ping_ms=ping_ms,
        ping_idle_ms=idle_ms,
    )


def _ping_ms(layout: Layout, count: int) -> float:
    """Median of COUNT echoes through the tunnel."""
    printed = _on(layout, "ping", "-i", str(PING_EVERY_S), "-c", str(count), f"b.{ZONE}")
    return median(float(found) for found in re.findall(r"time=([\d.]+) ms", printed))


def _cpu_s(pid: int | None) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- the lab


@contextlib.contextmanager
def _lab(rtt_ms: float) -> Iterator[Layout]:
    spec = LabSpec(name=f"lookups-{secrets.token_hex(3)}", dns="bind", legacy=True, rtt_ms=rtt_ms)
    with lifecycle.interrupts_raise(), contextlib.ExitStack() as stack:
        stack.callback(lifecycle.down, spec.name)
        yield lifecycle.up(spec)


def _on(layout: Layout, *command: str) -> str:
    """Standard output of COMMAND on a."""
    done = subprocess.run(
        hosts.command_on(layout, "a", command),
        env=hosts.environment(layout, "a"),
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def _ask(layout: Layout, asked: list[tuple[str, str]]) -> list[float]:
    """Ask (server, name) one after the other on a; milliseconds each."""
    job = json.dumps({"asked": asked})
    took: list[float] = json.loads(_on(layout, sys.executable, __file__, "--client", job))
    return took


# --- the client, on a


def _client(asked: list[tuple[str, str]]) -> list[float]:
    """One question after the other, each from its own socket; "echo" is a thread that sends back."""
    took = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
        echo.bind(("127.0.0.1", 0))
        threading.Thread(target=_echo, args=(echo,), daemon=True).start()
        for server, name in asked:
            query = dns.message.make_query(name, "A").to_wire()
            where = echo.getsockname() if server == "echo" else (server, 53)
            took.append(_timed(query, where))
    return took


def _timed(query: bytes, where: Any) -> float:  # noqa: ANN401 - a socket's address
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(ANSWER_S)
        started = time.perf_counter()
        sock.sendto(query, where)
        reply = sock.recv(65535)
        took_ms = (time.perf_counter() - started) * 1000
    if reply[3] & 15 not in (0, 3) or reply[:2] != query[:2]:
        raise SystemExit(f"{where}: {dns.message.from_wire(reply)}")
    return took_ms


def _echo(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed at the end
        while True:
            query, client = sock.recvfrom(65535)
            sock.sendto(query, client)


if __name__ == "__main__":
    sys.exit(main())
