"""tinc 1.0 in its default, router mode."""

from __future__ import annotations

import subprocess
from typing import Final

from bench.overlays import Overlay
from bench.testbed import Host

# Seconds; PingInterval is 60, PingTimeout 5, and MaxTimeout, the longest wait before a new try, 900.
_SHORTEST: Final = "PingInterval = 1\nPingTimeout = 1\nMaxTimeout = 1\n"
_UP: Final = """\
#!/bin/sh
ip address add {inside}/24 dev $INTERFACE
ip link set $INTERFACE up
"""


class Tinc(Overlay):
    name = "tinc"
    programs = ("tincd",)

    def start(self) -> None:
        for host in self.bed.hosts:
            directory, other = host.directory / "tinc", self.bed.other(host)
            (directory / "hosts").mkdir(parents=True)
            settings = f"Name = {host.label}\nConnectTo = {other.label}\nInterface = tinc0\n"
            settings += _SHORTEST if self.shortest else ""
            (directory / "tinc.conf").write_text(settings, encoding="ascii")
            about = f"Address = {host.endpoint}\nSubnet = {self.address(host)}/32\n"
            (directory / "hosts" / host.label).write_text(about, encoding="ascii")
            up = directory / "tinc-up"
            up.write_text(_UP.format(inside=self.address(host)), encoding="ascii")
            up.chmod(0o755)
            host.run("tincd", "-c", str(directory), "-K", "4096", given="\n\n")
        for host in self.bed.hosts:
            other = self.bed.other(host)
            public = (host.directory / "tinc/hosts" / host.label).read_bytes()
            (other.directory / "tinc/hosts" / host.label).write_bytes(public)
        for host in self.bed.hosts:
            directory = host.directory / "tinc"
            words = ("tincd", "-c", str(directory), "-D", "--pidfile", str(directory / "pid"))
            self.pids.append(self.bed.start(host, *words, log="tinc.log").pid)
        self.wait()

    def address(self, host: Host) -> str:
        return f"10.93.0.{host.number}"

    def version(self) -> str:
        return subprocess.run(
            ["tincd", "--version"], capture_output=True, text=True, check=True
        ).stdout.split()[2]
