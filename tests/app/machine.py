"""A machine for `vipnet up`: a network, an /etc/resolv.conf and a configuration of its own."""

from __future__ import annotations

import base64
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.cli.support import Done, short_directory
from tests.netns import Namespace, namespace

from vipnet.lab.namespaces import enter_command

RESOLV_CONF = b"search example.org\nnameserver 192.0.2.53\n# no end of line"
COMMAND_S = 40.0
_NETWORK = """\
link add eth0 type veth peer name wire
link set wire addrgenmode none up
link set eth0 addrgenmode none up
address add 192.0.2.10/24 dev eth0
route add default via 192.0.2.1
"""


class Machine:
    """What vipnet may touch is in `directory`.

    A shell command in `mounts` is run first, in a mount namespace of each command's own.
    """

    def __init__(self, space: Namespace, directory: Path) -> None:
        self.space, self.directory = space, directory
        self.config, self.key = directory / "config.toml", directory / "key"
        self.state, self.run = directory / "state", directory / "run"
        self.etc = directory / "etc"
        self.mounts = "true"
        self.prefix: Sequence[str] = ()
        self.etc.mkdir()
        (self.etc / "resolv.conf").write_bytes(RESOLV_CONF)
        self.key.write_text(base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
        self.key.chmod(0o600)
        self.configure()

    def configure(self, text: str = "", **top: str | Path) -> None:
        """Write the configuration: what a machine needs, changed by TOP, and then TEXT."""
        values = {"name": "a.vipip.test", "key_file": self.key, "state_dir": self.state, "run_dir": self.run}
        lines = [f'{key} = "{value}"\n' for key, value in {**values, **top}.items()]
        self.config.write_text("".join(lines) + text)

    def vipnet(self, command: str, *arguments: str) -> Done:
        """What `vipnet COMMAND` says; one that goes on for long fails the test."""
        program = [sys.executable, "-P", "-m", "vipnet", command, "--config", str(self.config), *arguments]
        shell = ["unshare", "--mount", "sh", "-ec", f'{self.mounts}\nexec "$@"', "sh"]
        done = subprocess.run(
            enter_command(self.space.name, self.etc, [*shell, *self.prefix, *program]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def traces(self) -> dict[str, object]:
        """What a vipnet that does not run must have left as it was."""
        return {
            "interfaces": self.space.run("ip", "-brief", "link"),
            "addresses": self.space.run("ip", "-brief", "address"),
            "routes": self.space.run("ip", "route", "show", "table", "all"),
            "rules": self.space.run("ip", "rule"),
            "resolv.conf": (self.etc / "resolv.conf").read_bytes(),
            "files in etc": sorted(path.name for path in self.etc.iterdir()),
            "processes": self._processes(),
        }

    def _processes(self) -> str:
        command = ["ip", "netns", "pids", self.space.name]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextmanager
def machine() -> Iterator[Machine]:
    """A machine that is gone afterwards; a daemon on it is stopped."""
    with namespace() as space, short_directory() as directory:
        space.ip(_NETWORK)
        one = Machine(space, directory)
        try:
            yield one
        finally:
            one.mounts, one.prefix = "true", ()
            one.configure()
            one.vipnet("down")
