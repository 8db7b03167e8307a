"""What vipnet promises, seen from outside: by tcpdump, by applications, by the name server's log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations, permutations
from pathlib import Path
from typing import Self

import pytest
from tests.lab import talk
from tests.lab.conftest import LabFactory
from tests.lab.labs import COMMAND_S, Lab, wait_until
from tests.lab.sniffer import LANS, TCP, TUN, UDP, VIPNET_PORT, Capture, Packet, sniffing
from tests.support import need_program

TOKENS = IPv4Network("240.0.0.0/4")
OURS = "nameserver 127.0.0.47"
HANDSHAKE = bytes(4)  # what a datagram begins with that is not sealed


APPLICATION_S = 120.0


class Application:
    """A process on a host that prints lines; it ends with the test."""

    def __init__(self, lab: Lab, host: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            lab.command_on(host, sys.executable, talk.__file__, *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        # A bound against hanging: whoever waits for a line gets the end instead.
        self._limit = threading.Timer(APPLICATION_S, self._process.kill)

    def __enter__(self) -> Self:
        self._limit.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._limit.cancel()
        self._process.kill()
        self._process.communicate()

    def line(self) -> str:
        """The next line, waited for."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"it has ended: {self._process.wait(COMMAND_S)}"
        return line.strip()

    def lines_until(self, wanted: str) -> list[str]:
        """All lines to the one WANTED, which is the last."""
        lines = [self.line()]
        while lines[-1] != wanted:
            lines.append(self.line())
        return lines

    def say(self, words: str) -> None:
        """Send WORDS to the other end, and wait until they have come back."""
        assert self._process.stdin is not None
        self._process.stdin.write(words + "\n")
        assert self.line() == "heard"


@contextmanager
def conversation(lab: Lab, client: str, server: str) -> Iterator[Application]:
    """CLIENT has a TCP and a UDP socket to SERVER's name, for echoes."""
    with Application(lab, server, "serve") as serving:
        assert serving.line() == "ready"
        with Application(lab, client, "talk", f"{server}.vipip.net") as talking:
            assert talking.line() == f"to {lab.host(server)['token']}"
            assert serving.line() == f"from {lab.host(client)['token']}"
            yield talking


def between(capture: Capture, one: set[str], other: set[str]) -> list[Packet]:
    return [
        packet
        for packet in capture.packets
        if packet.ends & one and packet.ends & other and packet.ends <= one | other
    ]


# --- 1 sealed


def test_nothing_of_what_applications_say_is_on_the_lans(new_lab: LabFactory, tmp_path: Path) -> None:
    lab = new_lab(dns="embedded")
    marker = f"marker {os.urandom(8).hex()}"
    a, b = ({f"10.201.{lan}.{number}" for lan in (1, 2)} for number in (10, 20))
    with sniffing(lab, tmp_path, *LANS, ("a", TUN)) as capture, conversation(lab, "a", "b") as talking:
        talking.say(f"{marker} at home")
        lab.move("a")
        talking.say(f"{marker} away")
        lab.move("both")
        talking.say(f"{marker} both away")

    # The search finds it where it is: in clear on tun0, over both protocols, in both directions.
    tokens = {host: IPv4Address(lab.host(host)["token"]) for host in "ab"}
    for place in ("at home", "away", "both away"):
        found = {
            (frame.packet.protocol, frame.packet.source)
            for frame in capture.holding(f"{marker} {place}".encode())
            if frame.packet is not None
        }
        assert found == {(protocol, token) for protocol in (TCP, UDP) for token in tokens.values()}
    assert {frame.interface for frame in capture.holding(marker.encode())} == {TUN}

    wires = Capture([frame for frame in capture.frames if frame.interface != TUN])
    assert {frame.interface for frame in wires.frames} == {"lan1", "lan2"}
    for packet in wires.packets:
        assert packet.source not in TOKENS, packet
        assert packet.destination not in TOKENS, packet
    for token in tokens.values():
        # Nor in an ARP request, an ICMP error, or any other place.
        assert not wires.holding(token.packed), token
    traffic = between(wires, a, b)
    for packet in traffic:
        assert packet.protocol == UDP, packet
        assert packet.source_port == packet.destination_port == VIPNET_PORT, packet
        # Who shakes hands with whom is sealed too.
        assert b"vipip" not in packet.payload, packet
    sealed = [packet for packet in traffic if not packet.payload.startswith(HANDSHAKE)]
    assert {str(packet.source) for packet in sealed} == a | b


# --- 2 legacy


def questions(lab: Lab, client: str) -> list[tuple[str, str]]:
    """Name and type of what the server was asked from CLIENT's address, in order."""
    log = Path(lab.status()["dns"]["log"]).read_text().splitlines()
    asked = [line for line in map(json.loads, log) if line["event"] == "query" and line["client"] == client]
    return [(line["name"].lower(), line["type"]) for line in asked]


def test_a_host_without_vipnet_is_reached_as_ever(new_lab: LabFactory, tmp_path: Path) -> None:
    need_program("dig")
    lab = new_lab("--legacy", dns="embedded")
    a, c = "10.201.1.10", "10.201.1.30"
    wait_until(lambda: ("_vip.a.vipip.net.", "TXT") in questions(lab, a), "a has looked itself up")
    with sniffing(lab, tmp_path, ("r", "lan1"), ("c", "eth0")) as capture, ExitStack() as stack:
        before = questions(lab, a)
        assert lab.on("a", "dig", "+short", "A", "c.vipip.net").stdout.split() == [c]
        about_c = [one for one in questions(lab, a)[len(before) :] if "c.vipip.net." in one[0]]
        assert sorted(about_c) == [("_vip.c.vipip.net.", "TXT"), ("c.vipip.net.", "A")]

        for client, server, ends in (("a", "c", (a, c)), ("c", "a", (c, a))):
            serving = stack.enter_context(Application(lab, server, "serve"))
            assert serving.line() == "ready"
            talking = stack.enter_context(Application(lab, client, "talk", f"{server}.vipip.net"))
            assert talking.line() == f"to {ends[1]}"
            assert serving.line() == f"from {ends[0]}"
            talking.say(f"from {client}, in clear")

    with_c = [packet for packet in capture.packets if c in packet.ends]
    assert not [packet for packet in with_c if VIPNET_PORT in packet.ports]
    for client in "ac":
        assert {frame.interface for frame in capture.holding(f"from {client}, in clear".encode())}
    resolved = lab.ask("a", "resolve", "c.vipip.net")
    assert (resolved["kind"], resolved["address"]) == ("legacy", c)
    assert not lab.ask("a", "peers")["peers"]


# --- 3 tokens


@pytest.mark.parametrize("subnet", ["240.0.0.0/28", "10.77.0.0/28"])
def test_every_pair_agrees_on_both_tokens(new_lab: LabFactory, subnet: str) -> None:
    lab = new_lab("--hosts", "3", "--collide", "--subnet", subnet, dns="embedded")
    hosts = sorted(lab.status()["hosts"])
    assert len(hosts) == 3
    for one, other in combinations(hosts, 2):
        with Application(lab, other, "serve") as serving:
            assert serving.line() == "ready"
            with Application(lab, one, "talk", f"{other}.vipip.net") as talking:
                to, source = talking.line().split()[1], serving.line().split()[1]
                talking.say(f"{one} to {other}")
        # The names that both ends have for the addresses that they see.
        assert lab.ask(one, "resolve", to)["name"] == f"{other}.vipip.net"
        assert lab.ask(other, "resolve", source)["name"] == f"{one}.vipip.net"

    status = {host: lab.ask(host, "status") for host in hosts}
    views = {
        (host, peer["name"].partition(".")[0]): (peer["local_token"], peer["token"])
        for host in hosts
        for peer in status[host]["peers"]
    }
    assert set(views) == set(permutations(hosts, 2))
    for one, other in permutations(hosts, 2):
        assert views[one, other] == views[other, one][::-1]
        assert all(IPv4Address(token) in IPv4Network(subnet) for token in views[one, other])
        assert lab.can_ping(one, f"{other}.vipip.net")
    for host in hosts:
        assert len({token for (one, _), (_, token) in views.items() if one == host}) == 2
    assert sum(one["counters"]["token_refused"] for one in status.values()) > 0


# --- 4 a daemon that is killed


def test_a_killed_daemon_leaks_nothing_and_comes_back_the_same(new_lab: LabFactory, tmp_path: Path) -> None:
    lab = new_lab(dns="embedded")
    original = lab.on("r", "cat", "/etc/resolv.conf").stdout
    before = lab.host("a")
    peer = lab.host("b")["token"]
    with conversation(lab, "a", "b") as talking, Application(lab, "a", "shout", peer) as shouting:
        talking.say("before")
        assert "ok 100" in shouting.lines_until("ok 100")
        assert OURS in lab.on("a", "cat", "/etc/resolv.conf").stdout

        with sniffing(lab, tmp_path, *LANS) as capture:
            os.kill(before["pid"], signal.SIGKILL)
            shouting.lines_until("EHOSTUNREACH 100")
            assert TUN not in lab.on("a", "ip", "link").stdout
            # Names fail now, rather than lead to real addresses.
            assert OURS in lab.on("a", "cat", "/etc/resolv.conf").stdout
        assert to_tokens(capture) == []

        lab.on("a", "vipnet", "up")
        after = lab.host("a")
        assert after["pid"] != before["pid"]
        assert after["token"] == before["token"]
        shouting.lines_until("ok 100")
        assert OURS in lab.on("a", "cat", "/etc/resolv.conf").stdout
        talking.say("after")
        assert lab.ask("a", "resolve", "b.vipip.net")["address"] == peer

        lab.on("a", "vipnet", "down")
        assert lab.on("a", "cat", "/etc/resolv.conf").stdout == original
        assert TUN not in lab.on("a", "ip", "link").stdout
        assert "240.0.0.0/4" not in lab.on("a", "ip", "route", "show", "table", "all").stdout
        # It is the route that held them back: without it, the same packets are on the wire.
        # One of its own: of the other, lines from before the capture may be waiting to be read.
        with sniffing(lab, tmp_path, *LANS) as capture, Application(lab, "a", "shout", peer) as again:
            again.lines_until("ok 100")
        assert to_tokens(capture)


def to_tokens(capture: Capture) -> list[Packet]:
    return [packet for packet in capture.packets if packet.destination in TOKENS]


# --- 7 a peer that is away


def test_a_name_whose_host_is_away_never_has_its_real_address(new_lab: LabFactory) -> None:
    need_program("dig")
    lab = new_lab("--hosts", "3", dns="embedded")
    known = lab.host("d")["token"]
    assert lab.can_ping("a", "d.vipip.net")
    for host in "bd":
        os.kill(lab.host(host)["pid"], signal.SIGKILL)

    asked = time.monotonic()
    answer = lab.on("a", "dig", "+tries=1", "+time=10", "A", "b.vipip.net").stdout
    unknown_s = time.monotonic() - asked
    assert "status: SERVFAIL" in answer
    assert "EDE: 23 (Network Error): (b.vipip.net" in answer
    assert "10.201.2." not in answer
    resolved = lab.on("a", "vipnet", "resolve", "b.vipip.net", "--json", check=False)
    assert resolved.returncode == 1
    assert json.loads(resolved.stdout)["kind"] == "failed"
    assert json.loads(resolved.stdout)["address"] is None
    assert lab.on("a", "getent", "ahosts", "b.vipip.net", check=False).returncode != 0

    asked = time.monotonic()
    answer = lab.on("a", "dig", "+short", "A", "d.vipip.net").stdout
    known_s = time.monotonic() - asked
    assert answer.split() == [known]
    # No waiting for who does not answer: both figures have the start of `lab exec` in them.
    assert known_s < unknown_s / 2

    lab.on("b", "vipnet", "up")
    # At once: how often it was asked for in vain does not count.
    assert lab.can_ping("a", "b.vipip.net")
