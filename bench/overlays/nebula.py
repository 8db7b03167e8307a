"""Nebula, each host knowing the other's address: no lighthouse stands in the way."""

from __future__ import annotations

import subprocess

from bench.overlays import Overlay
from bench.testbed import Host

_CONFIG = """\
pki: {{ca: {directory}/ca.crt, cert: {directory}/host.crt, key: {directory}/host.key}}
static_host_map: {{"{other_inside}": ["{other_address}:4242"]}}
lighthouse: {{am_lighthouse: false, hosts: []}}
listen: {{host: 0.0.0.0, port: 4242}}
punchy: {{punch: true}}
tun: {{dev: nebula1}}
firewall:
  outbound: [{{port: any, proto: any, host: any}}]
  inbound: [{{port: any, proto: any, host: any}}]
"""


class Nebula(Overlay):
    name = "nebula"
    programs = ("nebula", "nebula-cert")

    def start(self) -> None:
        a, _ = self.bed.hosts
        ca = a.directory.parent / "ca"
        a.run("nebula-cert", "ca", "-name", "bench", "-out-crt", f"{ca}.crt", "-out-key", f"{ca}.key")
        for host in self.bed.hosts:
            directory, other = host.directory, self.bed.other(host)
            (directory / "ca.crt").write_bytes(ca.with_suffix(".crt").read_bytes())
            host.run(
                *("nebula-cert", "sign", "-name", host.label, "-ip", f"{self.address(host)}/24"),
                *("-ca-crt", f"{ca}.crt", "-ca-key", f"{ca}.key"),
                *("-out-crt", str(directory / "host.crt"), "-out-key", str(directory / "host.key")),
            )
            text = _CONFIG.format(
                directory=directory, other_inside=self.address(other), other_address=other.address
            )
            (directory / "nebula.yml").write_text(text, encoding="ascii")
            config = str(directory / "nebula.yml")
            self.pids.append(self.bed.start(host, "nebula", "-config", config, log="nebula.log").pid)
        self.wait()

    def address(self, host: Host) -> str:
        return f"10.92.0.{host.address[-1]}"

    def version(self) -> str:
        return subprocess.run(
            ["nebula", "-version"], capture_output=True, text=True, check=True
        ).stdout.split()[-1]
