"""vipnet with peers listed by hand: no name server stands in the way of what is measured."""

from __future__ import annotations

import base64
import json
import os
import sys
from importlib import metadata

from bench.overlays import Overlay
from bench.testbed import Host

from vipnet.crypto.noise import public_key

_CONFIG = """\
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
