"""OpenVPN over UDP; each end knows the other's certificate by its fingerprint."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Final

from bench.overlays import Overlay
from bench.testbed import Host

_PORT: Final = "1194"
# The server may float; and who does not answer within 2 s (else 120) is looked up anew.
_SHORTEST: Final = (
    *("--float", "--tls-timeout", "1"),
    *("--connect-retry", "1", "1", "--server-poll-timeout", "2"),
)


class OpenVpn(Overlay):
    """Point to point."""

    name = "openvpn"
    programs = ("openvpn", "openssl")

    def start(self) -> None:
        marks = {host.label: self._certificate(host) for host in self.bed.hosts}
        for host in self.bed.hosts:
            other = self.bed.other(host)
            certificate = ("--cert", "cert.pem", "--key", "key.pem", "--peer-fingerprint", marks[other.label])
            self.pids.append(
                self.bed.start(
                    host,
                    # Without a device node of its own the kernel module is never asked for.
                    *("openvpn", "--dev", "tun", "--proto", "udp", "--disable-dco"),
                    *self._role(host, other),
                    *("--cd", str(host.directory), *certificate),
                    log="openvpn.log",
                ).pid
            )
        self.wait()

    def _role(self, host: Host, other: Host) -> Sequence[str]:
        tls = ("--tls-server", "--dh", "none") if host is self.bed.a else ("--tls-client",)
        return "--remote", other.endpoint, "--ifconfig", self.address(host), self.address(other), *tls

    def _certificate(self, host: Host) -> str:
        """Make a key and its certificate; return the certificate's SHA-256 fingerprint."""
        files = (str(host.directory / "key.pem"), str(host.directory / "cert.pem"))
        host.run(
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1"),
            *("-nodes", "-days", "30", "-subj", f"/CN={host.label}", "-keyout", files[0], "-out", files[1]),
        )
        line = host.run("openssl", "x509", "-in", files[1], "-noout", "-fingerprint", "-sha256")
        return line.strip().partition("=")[2]

    def address(self, host: Host) -> str:
        return f"10.94.0.{host.number}"

    def version(self) -> str:
        return subprocess.run(
            ["openvpn", "--version"], capture_output=True, text=True, check=True
        ).stdout.split()[1]


class OpenVpnServer(OpenVpn):
    """Client `a`, server `b`, as in the examples that come with it (client.conf, server.conf).

    SHORTEST: `keepalive 1 2`, and a client that is quick to look for its server again.
    """

    name = "openvpn, client and server"

    def _role(self, host: Host, other: Host) -> Sequence[str]:
        stay = ("--persist-key", "--persist-tun")
        if host is self.bed.a:
            found = ("--client", "--remote", other.endpoint, _PORT, "--resolv-retry", "infinite", "--nobind")
            return *found, *stay, *(_SHORTEST if self.shortest else ())
        network = ("--server", "10.94.0.0", "255.255.255.0", "--topology", "subnet", "--dh", "none")
        keepalive = ("1", "2") if self.shortest else ("10", "120")
        return "--port", _PORT, *network, *stay, "--keepalive", *keepalive

    def address(self, host: Host) -> str:
        """The server's is the first of its network, its only client's the next."""
        return "10.94.0.2" if host is self.bed.a else "10.94.0.1"
