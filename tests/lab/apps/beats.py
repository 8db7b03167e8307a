"""Applications whose client says itself when something has come through (clients.py, quic_program.py)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import chown
from tempfile import TemporaryDirectory
from typing import Final

import trustme
from tests.lab.apps.program import Program, program, wait_until_bound
from tests.lab.apps.shells import SERVER, ssh_server
from tests.lab.apps.silence import instants
from tests.lab.labs import Lab, run, wait_until
from tests.support import need, need_program

_HERE: Final = Path(__file__).parent
_POSTGRES: Final = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
_DATABASE_PORT: Final = 5433
_MOSH_PORTS: Final = "60001:60099"
_QUIC_PORT: Final = 4433
_ENOUGH: Final = 3
_END_S: Final = 30.0

# In the place of a shell; what it answers cannot be the terminal's own echo.
_ANSWER: Final = 'stty -echo; while read -r line && [ "$line" != end ]; do echo "$line" | tr a-z A-Z; done'


class Beats:
    """A client on a, and its server on b."""

    def __init__(self, name: str, client: Program, server: Program | None = None) -> None:
        self.name, self._client, self._server = name, client, server

    def heard_ns(self) -> list[int]:
        return instants(self._client.out)

    def progress(self) -> int:
        self._client.check()
        if self._server is not None:
            self._server.check()
        return self._client.out.read_bytes().count(b"\n")

    def goal(self) -> int:
        return self.progress() + _ENOUGH

    def finish(self) -> str:
        self.progress()
        assert self._client.process.stdin is not None
        self._client.process.stdin.close()
        status = self._client.wait(_END_S)
        assert status == 0, f"{self.name}: exit status {status}: {self._client.said()}"
        return self._client.err.read_text().strip().splitlines()[-1]


@contextmanager
def _beating(
    lab: Lab, directory: Path, name: str, command: Sequence[str | Path], server: Program | None = None
) -> Iterator[Beats]:
    with program(lab, "a", command, directory, name=name, stdin=subprocess.PIPE) as client:
        found = Beats(name, client, server)
        wait_until(lambda: found.progress() > 0, f"{name} comes through")
        yield found


def _client(*arguments: str | Path) -> list[str | Path]:
    return [sys.executable, _HERE / "clients.py", *arguments]


@contextmanager
def database(lab: Lab, directory: Path) -> Iterator[Beats]:
    """A PostgreSQL of its own on b, and psql on a with a transaction that goes on."""
    need(bool(_POSTGRES), "PostgreSQL's server in /usr/lib/postgresql")
    need_program("psql", "runuser")
    with _data_directory() as data, _postgres(lab, data, directory) as running:
        command = _client("database", SERVER, str(_DATABASE_PORT))
        with _beating(lab, directory, "postgresql", command, running) as found:
            yield found


@contextmanager
def _data_directory() -> Iterator[Path]:
    """PostgreSQL's server refuses to be root, and could not enter a directory of root's."""
    with TemporaryDirectory(prefix="vipnet-postgres-") as directory:
        chown(directory, "postgres", "postgres")
        yield Path(directory)


@contextmanager
def _postgres(lab: Lab, data: Path, directory: Path) -> Iterator[Program]:
    as_postgres = ["runuser", "-u", "postgres", "--"]
    initdb = [*as_postgres, str(_POSTGRES[-1] / "initdb"), "--no-sync", "--auth=trust", "-D", str(data)]
    run(initdb)
    with (data / "pg_hba.conf").open("a") as access:
        access.write("host all postgres 0.0.0.0/0 trust\n")
    server = [*as_postgres, str(_POSTGRES[-1] / "postgres"), "-D", str(data), "-p", str(_DATABASE_PORT)]
    server += ["-c", "listen_addresses=0.0.0.0", "-c", f"unix_socket_directories={data}"]
    with program(lab, "b", server, directory, name="postgres") as running:
        wait_until_bound(running, "tcp", _DATABASE_PORT)
        yield running


@contextmanager
def mount(lab: Lab, directory: Path) -> Iterator[Beats]:
    """Files of b, seen on a by sshfs; the mount is in the namespace of its client alone."""
    need_program("sshfs", "fusermount3")
    need(Path("/dev/fuse").exists(), "/dev/fuse")
    there = directory / "there"
    there.mkdir()
    with ssh_server(lab, directory) as server:
        words = " ".join(["ssh", *server.options])
        options = ["-o", f"ssh_command={words}"]
        command = _client("mount", f"root@{SERVER}:{there}", directory / "here", *options)
        with _beating(lab, directory, "sshfs", command, server.program) as found:
            yield found


@contextmanager
def mosh(lab: Lab, directory: Path, host: str = SERVER) -> Iterator[Beats]:
    """HOST: b's name, or its address outside vipnet."""
    need_program("mosh-server", "mosh-client")
    words = ["env", "LC_ALL=C.UTF-8", "mosh-server", "new", "-i", "0.0.0.0", "-p", _MOSH_PORTS]
    said = lab.on("b", *words, "--", "sh", "-c", _ANSWER).stdout
    _, _, port, key = next(line for line in said.splitlines() if line.startswith("MOSH CONNECT")).split()
    command = ["env", f"MOSH_KEY={key}", *_client("mosh", _address_of(lab, host), port)]
    with _beating(lab, directory, "mosh", command) as found:
        yield found


def _address_of(lab: Lab, host: str) -> str:
    """mosh-client takes no names: the wrapper around it looks them up."""
    return lab.on("a", "getent", "ahostsv4", host).stdout.split()[0]


@contextmanager
def quic(lab: Lab, directory: Path, host: str = SERVER) -> Iterator[Beats]:
    """HOST: b's name, or its address outside vipnet."""
    authority = trustme.CA()
    certificate, key, root = (directory / name for name in ("quic.crt", "quic.key", "quic-root.crt"))
    issued = authority.issue_cert(SERVER)
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(root)
    script = [sys.executable, str(_HERE / "quic_program.py")]
    serve = [*script, "serve", str(_QUIC_PORT), str(certificate), str(key)]
    with program(lab, "b", serve, directory, name="quic-server") as server:
        wait_until_bound(server, "udp", _QUIC_PORT)
        ask = [*script, "ask", host, str(_QUIC_PORT), str(root)]
        with _beating(lab, directory, "quic", ask, server) as found:
            yield found
