"""The tutorial's three machines, red, blue and ns, on the networks of the lab.

Each has /etc, /run, /root and /var/lib of its own, so that its commands can stand in the tutorial as
a person types them. Its shell lives from the first command to the last: jobs in the background too.
"""

from __future__ import annotations

import os
import secrets
import selectors
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.lab.labs import Lab, run, wait_until
from tests.support import need_program, need_root

from vipnet.lab.namespaces import enter_command

LABELS: Final = {"red": "a", "blue": "b", "ns": "d"}  # in the lab
NS_ADDRESS: Final = "10.201.1.40"
COMMAND_S: Final = 60.0

# In a process of its own, as `vipnet lab up` is: what it starts goes on when it ends.
_UP: Final = """\
from vipnet.lab import layout, lifecycle
lifecycle.up(layout.LabSpec(name={name!r}, hosts=3, daemons=False))
"""
_COVERED: Final = ("etc", "run", "root", "var/lib", "var/cache")
_ENTER: Final = "".join(f'mount --bind "$0/{part}" /{part}; ' for part in _COVERED) + "cd; exec bash --norc"
# A server for its own zones alone, as it should be on the Internet: here nobody else could be asked.
_NAMED: Final = 'options { directory "/var/cache/bind"; recursion no; listen-on-v6 { none; }; };\n'
_SSHD: Final = """\
HostKey /etc/ssh/host_key
AuthorizedKeysFile /etc/ssh/user_key.pub
PidFile none
UsePAM no
UseDNS no
StrictModes no
PasswordAuthentication no
"""


class Machine:
    """One machine and its shell."""

    def __init__(self, lab: str, name: str, directory: Path) -> None:
        self.name, self.directory = name, directory
        _furnish(directory, name)
        environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", ""),
        }
        files = directory / "cover"
        files.mkdir()
        (files / "resolv.conf").touch()  # enter_host binds it; what is mounted afterwards covers it
        self._shell = subprocess.Popen(
            enter_command(
                f"vipnet-{lab}-{LABELS[name]}",
                files,
                ["unshare", "--mount", "sh", "-ec", _ENTER, str(directory)],
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
        )

    def type(self, command: str) -> str:
        """What the shell says to COMMAND, lines for a here-document included.

        Raise AssertionError when that takes longer than COMMAND_S.
        """
        assert self._shell.stdin is not None
        mark = f"done-{secrets.token_hex(8)}"
        self._shell.stdin.write(f"{command}\necho {mark}\n".encode())
        self._shell.stdin.flush()
        said = self._read_until(f"{mark}\n".encode(), command)
        return said.decode(errors="replace").removesuffix(f"{mark}\n")

    def _read_until(self, mark: bytes, command: str) -> bytes:
        assert self._shell.stdout is not None
        said, deadline = b"", time.monotonic() + COMMAND_S
        with selectors.DefaultSelector() as ready:
            ready.register(self._shell.stdout, selectors.EVENT_READ)
            while not said.endswith(mark):
                more = ready.select(deadline - time.monotonic()) and os.read(
                    self._shell.stdout.fileno(), 65536
                )
                assert more, f"{self.name}: no end of: {command}\n{said.decode(errors='replace')}"
                said += more
        return said

    def close(self) -> None:
        self._shell.kill()
        self._shell.communicate()


def _furnish(directory: Path, name: str) -> None:
    """Copy this machine's /etc, without what the tutorial is going to make, into DIRECTORY."""
    for part in _COVERED:
        (directory / part).mkdir(parents=True, exist_ok=True)
    etc = directory / "etc"
    subprocess.run(["cp", "-a", "/etc/.", etc], check=True)
    shutil.rmtree(etc / "vipnet", ignore_errors=True)
    texts = {
        "resolv.conf": f"nameserver {NS_ADDRESS}\n",
        "hosts": "127.0.0.1 localhost\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
    }
    for file, text in texts.items():
        (etc / file).unlink(missing_ok=True)
        (etc / file).write_text(text)
    (directory / "run/sshd").mkdir()
    for part in ("var/lib/bind", "var/cache/bind", "run/named"):
        (directory / part).mkdir()
        shutil.chown(directory / part, group="bind")
        (directory / part).chmod(0o775)


class Room:
    """The machines, and what a person does without typing."""

    def __init__(self, lab: Lab, directory: Path, held: ExitStack) -> None:
        self.lab, self.directory = lab, directory
        self.machines = {name: Machine(lab.name, name, directory / name) for name in LABELS}
        for machine in self.machines.values():
            held.callback(machine.close)
        self._let_ssh_in()
        ns = self.machines["ns"]
        (ns.directory / "etc/bind/named.conf.options").write_text(_NAMED)
        ns.type("named -u bind")
        wait_until(lambda: "up and running" in ns.type("rndc status"), "named runs")

    def carry(self, source: str, target: str) -> None:
        """Bring a file, "machine:/path", to another machine, where root alone may read it."""
        (from_, path), (to, place) = source.split(":"), target.split(":")
        file = self.machines[to].directory / place.removeprefix("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_bytes((self.machines[from_].directory / path.removeprefix("/")).read_bytes())

    def move(self, *names: str) -> None:
        """Take machines to the other network."""
        self.lab.move("both" if len(names) > 1 else LABELS[names[0]])

    def _let_ssh_in(self) -> None:
        """Blue has an sshd; red has a key that it takes, and knows blue's."""
        red, blue = (self.machines[name] for name in ("red", "blue"))
        ssh = self.directory / "ssh"
        ssh.mkdir()
        for key in ("host_key", "user_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ssh / key], check=True)
        for machine in (red, blue):
            shutil.copytree(ssh, machine.directory / "etc/ssh", dirs_exist_ok=True)
        (blue.directory / "etc/ssh/sshd_config").write_text(_SSHD)
        known = f"*.example.org {(ssh / 'host_key.pub').read_text()}"
        (red.directory / "etc/ssh/ssh_known_hosts").write_text(known)
        (red.directory / "etc/ssh/ssh_config").write_text("IdentityFile /etc/ssh/user_key\nCheckHostIP no\n")
        blue.type(f"{shutil.which('sshd')}")


@contextmanager
def room(directory: Path) -> Iterator[Room]:
    """Three machines, none of which has heard of vipnet; all is gone afterwards."""
    need_root()
    need_program("ip", "unshare", "bash", "named", "rndc", "tsig-keygen", "sshd", "ssh", "ssh-keygen", "ping")
    lab = Lab(f"t-{secrets.token_hex(4)}")
    with ExitStack() as held:
        held.callback(run, lab.command("down"))
        run([sys.executable, "-P", "-c", _UP.format(name=lab.name)])
        yield Room(lab, directory, held)
