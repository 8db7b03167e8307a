"""A program on a host of the lab, and its sockets as the kernel lists them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct
from tests.lab.labs import Lab, wait_until

_STOP_S: Final = 10.0
_KINDS: Final = ("tcp", "udp", "icmp", "raw")  # files of /proc/PID/net
_ESTABLISHED, _LISTEN = "01", "0A"  # net/tcp_states.h


class App(Protocol):
    """A client on a, its server on b, and what has gone from one to the other."""

    @property
    def name(self) -> str: ...

    def progress(self) -> int:
        """How much has come through, in units of its own.

        Fail when a program has ended, or a byte is wrong.
        """

    def goal(self) -> int:
        """The progress that takes something which is sent from now on."""

    def finish(self) -> str:
        """End in good order and return what was measured. Fail when anything is wrong or missing."""


class ConnectedApp(App, Protocol):
    def sockets(self) -> frozenset[Socket]:
        """Both ends' sockets, which must stay the same."""


class TimedApp(App, Protocol):
    def heard_ns(self) -> list[int]:
        """When something came through; CLOCK_MONOTONIC."""


class Socket(Struct, frozen=True):
    """A row of /proc/net/tcp, udp, icmp or raw (proc_net_tcp.rst of the kernel); addresses in hex."""

    kind: str
    inode: str
    local: str
    remote: str
    state: str

    @property
    def local_port(self) -> int:
        return int(self.local.rpartition(":")[2], 16)

    @property
    def remote_port(self) -> int:
        return int(self.remote.rpartition(":")[2], 16)


class Program:
    """A process on a host; what it prints is in `out` and `err`."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process, self.out, self.err = process, out, err

    @property
    def pid(self) -> int:
        return self.process.pid

    def check(self) -> None:
        """Fail when it has ended."""
        status = self.process.poll()
        assert status is None, f"{self.err.stem} ended with {status}: {self.said()}"

    def said(self) -> str:
        return "".join(file.read_text(errors="replace")[-2000:] for file in (self.out, self.err))

    def wait(self, timeout_s: float = 30.0) -> int:
        """Return its exit status, once it ends by itself."""
        return self.process.wait(timeout_s)


@contextmanager
def program(
    lab: Lab,
    host: str,
    command: Sequence[str | Path],
    directory: Path,
    *,
    name: str,
    stdin: int = subprocess.DEVNULL,
    stdout: int | None = None,
) -> Iterator[Program]:
    """Run COMMAND on HOST while the block runs; stdout is a file unless it is given."""
    out, err = directory / f"{name}.out", directory / f"{name}.err"
    with out.open("wb") as out_file, err.open("wb") as err_file:
        process = subprocess.Popen(
            lab.command_on(host, *command),
            stdin=stdin,
            stdout=out_file if stdout is None else stdout,
            stderr=err_file,
            start_new_session=True,  # a terminal's ^C is pytest's alone
        )
    with process:
        try:
            yield Program(process, out, err)
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()


# --- sockets


def sockets_of(pid: int) -> frozenset[Socket]:
    """A process's connected TCP sockets, and its others."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue  # closed meanwhile
        if target.startswith("socket:["):
            inodes.add(target.removeprefix("socket:[").removesuffix("]"))
    return frozenset(
        socket
        for socket in _sockets_near(pid)
        if socket.inode in inodes and (socket.kind != "tcp" or socket.state == _ESTABLISHED)
    )


def other_end(near: Socket, pid: int) -> Socket:
    """The socket that a TCP connection NEAR leads to, in the network namespace of PID."""
    (found,) = (
        socket
        for socket in _sockets_near(pid)
        if (socket.kind, socket.local_port, socket.remote_port, socket.state)
        == ("tcp", near.remote_port, near.local_port, _ESTABLISHED)
    )
    return found


def tcp_connection(client: Program, server: Program) -> frozenset[Socket]:
    """Both ends of the one TCP connection of CLIENT, which leads into the namespace of SERVER."""
    (near,) = (socket for socket in sockets_of(client.pid) if socket.kind == "tcp")
    return frozenset({near, other_end(near, server.pid)})


def wait_until_bound(server: Program, kind: str, port: int) -> None:
    """Return once SERVER's namespace has a socket that waits on PORT."""

    def is_bound() -> bool:
        server.check()
        return any(
            (socket.kind, socket.local_port) == (kind, port) and (kind != "tcp" or socket.state == _LISTEN)
            for socket in _sockets_near(server.pid)
        )

    wait_until(is_bound, f"{server.err.stem} on {kind} port {port}")


def _sockets_near(pid: int) -> Iterator[Socket]:
    """All of the network namespace of PID."""
    for kind in _KINDS:
        for row in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
            fields = row.split()
            yield Socket(kind, fields[9], fields[1], fields[2], fields[3])
