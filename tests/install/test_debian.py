"""The Debian package on two fresh machines, by the commands that people type there; systemd is real."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.install.booted import Booted, booted, wait_until
from tests.install.older import older_package
from tests.install.readme import INSTALLING, block

pytestmark = pytest.mark.stack


@pytest.fixture
def machine(package: Path, tmp_path: Path) -> Iterator[Booted]:
    with booted(tmp_path, package) as up:
        up.run("ip link add eth0 type veth peer name far; ip link set far up")
        up.run("ip addr add 192.0.2.7/24 dev eth0; ip link set eth0 up; ip route add default via 192.0.2.1")
        up.put("/etc/resolv.conf", "nameserver 192.0.2.1")
        yield up


class Pair(NamedTuple):
    a: Booted
    b: Booted


@pytest.fixture
def pair(package: Path, tmp_path: Path) -> Iterator[Pair]:
    """Two machines with a cable between them; vipnet with schema 1 is installed and runs, by `vipnet up`."""
    older = older_package(tmp_path)
    with ExitStack() as stack:
        for name in Pair._fields:
            (tmp_path / name).mkdir()
        pair = Pair(*(stack.enter_context(booted(tmp_path / name, package, older)) for name in Pair._fields))
        ends = (f"name eth0 netns {pair.a.process_1}", f"name eth0 netns {pair.b.process_1}")
        subprocess.run(f"ip link add {ends[0]} type veth peer {ends[1]}".split(), check=True)
        keys = []
        for number, name, machine in ((1, "a", pair.a), (2, "b", pair.b)):
            machine.run(f"ip addr add 192.0.2.{number}/24 dev eth0; ip link set eth0 up")
            machine.run("ip route add default via 192.0.2.9")
            machine.run(f"dpkg -i /root/older.deb; vipnet init {name}.example.org --yes")
            keys += re.findall(r"(?:^|\s)([\w+/]{43}=)", machine.run("vipnet key show"))[:1]
        for number, other, machine in ((1, "b", pair.a), (0, "a", pair.b)):
            address = f"192.0.2.{number + 1}:5847"
            peer = f'[[peer]]\nname = "{other}.example.org"\nkey = "{keys[number]}"\naddress = "{address}"'
            machine.put("/tmp/peer", peer)
            machine.run("cat /tmp/peer >>/etc/vipnet/config.toml; vipnet up")
        yield pair


# --- install, start, remove


def test_nothing_is_started_before_it_is_configured(machine: Booted) -> None:
    said = machine.run("dpkg -i /root/vipnet.deb")
    assert "Setting up vipnet" in said
    assert machine.run("systemctl is-enabled vipnet", check=False) == "disabled\n"
    machine.run("systemctl start vipnet")  # no error: its condition is not met
    assert machine.property("ActiveState") == "inactive"
    assert machine.property("ConditionResult") == "no"
    assert "no such file; `vipnet init NAME` writes one" in machine.run("vipnet up", check=False)
    assert machine.run("cat /etc/resolv.conf") == "nameserver 192.0.2.1\n"
    assert machine.run("systemctl --failed --quiet") == ""


def test_from_installation_to_purge(machine: Booted) -> None:
    machine.run("dpkg -i /root/vipnet.deb; vipnet init a.example.org --yes; systemctl enable --now vipnet")
    who = machine.run("dpkg-query --show --showformat='${Maintainer}' vipnet")
    assert who == "The vipnet developers <nobody@vipnet.invalid>"  # here its builder does not say who he is
    assert machine.property("ActiveState") == "active"
    wait_until(lambda: machine.run("vipnet status").startswith("a.example.org  ready"), "ready")
    assert "127.0.0.47" in machine.run("cat /etc/resolv.conf")
    token = machine.run("ip -brief address show tun0").split()[-1]
    key = machine.run("cat /etc/vipnet/key")

    before = machine.property("MainPID")
    machine.run("sed -i 's/^.accept].*/&\\nxx = true/' /etc/vipnet/config.toml; systemctl reload vipnet")
    machine.run("echo nonsense >>/etc/vipnet/config.toml")
    assert 'See "systemctl status' in machine.run("systemctl reload vipnet 2>&1", check=False)
    journal = machine.run("journalctl --unit vipnet --output cat")
    assert "taken over: [accept] xx" in journal
    assert "config.toml: not TOML" in journal
    assert (machine.property("MainPID"), machine.property("ActiveState")) == (before, "active")
    machine.run("sed -i '/^nonsense$/d' /etc/vipnet/config.toml")

    machine.run("dpkg -i /root/vipnet.deb")  # an upgrade, as far as dpkg and its scripts know
    assert machine.property("ActiveState") == "active"
    assert machine.property("MainPID") != before
    assert machine.run("ip -brief address show tun0").split()[-1] == token

    machine.run("dpkg --remove vipnet")
    assert machine.run("cat /etc/resolv.conf") == "nameserver 192.0.2.1\n"
    assert "tun0" not in machine.run("ip -brief link")
    assert machine.run("ip route show 240.0.0.0/4") == ""
    assert machine.run("cat /etc/vipnet/key") == key
    assert machine.run("find / -xdev -path '*vipnet*' -name '*.py*'") == ""

    machine.run("dpkg --purge vipnet")
    left = machine.run("find / -xdev -path '*vipnet*' -not -path '/root/*' -not -path '/var/log/*'")
    assert left == ""


def test_what_up_started_is_stopped_before_it_is_removed(machine: Booted) -> None:
    machine.run("dpkg -i /root/vipnet.deb; vipnet init a.example.org --yes; vipnet up")
    said = machine.run("dpkg -i /root/vipnet.deb")
    assert "`vipnet down && vipnet up`" in said
    assert machine.run("vipnet status").startswith("a.example.org  ready")
    machine.run("dpkg --purge vipnet")
    assert machine.run("cat /etc/resolv.conf") == "nameserver 192.0.2.1\n"


# --- the unit


def is_back(machine: Booted, restarts: str) -> bool:
    return (machine.property("NRestarts"), machine.property("ActiveState")) == (restarts, "active")


def test_a_daemon_that_hangs_or_dies_is_started_again(machine: Booted) -> None:
    machine.run("dpkg -i /root/vipnet.deb; vipnet init a.example.org --yes")
    machine.put("/etc/systemd/system/vipnet.service.d/test.conf", "[Service]\nWatchdogSec=2")
    machine.run("systemctl daemon-reload; systemctl start vipnet")
    wait_until(lambda: machine.property("StatusText") == "a.example.org is ready", "its status is told")
    for restarts, harm in (("1", "STOP"), ("2", "KILL")):
        machine.run(f"kill -{harm} {machine.property('MainPID')}")
        wait_until(partial(is_back, machine, restarts), f"started again after {harm}")
        assert "127.0.0.47" in machine.run("cat /etc/resolv.conf")
    machine.run("vipnet down")
    assert machine.property("ActiveState") == "inactive"  # stopped by hand is stopped


_PUBLISHING = """
name = "a.example.org"
[publish]
provider = "desec"
secret_file = "$CREDENTIALS_DIRECTORY/vipnet.publish"
"""


def test_a_secret_comes_as_a_credential(machine: Booted) -> None:
    machine.run("dpkg -i /root/vipnet.deb; vipnet init a.example.org --yes")
    machine.put("/etc/vipnet/config.toml", _PUBLISHING)
    machine.run("systemctl start vipnet", check=False)
    assert machine.property("ExecMainStatus") == "2"
    assert machine.property("ActiveState") == "failed"  # and not tried again and again
    assert "vipnet.publish" in machine.run("journalctl --unit vipnet --no-pager --quiet")

    machine.put("/etc/credstore/vipnet.publish", "word-of-a-test", mode=0o600)
    machine.run("systemctl start vipnet")
    assert machine.property("ActiveState") == "active"
    assert "word-of-a-test" not in machine.run("journalctl --no-pager --quiet")


def test_a_secret_comes_as_an_encrypted_credential(machine: Booted) -> None:
    """By the lines of docs/install.md; without a TPM the machine's own key seals it."""
    machine.run("dpkg -i /root/vipnet.deb; vipnet init a.example.org --yes")
    encrypt, edit, *lines = block("systemd-creds encrypt", INSTALLING).splitlines()
    assert edit == "sudo systemctl edit vipnet"
    machine.put("/root/secret", "word-of-a-test", mode=0o600)
    machine.run(f"cd; {encrypt}; rm secret")
    assert "word-of-a-test" not in machine.run("cat /etc/vipnet/publish.cred")
    machine.put("/etc/systemd/system/vipnet.service.d/override.conf", "\n".join(lines))
    machine.put("/etc/vipnet/config.toml", _PUBLISHING)
    machine.run("systemctl daemon-reload; systemctl start vipnet")
    assert machine.property("ActiveState") == "active"
    told = machine.run("cat /run/credentials/vipnet.service/vipnet.publish")
    assert told == "word-of-a-test\n"


# --- two hosts


_SERVER = """
import socket
with socket.create_server(("0.0.0.0", 7)) as server:
    connection, _ = server.accept()
    while data := connection.recv(100):
        connection.sendall(data)
"""
_CLIENT = """
import socket, time
with socket.create_connection(("b.example.org", 7), timeout=60) as connection:
    print(connection.getpeername()[0], flush=True)
    while True:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        with open("/tmp/beats", "a") as beats:
            beats.write("x")
        time.sleep(0.05)
"""


def test_a_connection_goes_on_through_a_move_and_upgrades(pair: Pair) -> None:
    a, b = pair
    ping = "vipnet ping b.example.org >/tmp/ping 2>&1 && echo answers"
    wait_until(lambda: a.run(ping, check=False) == "answers\n", "b answers")
    b.put("/root/server.py", _SERVER)
    a.put("/root/client.py", _CLIENT)
    b.run("systemd-run --quiet --unit server python3 /root/server.py")
    wait_until(lambda: ":7 " in b.run("ss -tlnH"), "the server listens")
    a.run("systemd-run --quiet --unit client python3 /root/client.py")

    def goes_on() -> None:
        before = len(a.run("cat /tmp/beats", check=False))
        wait_until(lambda: len(a.run("cat /tmp/beats")) > before + 5, "the connection goes on")

    wait_until(lambda: "x" in a.run("cat /tmp/beats", check=False), "connected")
    token = a.run("journalctl --unit client --output cat --no-pager --quiet").splitlines()[-1]
    assert token.startswith(("24", "25")), token
    a.run("ip addr del 192.0.2.1/24 dev eth0; ip addr add 192.0.2.77/24 dev eth0")
    a.run("ip route replace default via 192.0.2.9")
    goes_on()
    for machine in pair:
        said = machine.run("dpkg -i /root/vipnet.deb")
        assert "`vipnet down && vipnet up`" in said
        assert "is another version's" in machine.run("vipnet status", check=False)
        goes_on()
    for machine in pair:  # TCP waits for the second: the wire format changed before there was a release
        machine.run("vipnet down && vipnet up")
    goes_on()
    for machine in pair:
        machine.run("vipnet down && systemctl start vipnet")
        machine.run("dpkg -i /root/vipnet.deb")
        goes_on()

    a.run("dpkg -i /root/older.deb")
    wait_until(lambda: a.property("ActiveState") == "failed", "the version of before gives up")
    assert a.property("ExecMainStatus") == "2"
    assert "state.db was written by a newer vipnet" in a.run("vipnet up", check=False)
    a.run("dpkg -i /root/vipnet.deb; systemctl start vipnet")
    goes_on()
    assert a.run("systemctl is-active client") == "active\n"
    assert token in a.run("vipnet resolve b.example.org")
