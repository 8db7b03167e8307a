"""A new user, clean machines, and README.md: what it tells people to type is what is typed here.

For the zone it says to read docs/howto-own-server.md; those lines are typed, too.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.install.booted import Booted, booted
from tests.install.nameserver import name_server, serving
from tests.install.readme import INIT, OWN_SERVER, PRINT, SEE_IT, TWO_DEVICES, block
from tests.install.room import Room
from tests.install.terminal import Session, answer
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

    ns: Room
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
            near, far = (
                f"name {name} netns {process}"
                for name, process in ((network, ns.process_id), (interface, machine.process_1))
            )
            subprocess.run(f"ip link add {near} type veth peer {far}".split(), check=True)
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


def install(machine: Booted, package: Path) -> None:
    """README's first line. The package is built already: in the workshop, which has a network."""
    _, _, command = block(TWO_DEVICES).splitlines()[0].partition(" && ")
    machine.run(f"mkdir -p /root/vipnet/dist; mv /root/vipnet.deb /root/vipnet/dist/{package.name}")
    machine.run(f"cd /root/vipnet; {command}")


def configure_zone(ns: Room, laptop: Booted, server: Booted) -> None:
    """What the hosts print for the server is put there: of the second host its key and its grant."""
    command = block(PRINT, OWN_SERVER)
    lines = laptop.run(command)
    more = server.run(command.replace("laptop", "server"))
    (key,) = re.findall(r'^key "server.example.org" {.*?^};\n', more, re.MULTILINE | re.DOTALL)
    (grant,) = re.findall(r"^ +grant .*\n", more, re.MULTILINE)
    lines = re.sub(r"^ +grant .*\n", lambda found: found[0] + grant, lines, flags=re.MULTILINE)
    (ns.directory / "etc/named.conf.local").write_text(key + lines.partition("made the secret")[0])
    zone = (REPOSITORY / "examples/own-zone/example.org.zone").read_text()
    (ns.directory / "lib/example.org.zone").write_text(zone)


def introduce(laptop: Booted, server: Booted) -> None:
    """What people have done for SSH before: a key that may log in."""
    laptop.run("mkdir -p -m 700 /root/.ssh; ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519")
    key = laptop.run("cat /root/.ssh/id_ed25519.pub")
    server.put("/root/.ssh/authorized_keys", key.strip(), mode=0o600)
    laptop.put("/root/.ssh/config", "StrictHostKeyChecking accept-new")


def test_two_devices_and_a_zone(place: Place, package: Path, tmp_path: Path) -> None:
    ns, laptop, server = place
    _, init, up, _, ssh = block(TWO_DEVICES).splitlines()
    for machine in (laptop, server):
        install(machine, package)
    configure_zone(ns, laptop, server)
    with serving(ns, "example.org"):
        asked = {"Provider": "rfc2136", "File with the TSIG secret": ""}
        assert "published 198.51.100.7" in answer(laptop, init, asked)
        init_there, _ = block(INIT, OWN_SERVER).splitlines()
        assert "published 192.0.2.7" in server.run(init_there.replace("laptop", "server"))
        for machine in (laptop, server):
            machine.run(up)
        introduce(laptop, server)
        go_on_through_a_move(laptop, server, ssh, tmp_path)
        assert laptop.run("sudo vipnet doctor").endswith("Nothing is wrong.\n")
        laptop.run("sudo vipnet down")
        assert laptop.run("cat /etc/resolv.conf") == "nameserver 192.0.2.53\n"


def go_on_through_a_move(laptop: Booted, server: Booted, ssh: str, directory: Path) -> None:
    """A shell by ssh, and the examples that connections are held by, while the laptop changes its network."""
    *_, kind, token = laptop.run("vipnet resolve server.example.org").splitlines()
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
        assert re.search(r"-> 203.0.113.7:5847\n  in DNS after [\d.]+ ms\n", moves), said
        assert re.search(r"^  server\.example\.org  acked ", moves, re.MULTILINE), said
