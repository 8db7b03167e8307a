"""Two hosts on one wire: network namespaces with a veth pair, and programs on them.

    10.90.0.1 a --- b 10.90.0.2

Nothing of the machine's own network is touched; what was made is gone after `with`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_STOP_S: Final = 5.0


class TestbedError(Exception):
    """Something did not start; the message says what, and its own last words."""


class Host(NamedTuple):
    """One end.

    address    of its first NIC, when the testbed was made
    endpoint   where other hosts' configurations say that it is: its address, or its name
    number     tells hosts apart, also inside an overlay
    directory  its own, for keys, configuration and logs
    enter      what stands before a command that is to run there
    """

    label: str
    address: str
    endpoint: str
    number: int
    directory: Path
    enter: tuple[str, ...]

    def command(self, *words: str) -> list[str]:
        return [*self.enter, *words]

    def run(self, *words: str, given: str | None = None, within_s: float = 60) -> str:
        """Standard output of a program here. Raise TestbedError when it fails."""
        done = subprocess.run(
            self.command(*words), check=False, input=given, capture_output=True, text=True, timeout=within_s
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise TestbedError(f"{self.label}: {' '.join(words)}: {said[-1] if said else done.returncode}")
        return done.stdout


class Testbed:
    """Hosts `a` and `b`, and the programs that were started on them.

    mark    of this testbed alone: for what is named once on the whole machine
    router  a third host between them, where there is one
    """

    __test__ = False  # not a test of pytest's

    def __init__(self, a: Host, b: Host, router: Host | None = None) -> None:
        self.mark = secrets.token_hex(3)
        self.a, self.b, self.router = a, b, router
        self.hosts = (a, b)
        self._started: list[subprocess.Popen[bytes]] = []

    def other(self, host: Host) -> Host:
        return self.b if host is self.a else self.a

    def start(self, host: Host, *words: str, log: str) -> subprocess.Popen[bytes]:
        """A program in the background on HOST; its output is in LOG there."""
        with (host.directory / log).open("ab") as output:
            popen = subprocess.Popen(
                host.command(*words), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self._started.append(popen)
        return popen

    def stop(self, *programs: subprocess.Popen[bytes]) -> None:
        """End PROGRAMS, or all that were started."""
        ending = programs or tuple(self._started)
        for popen in ending:
            popen.terminate()
        for popen in ending:
            try:
                popen.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                popen.kill()
                popen.wait()
            with contextlib.suppress(ValueError):
                self._started.remove(popen)

    def reaches(self, host: Host, address: str) -> bool:
        ping = host.command("ping", "-q", "-n", "-c", "1", "-W", "1", address)
        return subprocess.run(ping, check=False, capture_output=True).returncode == 0

    def until(self, condition: Callable[[], bool], what: str, within_s: float = 30) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                raise TestbedError(f"not within {within_s:g} s: {what}")
            time.sleep(0.05)


class WiredTestbed(Testbed):
    """Two namespaces and a veth pair; `cut` removes them."""

    def __init__(self, directory: Path) -> None:
        self._netns = {label: f"bench-{secrets.token_hex(3)}-{label}" for label in ("a", "b")}
        a, b = (self._host(number, label, directory) for number, label in ((1, "a"), (2, "b")))
        super().__init__(a, b)

    def _host(self, number: int, label: str, directory: Path) -> Host:
        address, netns = f"10.90.0.{number}", self._netns[label]
        return Host(label, address, address, number, directory / label, ("ip", "netns", "exec", netns))

    def wire(self) -> None:
        a, b = self._netns.values()
        for host in self.hosts:
            host.directory.mkdir()
            _ip("netns", "add", self._netns[host.label])
            host.run("ip", "link", "set", "lo", "up")
        _ip("-n", a, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b)
        for host in self.hosts:
            host.run("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
            host.run("ip", "link", "set", "eth0", "up")
            host.run("ip", "route", "add", "default", "via", self.other(host).address)
        self.until(lambda: self.reaches(self.a, self.b.address), "the wire")

    def cut(self) -> None:
        for netns in self._netns.values():
            subprocess.run(["ip", "netns", "delete", netns], check=False, capture_output=True)


@contextlib.contextmanager
def testbed() -> Iterator[Testbed]:
    directory = Path(tempfile.mkdtemp(prefix="vipnet-bench-"))
    bed = WiredTestbed(directory)
    try:
        bed.wire()
        yield bed
    finally:
        bed.stop()
        bed.cut()
        shutil.rmtree(directory, ignore_errors=True)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise TestbedError(f"ip {' '.join(words)}: {done.stderr.strip()}: root and iproute2 are needed")


# --- what programs cost


def cpu_s(pids: Sequence[int]) -> float:
    """Seconds of CPU that PIDS have used, in user space and in the kernel for them (proc(5))."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_S


def machine_cpu_s() -> float:
    """Seconds of CPU that the machine has spent on anything, softirqs included."""
    line = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, line[1:])
    return (user + nice + system + irq + softirq) / _TICKS_PER_S


def resident_mb(pids: Sequence[int]) -> float:
    """The largest resident set among PIDS, 10^6 bytes."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) for pid in pids]
    return max(pages, default=0) * _PAGE_BYTES / 1e6
