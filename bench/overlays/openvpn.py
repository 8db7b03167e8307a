"""OpenVPN point to point over UDP; each end knows the other's certificate by its fingerprint."""

from __future__ import annotations

import subprocess

from bench.overlays import Overlay
from bench.testbed import Host


class OpenVpn(Overlay):
    name = "openvpn"
    programs = ("openvpn", "openssl")

    def start(self) -> None:
        marks = {host.label: self._certificate(host) for host in self.bed.hosts}
        for host in self.bed.hosts:
            other = self.bed.other(host)
            # Without a device node of its own the kernel module is never asked for.
            role = ("--tls-server", "--dh", "none") if host is self.bed.a else ("--tls-client",)
            self.pids.append(
                self.bed.start(
                    host,
                    *("openvpn", "--dev", "tun", "--proto", "udp", "--remote", other.address),
                    *("--ifconfig", self.address(host), self.address(other), *role),
                    *("--cert", "cert.pem", "--key", "key.pem", "--peer-fingerprint", marks[other.label]),
                    *("--cd", str(host.directory), "--disable-dco"),
                    log="openvpn.log",
                ).pid
            )
        self.wait()

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
        return f"10.94.0.{host.address[-1]}"

    def version(self) -> str:
        return subprocess.run(
            ["openvpn", "--version"], capture_output=True, text=True, check=True
        ).stdout.split()[1]
