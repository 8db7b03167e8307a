"""A lab that is ready to be measured in."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import dns.exception
import dns.message
import dns.query
import msgspec
from bench.attempts import lab, round_trip_ms
from bench.paper.cells import BedKind

from vipnet.app.control import ask_daemon
from vipnet.errors import HostError, VipnetError
from vipnet.lab import hosts, nameserver, topology
from vipnet.lab.hosts import command_on
from vipnet.lab.layout import DNS_ADDRESS, ZONE, Layout
from vipnet.lab.namespaces import enter_command, inside, write_sysctls
from vipnet.lab.zoneserver import Faults

ROOT: Final = Path(__file__).parents[2]
HOSTS: Final = ("a", "b")
_WAIT_S: Final = 60.0
_POLL_S: Final = 0.05
_DOWN_S: Final = 60.0  # with other labs on the machine
_ANSWER_S: Final = 20.0  # more than any latency that is ordered
_SYSCTLS_2001: Final = {
    "ipv4/tcp_early_retrans": "0",  # no tail loss probes (RFC 8985 section 7)
    "ipv4/tcp_recovery": "0",  # nor what else of RACK-TLP came after Linux 2.2
    "ipv4/tcp_window_scaling": "0",  # 64 KB, which an outage of some milliseconds swallows as a whole
}
_ROUTE_2001: Final = "rto_min 200ms quickack 0"


class Bed:
    """A lab of one kind, in which a and b know each other."""

    def __init__(self, kind: BedKind, layout: Layout, *, met: bool) -> None:
        self.kind, self.layout = kind, layout
        if kind.sleepy:
            self._sleep_file.write_text("0", encoding="ascii")
            self._start_sleepy_daemons()
        if kind.kernel == "2001":
            self._set_back_the_kernel()
        self.rtt_ms = round_trip_ms(layout)
        self.settle()
        if met:
            self.run_on("a", "vipnet", "resolve", layout.host("b").name)
        self.settle()

    @property
    def _sleep_file(self) -> Path:
        return self.layout.directory / "sleep_ms"

    def _start_sleepy_daemons(self) -> None:
        hosts.stop_daemons(self.layout, _DOWN_S)
        for label in HOSTS:
            words = [sys.executable, "-m", "bench.paper.sleepy", str(self._sleep_file)]
            words += ["run", "--config", str(self.layout.config_file(label))]
            with (self.layout.host_directory(label) / "sleepy.log").open("ab") as log:
                # Ended, like every daemon of the lab, by its arguments when that goes down.
                subprocess.Popen(
                    enter_command(self.layout.netns(label), self.layout.etc(label), words),
                    cwd=ROOT,
                    env=os.environ | {"PYTHONPATH": str(ROOT)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def _set_back_the_kernel(self) -> None:
        for label in HOSTS:
            netns = self.layout.netns(label)
            write_sysctls(netns, _SYSCTLS_2001)
            route = self.run_on(label, "ip", "route", "show", "dev", "tun0").splitlines()[0].strip()
            topology.run_ip([f"route change {route} dev tun0 {_ROUTE_2001}"], netns=netns)

    # --- what is slow

    def make_dns_late(self, delay_ms: float) -> None:
        """From now on; by the forwarder, or in the daemons."""
        if self.kind.sleepy:
            self._sleep_file.write_text(f"{delay_ms}", encoding="ascii")
        if self.kind.late:
            nameserver.order_faults(self.layout, Faults(delay_ms))

    def settle(self) -> None:
        """DNS is fast, and knows where both are, when this returns. Raise HostError."""
        self.make_dns_late(0)
        deadline = time.monotonic() + _WAIT_S
        while not all(self._is_published(label) for label in HOSTS):
            if time.monotonic() > deadline:
                raise HostError(f"a and b do not get into DNS: see {self.layout.directory}")
            time.sleep(_POLL_S)

    def _is_published(self, label: str) -> bool:
        try:
            status: dict[str, Any] = ask_daemon(self.layout.run_dir(label), "status")
        except VipnetError:
            return False
        return bool(status["state"] == "ready" and status["publish"]["state"] == "ok")

    def ask_dns_ms(self, label: str) -> float | None:
        """How long a question from a host to the name server takes now, by the clock; None: no answer."""
        query = dns.message.make_query(f"a.{ZONE}", "A")
        began_ns = time.monotonic_ns()
        try:
            with inside(self.layout.netns(label)):
                dns.query.udp(query, DNS_ADDRESS, timeout=_ANSWER_S)
        except (dns.exception.DNSException, OSError):
            return None
        return round((time.monotonic_ns() - began_ns) / 1e6, 3)

    # --- programs on hosts

    def lans(self) -> int:
        """On how many LANs a and b are together."""
        found = [topology.nics(self.layout, self.layout.host(label)) for label in HOSTS]
        return len({nic.lan for nics in found for nic in nics if nic.up and nic.addresses})

    def run_on(self, label: str, *words: str, within_s: float = 60.0) -> str:
        """Standard output. Raise HostError when the program fails."""
        env = hosts.environment(self.layout, label)
        done = subprocess.run(
            command_on(self.layout, label, words),
            env=env,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise HostError(f"{label}: {' '.join(words)}: {said[-1] if said else done.returncode}")
        return done.stdout


@contextlib.contextmanager
def make_bed(kind: BedKind, name: str, *, legacy: bool = False, met: bool = True) -> Iterator[Bed]:
    """With c or without; a and b have MET. Raise HostError, or a daemon's own reason.

    Nothing is left of it afterwards.
    """
    with lab(msgspec.structs.replace(kind.spec(name), legacy=legacy)) as layout:
        yield Bed(kind, layout, met=met)
