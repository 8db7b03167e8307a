"""Nebula, Debian's newest build (bench.overlays.debian).

On the wire each host knows the other's address; hosts that move ask a lighthouse on the router.
The rest is as in the example that comes with it (examples/config.yml).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bench.overlays import Overlay, debian
from bench.testbed import Host

_PORT: Final = 4242
_CONFIG: Final = """\
pki: {{ca: {directory}/ca.crt, cert: {directory}/host.crt, key: {directory}/host.key}}
static_host_map: {static}
lighthouse: {{am_lighthouse: {am_lighthouse}, interval: {interval_s}, hosts: [{lighthouses}]}}
listen: {{host: 0.0.0.0, port: {port}}}
punchy: {{punch: true}}
tun: {{dev: nebula1}}
firewall:
  outbound: [{{port: any, proto: any, host: any}}]
  inbound: [{{port: any, proto: any, host: any}}]
"""
_INTERVAL_S: Final = 60  # of what a host tells its lighthouse
# Seconds where there is no unit: fractions are not taken. They are 5, 10, 60s and 100ms.
_SHORTEST: Final = """\
timers: {connection_alive_interval: 1, pending_deletion_interval: 1, requery_wait_duration: 1s}
handshakes: {try_interval: 10ms}
"""


class Nebula(Overlay):
    name = "nebula"
    programs = ("nebula", "nebula-cert", "dpkg-deb")

    def start(self) -> None:
        self._program = debian.newest("nebula", "usr/bin/nebula")
        self._signer = debian.newest("nebula", "usr/bin/nebula-cert")
        for host in self._members():
            host.run(*self._certify(host))
            config = host.directory / "nebula.yml"
            config.write_text(self._config(host), encoding="ascii")
            pid = self.bed.start(host, str(self._program.path), "-config", str(config), log="nebula.log").pid
            if host in self.bed.hosts:
                self.pids.append(pid)
        self.wait()

    def _members(self) -> list[Host]:
        """The lighthouse first, where there is one."""
        return [*([self.bed.router] if self.bed.router else []), *self.bed.hosts]

    def _certify(self, host: Host) -> list[str]:
        """The command that signs HOST's key, after making the authority with the first one."""
        ca, directory, signer = host.directory.parent / "ca", host.directory, str(self._signer.path)
        if not Path(f"{ca}.crt").exists():
            host.run(signer, "ca", "-name", "bench", "-out-crt", f"{ca}.crt", "-out-key", f"{ca}.key")
        (directory / "ca.crt").write_bytes(Path(f"{ca}.crt").read_bytes())
        return [
            *(signer, "sign", "-name", host.label, "-ip", f"{self.address(host)}/24"),
            *("-ca-crt", f"{ca}.crt", "-ca-key", f"{ca}.key"),
            *("-out-crt", str(directory / "host.crt"), "-out-key", str(directory / "host.key")),
        ]

    def _config(self, host: Host) -> str:
        lighthouse = self.bed.router
        known = lighthouse or self.bed.other(host)
        text = _CONFIG.format(
            directory=host.directory,
            static="{}"
            if host is lighthouse
            else f'{{"{self.address(known)}": ["{known.address}:{_PORT}"]}}',
            am_lighthouse=str(host is lighthouse).lower(),
            interval_s=1 if self.shortest else _INTERVAL_S,
            lighthouses=f'"{self.address(lighthouse)}"' if lighthouse and host is not lighthouse else "",
            port=_PORT,
        )
        return text + (_SHORTEST if self.shortest else "")

    def address(self, host: Host) -> str:
        return f"10.92.0.{host.number}"

    def version(self) -> str:
        return self._program.version
