"""OpenSSH and telnet: real servers on b, real clients on a, a shell that answers all along."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Final, NamedTuple

from tests.lab.apps.conversation import Conversation
from tests.lab.apps.program import Program, Socket, program, tcp_connection, wait_until_bound
from tests.lab.apps.silence import longest_silence_ms
from tests.lab.labs import Lab, run
from tests.support import need_program

SERVER: Final = "b.vipip.net"
_SSH_PORT: Final = 2222
_TELNET_PORT: Final = 2323
_INETD: Final = str(Path(__file__).with_name("inetd.py"))

_SSHD: Final = """\
Port {port}
ListenAddress 0.0.0.0
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/user_key.pub
PidFile none
UsePAM no
UseDNS no
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
"""
# sshd wants a /run/sshd; this one is seen by it alone, for `lab exec` gives a mount namespace.
_SSHD_RUN: Final = "mount -t tmpfs -o mode=755 none /run && mkdir /run/sshd && exec {sshd} -D -e -f {config}"

_LOGIN: Final = """\
#!/bin/sh
# In the place of login(1): a shell without a prompt or an echo.
stty -echo
echo ready
while read -r line; do eval "$line"; done
"""


class ShellSession:
    """A client with a conversation through it."""

    def __init__(self, name: str, client: Program, server: Program, talk: Conversation) -> None:
        self.name = name
        self._client, self._server, self._talk = client, server, talk

    def progress(self) -> int:
        self._client.check()
        self._server.check()
        self._talk.check()
        return self._talk.answered

    def goal(self) -> int:
        return self._talk.asked + 1

    def sockets(self) -> frozenset[Socket]:
        return tcp_connection(self._client, self._server)

    def finish(self) -> str:
        self._client.check()
        self._talk.finish()
        self._client.check()
        longest_s = longest_silence_ms(self._talk.heard_ns) / 1000
        return f"{self._talk.answered} lines answered, longest silence {longest_s:.3f} s"

    def heard_ns(self) -> list[int]:
        return self._talk.heard_ns


class SshServer(NamedTuple):
    """An sshd on b. `options` are for ssh, sftp and the like, to reach it and to know it by its name."""

    program: Program
    options: list[str]


@contextmanager
def ssh_server(lab: Lab, directory: Path) -> Iterator[SshServer]:
    need_program("sshd", "ssh", "ssh-keygen")
    for key in ("host_key", "user_key"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", str(directory / key)])
    config = directory / "sshd_config"
    config.write_text(_SSHD.format(port=_SSH_PORT, directory=directory))
    known_hosts = directory / "known_hosts"
    known_hosts.write_text(f"[{SERVER}]:{_SSH_PORT} {(directory / 'host_key.pub').read_text()}")
    options: dict[str, object] = {
        "Port": _SSH_PORT,
        "IdentityFile": directory / "user_key",
        "UserKnownHostsFile": known_hosts,
        "GlobalKnownHostsFile": "none",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
    }
    start = _SSHD_RUN.format(sshd=which("sshd"), config=config)
    with program(lab, "b", ["sh", "-c", start], directory, name="sshd") as sshd:
        wait_until_bound(sshd, "tcp", _SSH_PORT)
        yield SshServer(sshd, ["-F", "none", *(f"-o{name}={value}" for name, value in options.items())])


@contextmanager
def ssh(lab: Lab, directory: Path) -> Iterator[ShellSession]:
    """An OpenSSH session from a to a shell on b; b is known by its name, and checked."""
    with ssh_server(lab, directory) as server:
        command = ["ssh", "-T", *server.options, f"root@{SERVER}", "sh"]
        with program(
            lab, "a", command, directory, name="ssh", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as client:
            assert client.process.stdin is not None
            assert client.process.stdout is not None
            stdin, stdout = client.process.stdin.fileno(), client.process.stdout.fileno()
            with Conversation(stdin, stdout, greeting=b"echo ready\n") as talk:
                talk.wait_until_ready()
                yield ShellSession("ssh", client, server.program, talk)


@contextmanager
def telnet(lab: Lab, directory: Path) -> Iterator[ShellSession]:
    """A telnet session from a terminal on a to inetutils' telnetd on b, which an inetd starts."""
    need_program("telnet", "telnetd")
    login = directory / "login"
    login.write_text(_LOGIN)
    login.chmod(0o755)
    telnetd = f"exec telnetd --no-hostinfo --exec-login={login}"
    inetd = [sys.executable, _INETD, str(_TELNET_PORT), "/bin/sh", "-c", telnetd]
    with program(lab, "b", inetd, directory, name="telnetd") as server, _terminal() as (outside, inside):
        wait_until_bound(server, "tcp", _TELNET_PORT)
        command = ["telnet", SERVER, str(_TELNET_PORT)]
        with (
            program(lab, "a", command, directory, name="telnet", stdin=inside, stdout=inside) as client,
            Conversation(outside, outside) as talk,
        ):
            talk.wait_until_ready()
            yield ShellSession("telnet", client, server, talk)


@contextmanager
def _terminal() -> Iterator[tuple[int, int]]:
    """A pseudo-terminal: the end a person sits at, and the end for the program."""
    outside, inside = pty.openpty()
    try:
        tty.setraw(inside)  # until telnet sets what it wants
        yield outside, inside
    finally:
        os.close(inside)
        os.close(outside)
