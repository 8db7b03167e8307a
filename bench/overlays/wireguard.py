"""wireguard-go, Debian's newest build (bench.overlays.debian), as `wg` and `ip` set it up."""

from __future__ import annotations

import subprocess
from functools import partial

from bench.overlays import Overlay, debian
from bench.testbed import Host


class WireguardGo(Overlay):
    name = "wireguard-go"
    programs = ("wg", "dpkg-deb")

    def start(self) -> None:
        self._program = debian.newest("wireguard-go", "usr/bin/wireguard-go")
        private = {host.label: self._wg("genkey") for host in self.bed.hosts}
        for host in self.bed.hosts:
            program = str(self._program.path)
            # In the foreground it is a process that we can measure and end.
            link = self._link(host)
            self.pids.append(self.bed.start(host, program, "--foreground", link, log="wireguard.log").pid)
            self.bed.until(partial(_has_link, host, link), link)
            other = self.bed.other(host)
            key = host.directory / "wg.key"
            key.touch(mode=0o600)
            key.write_text(private[host.label], encoding="ascii")
            host.run(
                *("wg", "set", link, "listen-port", "51820", "private-key", str(key)),
                *("peer", self._wg("pubkey", private[other.label]).strip()),
                *("endpoint", f"{other.address}:51820", "allowed-ips", f"{self.address(other)}/32"),
            )
            host.run("ip", "address", "add", f"{self.address(host)}/24", "dev", link)
            host.run("ip", "link", "set", link, "up", "mtu", "1420")  # as wg-quick sets it
        self.wait()

    @staticmethod
    def _link(host: Host) -> str:
        """The control socket has its name, in one directory for all namespaces."""
        return "wg" + host.netns.removeprefix("bench").replace("-", "")

    def _wg(self, verb: str, text: str = "") -> str:
        return subprocess.run(["wg", verb], input=text, capture_output=True, text=True, check=True).stdout

    def address(self, host: Host) -> str:
        return f"10.91.0.{host.address[-1]}"

    def version(self) -> str:
        return self._program.version


def _has_link(host: Host, link: str) -> bool:
    return link in host.run("ip", "-brief", "link")
