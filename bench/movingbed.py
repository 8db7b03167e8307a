"""Hosts that can move: the lab's two LANs, router and BIND, with any overlay on them.

    a 10.201.1.10 (LAN 1) --- r --- b 10.201.2.20 (LAN 2)       docs/lab.md

A lab is built once, without vipnet running, and lent to one overlay after the other:
each finds its hosts at home, DNS as it was, and directories of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from bench.testbed import Host, Testbed, TestbedError

from vipnet.lab import hosts, lifecycle, topology
from vipnet.lab.layout import DNS_ADDRESS, LANS, ROUTER, ZONE, LabSpec, Layout, router_address
from vipnet.lab.moves import LabMove, carry_out, plan_move

_TTL_S: Final = 5  # as vipnet publishes it
_UPDATE_S: Final = 20.0


class MovingTestbed(Testbed):
    """A lab with its hosts as an overlay's configuration sees them: known by name."""

    def __init__(self, layout: Layout, directory: Path) -> None:
        self.layout = layout
        self._updates: list[subprocess.Popen[bytes]] = []
        a, b, router = (self._host(label, directory) for label in ("a", "b", ROUTER))
        super().__init__(a, b, router)
        for host in (a, b, router):
            host.directory.mkdir()

    def _host(self, label: str, directory: Path) -> Host:
        enter = tuple(hosts.command_on(self.layout, label, []))
        if label == ROUTER:
            address = router_address(LANS[0], 4)
            return Host(label, address, address, 1, directory / label, enter)
        host = self.layout.host(label)
        return Host(label, host.address(host.lan), host.name, host.number, directory / label, enter)

    def go_home(self) -> None:
        """Every host where it began, and nothing but its address in DNS. Raise HostError, TestbedError."""
        go_home(self.layout)
        for host in self.layout.hosts:
            self._update(host.label, host.address(host.lan), forget=True)
        self._wait_for_updates()

    def move(self, labels: Sequence[str], *, publish: bool) -> list[LabMove]:
        """Move hosts to their other LAN at once; PUBLISH: and tell DNS, as a DHCP client's hook would.

        Return when the hosts have moved; the updates are on their way then. Raise HostError.
        """
        moves = carry_out([plan_move(self.layout, label) for label in labels])
        if publish:
            for move in moves:
                assert move.after is not None
                self._update(move.host, move.after)
        return moves

    def _update(self, label: str, address: str, *, forget: bool = False) -> None:
        """Begin to write ADDRESS of a host into DNS; FORGET: whatever else is there goes (nsupdate(1))."""
        host = self.layout.host(label)
        secret = self.layout.tsig_file(label).read_text(encoding="ascii").strip()
        lines = [f"server {DNS_ADDRESS}", f"zone {ZONE}", f"key hmac-sha256:{host.key_name} {secret}"]
        lines.append(f"update delete {host.name} A")
        if forget:
            lines += [f"update delete {sub}.{host.name} TXT" for sub in ("_vip", "_seq._vip")]
        lines += [f"update add {host.name} {_TTL_S} A {address}", "send", ""]
        popen = subprocess.Popen(
            hosts.command_on(self.layout, label, ["nsupdate"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert popen.stdin is not None
        popen.stdin.write("\n".join(lines).encode())
        popen.stdin.close()
        popen.stdin = None
        self._updates.append(popen)

    def _wait_for_updates(self) -> None:
        while self._updates:
            popen = self._updates.pop()
            _, error = popen.communicate(timeout=_UPDATE_S)
            if popen.returncode:
                raise TestbedError(f"nsupdate: {error.decode().strip()}")

    def stop(self, *programs: subprocess.Popen[bytes]) -> None:
        super().stop(*programs)
        if not programs:
            self._wait_for_updates()


def go_home(layout: Layout) -> None:
    """Every host on the LAN where it began. Raise HostError."""
    for host in layout.hosts:
        if not any(nic.up and nic.addresses for nic in topology.nics(layout, host) if nic.lan == host.lan):
            carry_out([plan_move(layout, host.label, lan=host.lan)])


@contextlib.contextmanager
def empty_lab(number: int) -> Iterator[Layout]:
    """A lab of which a and b are ready for vipnet, or for any other overlay."""
    layout = lifecycle.up(LabSpec(name=f"peers-{os.getpid()}-{number}", dns="bind", daemons=False))
    try:
        yield layout
    finally:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it
        lifecycle.down(layout.name)
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def moving_testbed(layout: Layout) -> Iterator[MovingTestbed]:
    """Hosts at home; what was started on them ends with the block, and their files go."""
    directory = Path(tempfile.mkdtemp(prefix="turn-", dir=layout.directory))
    bed = MovingTestbed(layout, directory)
    try:
        bed.go_home()
        yield bed
    finally:
        bed.stop()
        shutil.rmtree(directory, ignore_errors=True)
