"""vipnet: on the wire with peers listed by hand, where hosts move with names in the lab's BIND."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
from importlib import metadata
from typing import Final

from bench.movingbed import MovingTestbed
from bench.overlays import Overlay
from bench.testbed import Host

from vipnet.crypto.noise import public_key
from vipnet.lab import hosts, processes

_DOWN_S: Final = 60.0  # on a busy machine, too
_CONFIG: Final = """\
name = "{label}.bench"
key_file = "{directory}/key"
state_dir = "{directory}/state"
run_dir = "{directory}/run"

[dns]
hook = "none"

[[peer]]
name = "{other}.bench"
key = "{other_key}"
address = "{other_address}"
"""


class Vipnet(Overlay):
    name = "vipnet"

    def start(self) -> None:
        keys = {host.label: os.urandom(32) for host in self.bed.hosts}
        for host in self.bed.hosts:
            other = self.bed.other(host)
            key_file = host.directory / "key"
            key_file.touch(mode=0o600)
            key_file.write_bytes(base64.b64encode(keys[host.label]))
            text = _CONFIG.format(
                label=host.label,
                directory=host.directory,
                other=other.label,
                other_key=base64.b64encode(public_key(keys[other.label])).decode(),
                other_address=other.address,
            )
            (host.directory / "config.toml").write_text(text, encoding="ascii")
        self.pids = [
            self.bed.start(host, *self._words(host), "run", log="vipnet.log").pid for host in self.bed.hosts
        ]
        for host in self.bed.hosts:
            self.bed.until((host.directory / "run/control.sock").exists, "the control socket")
        self._tokens = {}
        for host in self.bed.hosts:
            other = self.bed.other(host)
            answer = host.run(*self._words(host), "resolve", "--json", f"{other.label}.bench")
            self._tokens[other.label] = json.loads(answer)["address"]
        self.wait()

    def _words(self, host: Host) -> list[str]:
        config = str(host.directory / "config.toml")
        return ["env", f"VIPNET_CONFIG={config}", sys.executable, "-m", "vipnet"]

    def address(self, host: Host) -> str:
        return str(self._tokens[host.label])

    def version(self) -> str:
        return metadata.version("vipnet")


class VipnetByName(Overlay):
    """As the lab configures it: names in BIND, updates signed by TSIG, no peer listed."""

    name = "vipnet"

    def __init__(self, bed: MovingTestbed, *, shortest: bool = False) -> None:
        super().__init__(bed, shortest=shortest)
        self._layout = bed.layout

    def start(self) -> None:
        hosts.start_daemons(self._layout)
        found = (hosts.daemon_pid(self._layout.run_dir(host.label)) for host in self.bed.hosts)
        self.pids = [pid for pid in found if pid is not None]
        self.wait()

    def stop(self) -> None:
        """The next one is a new host: it remembers nobody."""
        left = [process for pid in self.pids if (process := processes.running(pid))]
        try:
            hosts.stop_daemons(self._layout, _DOWN_S)
        finally:
            processes.stop(*left)
            for host in self.bed.hosts:
                shutil.rmtree(self._layout.state_dir(host.label), ignore_errors=True)

    def address(self, host: Host) -> str:
        return host.endpoint

    def version(self) -> str:
        return metadata.version("vipnet")
