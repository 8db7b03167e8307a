"""A new user, clean machines, and README.md: what it tells people to type is what is typed here."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Self

import pytest
from tests.install.booted import Booted, booted, wait_until
from tests.install.nameserver import NameServer, name_server
from tests.install.readme import INSTALL, KEYS, SEE_IT, START, USE, ZONE, block
from tests.install.workshop import REPOSITORY, Workshop

pytestmark = pytest.mark.stack


# --- the demo


def test_the_demo_takes_two_commands(workshop: Workshop) -> None:
    """The first of them, a clone, is how the workshop was made."""
    demo = block(SEE_IT).splitlines()[1]
    said = workshop.run(f"cd vipnet; {demo}")
    assert re.search(r"^a moves +UDP +\d+ ms", said, re.MULTILINE), said
    assert said.endswith("Every connection went on.\n")


# --- two devices and a zone of one's own


class Place(NamedTuple):
    """The zone's server, which also routes between three networks, and two hosts."""

    ns: NameServer
    laptop: Booted
    server: Booted


@pytest.fixture
def place(package: Path, tmp_path: Path) -> Iterator[Place]:
    """Switched on and cabled, with addresses as if from DHCP. The laptop's second cable is not plugged in."""
    with ExitStack() as stack:
        for name in Place._fields:
            (tmp_path / name).mkdir()
        ns = stack.enter_context(name_server(tmp_path / "ns"))
        laptop, server = (
            stack.enter_context(booted(tmp_path / name, package)) for name in ("laptop", "server")
        )
        ns.run("ip addr add 192.0.2.53/32 dev lo")
        for machine, interface, network in (
            (server, "eth0", "192.0.2"),
            (laptop, "eth0", "198.51.100"),
            (laptop, "eth1", "203.0.113"),
        ):
            ends = (f"name {network}", f"name {interface} netns {machine.process_1}")
            ns.run(f"ip link add {ends[0]} type veth peer {ends[1]}")
            ns.run(f"ip addr add {network}.1/24 dev {network}; ip link set {network} up")
        for machine, network in ((server, "192.0.2"), (laptop, "198.51.100")):
            join(machine, "eth0", network)
            machine.put("/etc/resolv.conf", "nameserver 192.0.2.53")
            machine.put("/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 debian")
            machine.run("hostname debian")
        yield Place(ns, laptop, server)


def join(machine: Booted, interface: str, network: str) -> None:
    machine.run(f"ip addr add {network}.7/24 dev {interface}; ip link set {interface} up")
    machine.run(f"ip route add default via {network}.1")


def configure_zone(ns: NameServer) -> None:
    """Step 1."""
    ns.run(block(KEYS))
    (ns.directory / "etc/named.conf.local").write_text(block(ZONE))
    zone = (REPOSITORY / "examples/own-zone/example.org.zone").read_text()
    (ns.directory / "lib/example.org.zone").write_text(zone)


def install(place: Place, name: str, package: Path) -> None:
    """Step 2, with NAME for `laptop`, on the machine NAME. The package is built already."""
    machine: Booted = getattr(place, name)
    machine.put(f"/root/vipnet/{name}.key", (place.ns.directory / f"etc/{name}.key").read_text(), mode=0o600)
    machine.run(f"mkdir -p /root/vipnet/dist; mv /root/vipnet.deb /root/vipnet/dist/{package.name}")
    commands = block(INSTALL).partition("\n")[2].replace("laptop", name)
    said = machine.run(f"cd /root/vipnet\n{commands}")
    assert "published" in said, said


def introduce(laptop: Booted, server: Booted) -> None:
    """What people have done for SSH before: a key that may log in."""
    key = laptop.run("mkdir -p -m 700 /root/.ssh; ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519")
    key = laptop.run("cat /root/.ssh/id_ed25519.pub")
    server.put("/root/.ssh/authorized_keys", key.strip(), mode=0o600)
    laptop.put("/root/.ssh/config", "StrictHostKeyChecking accept-new")


class Session:
    """A program on a machine that is typed at, and answers in the file SAID."""

    def __init__(self, machine: Booted, command: str, said: Path) -> None:
        self._machine, self._said, self._read = machine, said, 0
        with said.open("w") as out:
            self._process = subprocess.Popen(
                machine.command(f"exec setsid sh -c {shlex.quote(f'echo $$; exec {command}')}"),
                stdin=subprocess.PIPE,
                stdout=out,
                text=True,
                bufsize=1,
            )
        self._group = self.read(r"\d+$")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def type(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")

    def read(self, pattern: str) -> str:
        """Wait for the next line that PATTERN matches at its start; without its end."""
        found: list[str] = []

        def is_there() -> bool:
            whole, _, _ = self._said.read_text()[self._read :].rpartition("\n")
            for line in whole.splitlines():
                self._read += len(line) + 1
                if re.match(pattern, line):
                    found.append(line)
                    return True
            return False

        wait_until(is_there, f"{pattern!r} in {self._said}")
        return found[0]

    def interrupt(self) -> str:
        """Ctrl-C; all that it has said."""
        self._machine.run(f"kill -s INT -- -{self._group}")
        self._process.wait(60)
        return self._said.read_text()


def test_two_devices_and_a_zone(place: Place, package: Path, tmp_path: Path) -> None:
    ns, laptop, server = place
    configure_zone(ns)
    introduce(laptop, server)
    with ns.serving("example.org"):
        for name in ("laptop", "server"):
            install(place, name, package)
        up, _, at_every_boot = block(START).partition("# or, at every boot: ")
        server.run(up)
        laptop.run(at_every_boot)
        go_on_through_a_move(laptop, server, tmp_path)
        assert laptop.run("sudo vipnet doctor").endswith("Nothing is wrong.\n")
        laptop.run("sudo vipnet down")
        assert laptop.run("cat /etc/resolv.conf") == "nameserver 192.0.2.53\n"


def go_on_through_a_move(laptop: Booted, server: Booted, directory: Path) -> None:
    """Step 4: names, ssh, the two examples, and another network."""
    resolve, ssh = block(USE).splitlines()
    *_, kind, token = laptop.run(resolve).splitlines()
    assert kind == "server.example.org: a vipnet host"
    examples = "/usr/share/doc/vipnet/examples"
    chat = f"python3 {examples}/moving_chat.py"
    with ExitStack() as stack:

        def start(machine: Booted, name: str, command: str) -> Session:
            return stack.enter_context(Session(machine, command, directory / name))

        shell = start(laptop, "shell", ssh)
        count = start(laptop, "count", f"sh {examples}/two_hosts.sh server.example.org 0")  # 0 ms: all lines
        there = start(server, "there", f"{chat} listen")
        there.read("waiting at port")
        here = start(laptop, "here", f"{chat} server.example.org")

        def talk() -> str:
            here.type("still there?")
            there.read("> still there")
            there.type("yes")
            here.read("> yes")
            shell.type('echo "at $SSH_CONNECTION by $$"')
            return shell.read("at ")

        before = talk()
        assert before.split()[3] == token
        laptop.run("ip link set eth0 down")
        join(laptop, "eth1", "203.0.113")
        assert talk() == before
        count.read(".* before line 5, none lost")
        said = count.interrupt()
        assert " was due" not in said
        _, _, moves = said.partition("What happened:\n")
        assert re.search(r"link: 198.51.100.7:5847 -> 203.0.113.7:5847\n  in DNS after ", moves), said
        assert re.search(r"^  server\.example\.org  acked ", moves, re.MULTILINE), said
