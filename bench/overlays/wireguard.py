"""wireguard-go, Debian's newest build (bench.overlays.debian), as `wg` and `ip` set it up.

Its source says nothing of moves: a peer's address follows authenticated packets, and names are
looked up only by `wg`. For the latter there is a script beside `wg`, to be run every 30 s.
"""

from __future__ import annotations

import subprocess
from functools import partial
from typing import ClassVar, Final

from bench.overlays import Overlay, debian
from bench.testbed import Host

_RERESOLVE: Final = "/usr/share/doc/wireguard-tools/examples/reresolve-dns/reresolve-dns.sh"
_EVERY_S: Final = 30  # as the README beside it says
_SHORTEST_S: Final = 1  # of keepalives the shortest that wg takes
_PORT: Final = 51820
_CONFIG: Final = """\
[Peer]
PublicKey = {key}
Endpoint = {endpoint}:{port}
AllowedIPs = {inside}/32
"""


class WireguardGo(Overlay):
    """SHORTEST: both ends send persistent keepalives, one a second."""

    name = "wireguard-go"
    programs: ClassVar[tuple[str, ...]] = ("wg", "dpkg-deb")
    reresolves: ClassVar[bool] = False

    def start(self) -> None:
        self._program = debian.newest("wireguard-go", "usr/bin/wireguard-go")
        private = {host.label: self._wg("genkey") for host in self.bed.hosts}
        for host in self.bed.hosts:
            program = str(self._program.path)
            # In the foreground it is a process that we can measure and end.
            link = f"wg{self.bed.mark}{host.label}"  # its socket is in one directory for all namespaces
            self.pids.append(self.bed.start(host, program, "--foreground", link, log="wireguard.log").pid)
            self.bed.until(partial(_has_link, host, link), link)
            other = self.bed.other(host)
            key = host.directory / "wg.key"
            key.touch(mode=0o600)
            key.write_text(private[host.label], encoding="ascii")
            config = host.directory / f"{link}.conf"
            public = self._wg("pubkey", private[other.label]).strip()
            text = _CONFIG.format(key=public, endpoint=other.endpoint, port=_PORT, inside=self.address(other))
            if self.shortest:
                text += f"PersistentKeepalive = {_SHORTEST_S}\n"
            config.write_text(text, encoding="ascii")
            host.run("wg", "setconf", link, str(config))
            host.run("wg", "set", link, "listen-port", str(_PORT), "private-key", str(key))
            host.run("ip", "address", "add", f"{self.address(host)}/24", "dev", link)
            host.run("ip", "link", "set", link, "up", "mtu", "1420")  # as wg-quick sets it
            if self.reresolves:
                every_s = _SHORTEST_S if self.shortest else _EVERY_S
                loop = f"while :; do bash {_RERESOLVE} {config}; sleep {every_s}; done"
                self.bed.start(host, "sh", "-c", loop, log="reresolve.log")
        self.wait()

    def _wg(self, verb: str, text: str = "") -> str:
        return subprocess.run(["wg", verb], input=text, capture_output=True, text=True, check=True).stdout

    def address(self, host: Host) -> str:
        return f"10.91.0.{host.number}"

    def version(self) -> str:
        return self._program.version


class WireguardReresolving(WireguardGo):
    """With the script that sets an endpoint anew, by its name, when a handshake is older than 135 s.

    SHORTEST: keepalives, and the script, once a second. The 135 s are fixed.
    """

    name = "wireguard-go, reresolve-dns"
    programs: ClassVar[tuple[str, ...]] = (*WireguardGo.programs, "bash", _RERESOLVE)
    reresolves = True


def _has_link(host: Host, link: str) -> bool:
    return link in host.run("ip", "-brief", "link")
