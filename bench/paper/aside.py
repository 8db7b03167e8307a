"""What the paper says besides its figures, tried out: one function each, a JSON object as its result."""

from __future__ import annotations

import json
import re
import socket
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Final, Self

import dpkt
from bench.paper import pcaps
from bench.paper.bed import Bed, make_bed
from bench.paper.capture import Tap, tcpdump
from bench.paper.cells import PROFILES, BedKind
from bench.stats import summarise
from bench.verify import packets
from tests.lab.apps.program import ConnectedApp
from tests.lab.apps.shells import telnet
from tests.lab.apps.streams import ping, video
from tests.lab.apps.survival import move_and_check, same_sockets
from tests.lab.labs import Lab

from vipnet.errors import HostError
from vipnet.lab.layout import LANS, LEGACY, ROUTER, ZONE
from vipnet.lab.moves import carry_out, plan_move
from vipnet.lab.namespaces import inside
from vipnet.policy import DEFAULT_PORT, Policy

SETUP_RTT_MS: Final = 100.0  # so long that a round trip cannot be taken for anything else
_PINGS: Final = 40
_SILENT_S: Final = 3.0  # longer than a lease
_SECRET: Final = b"vipnet, in clear"  # ping fills packets with 16 bytes
_BREAK_S: Final = 3.0  # a connection over which nothing comes for so long is called broken
_ROW: Final = ("a", "b", "both")
_APPLICATIONS: Final[tuple[Callable[[Lab, Path], AbstractContextManager[ConnectedApp]], ...]] = (
    telnet,
    video,
    ping,
)


# --- round trips


def round_trips(name: str) -> dict[str, Any]:
    """Between a and b on two LANs and on one, bare and through vipnet; medians in ms."""
    with make_bed(BedKind(profile="default"), name) as bed:
        two = _both_ways(bed)
        carry_out([plan_move(bed.layout, "b", "switch")])
        bed.settle()
        return {"two_lans": two, "one_lan": _both_ways(bed), "pings": _PINGS}


def _both_ways(bed: Bed) -> dict[str, float | None]:
    return {"bare_ms": _ping_ms(bed, _where(bed, "b")), "vipnet_ms": _ping_ms(bed, f"b.{ZONE}")}


def _where(bed: Bed, label: str) -> str:
    """The address that a host has now."""
    status = json.loads(bed.run_on(label, "vipnet", "status", "--json"))
    address: str = status["locators"][0].rpartition(":")[0]
    return address


def _ping_ms(bed: Bed, target: str) -> float | None:
    said = bed.run_on("a", "ping", "-n", "-c", str(_PINGS), "-i", "0.02", target)
    return summarise(map(float, re.findall(r"time=([\d.]+) ms", said))).median


# --- set-up


def set_up(name: str) -> dict[str, Any]:
    """First contact with b over a round trip of 100 ms, and what c, which has no vipnet, costs instead.

    vip            b knows nothing of a: it asks DNS who a is, in the middle of the handshake
    vip_known      a has forgotten b, but b knows a
    together_ms    between A and TXT about b as they arrive at the name server
    """
    kind = BedKind(profile="default", rtt_ms=SETUP_RTT_MS)
    with make_bed(kind, name, legacy=True, met=False) as bed, tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "dns.pcap")
        with tcpdump(bed.layout, _dns_tap(file)):
            vip = _resolve(bed, f"b.{ZONE}")
            legacy = _resolve(bed, f"{LEGACY}.{ZONE}")
        bed.run_on("a", "vipnet", "trust", "remove", f"b.{ZONE}")
        known = _resolve(bed, f"b.{ZONE}")
        asked = pcaps.dns_exchanges(file)
        own = bed.layout.host("a")
        about = {
            label: sorted(
                {
                    (one.kind, one.name): one.asked_ms
                    for one in asked
                    if _is_about(one, own.address(1), label)
                }.items()
            )
            for label in ("b", LEGACY)
        }
        times = [at_ms for (kind, _), at_ms in about["b"] if kind in ("A", "TXT")]
        return {
            "rtt_ms": bed.rtt_ms,
            "vip": vip,
            "vip_known": known,
            "legacy": legacy,
            "questions": {label: [list(what) for what, _ in found] for label, found in about.items()},
            "together_ms": round(max(times) - min(times), 3) if times else None,
        }


def _dns_tap(file: Path) -> Tap:
    return Tap(host=ROUTER, interface="any", file=file, only="udp port 53", keep_bytes=1500, link="LINUX_SLL")


def _is_about(one: pcaps.DnsExchange, client: str, label: str) -> bool:
    return one.client == client and one.name in (f"{label}.{ZONE}", f"_vip.{label}.{ZONE}")


def _resolve(bed: Bed, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bed.run_on("a", "vipnet", "resolve", name, "--json"))
    return {"kind": found["kind"], "steps_ms": {step["id"]: step["ms"] for step in found["steps"]}}


# --- hosts without vipnet


def legacy(name: str) -> dict[str, Any]:
    """C has no vipnet: what it sees of it, and what a move does to a connection with it."""
    with (
        make_bed(BedKind(profile="default"), name, legacy=True) as bed,
        tempfile.TemporaryDirectory() as directory,
        ExitStack() as stack,
    ):
        at_c, at_r = Path(directory, "c.pcap"), Path(directory, "dns.pcap")
        c = bed.layout.host(LEGACY)
        with tcpdump(bed.layout, _dns_tap(at_r)):
            looked_up = bed.run_on("a", "getent", "ahostsv4", c.name).split()[0]
        with tcpdump(bed.layout, Tap(host=LEGACY, interface="eth0", file=at_c, only="ip")):
            bed.run_on("a", "ping", "-c", "3", "-i", "0.05", c.name)
            there = stack.enter_context(_Connection(bed, "a", LEGACY))
            back = stack.enter_context(_Connection(bed, LEGACY, "a"))
            both_ways = there.works() and back.works()
            carry_out([plan_move(bed.layout, "a", "switch")])
            bed.settle()
            still_works = there.works()
            new_works = stack.enter_context(_Connection(bed, "a", LEGACY)).works()
        seen = [packet for _, packet in packets(at_c)]
        ports = [(one.data.sport, one.data.dport) for one in seen if hasattr(one.data, "dport")]
        asked = {
            (one.kind, one.name)
            for one in pcaps.dns_exchanges(at_r)
            if _is_about(one, bed.layout.host("a").address(1), LEGACY)
        }
        return {
            "address_as_in_dns": looked_up == c.address(c.lan),
            "packets_seen": len(seen),
            "vipnet_packets": sum(DEFAULT_PORT in pair for pair in ports),
            "questions": sorted(map(list, asked)),
            "works_both_ways": both_ways,
            "open_connection_survives": still_works,
            "new_connection_works": new_works,
        }


class _Connection:
    """TCP from one host to another one's present address, by sockets of this process in their namespaces."""

    def __init__(self, bed: Bed, client: str, server: str) -> None:
        layout = bed.layout
        with inside(layout.netns(server)):
            self._listener = socket.create_server(("", 0))
        address = json.loads(
            bed.run_on(server, "ip", "-json", "-4", "address", "show", "up", "scope", "global")
        )
        nic = next(one for one in address if one["ifname"].startswith("eth"))
        place = (nic["addr_info"][0]["local"], self._listener.getsockname()[1])
        with inside(layout.netns(client)):
            self._client = socket.create_connection(place, timeout=_BREAK_S)
        self._server, _ = self._listener.accept()
        self._server.settimeout(_BREAK_S)

    def works(self) -> bool:
        """Whether a byte comes through soon."""
        try:
            self._client.sendall(b"x")
            return self._server.recv(1) == b"x"
        except OSError:
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._client, self._server, self._listener):
            sock.close()


# --- applications


def applications(name: str) -> dict[str, Any]:
    """Telnet, RTP video and ping while a, b and both move; per profile what each says at its end."""
    found: dict[str, Any] = {"moves": list(_ROW)}
    for profile in PROFILES:
        with (
            make_bed(BedKind(profile=profile), name) as bed,
            tempfile.TemporaryDirectory() as directory,
            ExitStack() as running,
        ):
            lab, place = Lab(bed.layout.name), Path(directory)
            apps: list[ConnectedApp] = [running.enter_context(start(lab, place)) for start in _APPLICATIONS]
            try:
                with same_sockets(apps):
                    for mover in _ROW:
                        move_and_check(lab, mover, apps)
                found[profile] = {app.name: app.finish() for app in apps}
            except AssertionError as error:
                raise HostError(f"profile {profile}: {error}") from None
    return found


# --- leases


def lease(name: str) -> dict[str, Any]:
    """Per profile: how often a asks where b is during a silence longer than T, and when it speaks again.

    told  partners that a's hints went to when it moved after that silence, and again once it had spoken
    """
    found: dict[str, Any] = {"lease_s": Policy().lease_s}
    for profile in PROFILES:
        with make_bed(BedKind(profile=profile), name) as bed, tempfile.TemporaryDirectory() as directory:
            files = {when: Path(directory, f"{when}.pcap") for when in ("silent", "speaking")}
            bed.run_on("a", "ping", "-c", "1", f"b.{ZONE}")
            with tcpdump(bed.layout, _dns_tap(files["silent"])):
                time.sleep(Policy().lease_s + _SILENT_S)
            (token,) = {peer["token"] for peer in _peers(bed, "a")}
            told = [_move_and_tell(bed)]
            with tcpdump(bed.layout, _dns_tap(files["speaking"])):
                bed.run_on("a", "ping", "-c", "2", token)
            told.append(_move_and_tell(bed))
            own = {bed.layout.host("a").address(lan) for lan in LANS}
            found[profile] = {
                when: sum(
                    one.kind == "A" and any(_is_about(one, address, "b") for address in own)
                    for one in pcaps.dns_exchanges(file)
                )
                for when, file in files.items()
            } | {"told": told}
    return found


def _move_and_tell(bed: Bed) -> int:
    """Move a; return how many partners it told."""
    carry_out([plan_move(bed.layout, "a", "switch")])
    bed.settle()
    moves: list[dict[str, Any]] = json.loads(bed.run_on("a", "vipnet", "moves", "--json"))["moves"]
    return len(moves[-1]["partners"])


# --- configuration


def configuration(name: str) -> dict[str, Any]:
    """What stands in a's configuration; what a and b call one another, and what the LANs see of it.

    readable, readable_bare  packets that show what was sent, through vipnet and to b's own address
    """
    with make_bed(BedKind(profile="default"), name) as bed, tempfile.TemporaryDirectory() as directory:
        config = tomllib.loads(bed.layout.config_file("a").read_text(encoding="utf-8"))
        seen = _seen_on_lans(bed, Path(directory), f"b.{ZONE}")
        bare = _seen_on_lans(bed, Path(directory), _where(bed, "b"))
        ends = [(IPv4Address(packet.src), IPv4Address(packet.dst)) for packet in seen]
        subnet = IPv4Network(bed.layout.spec.subnet)
        return {
            "keys": _keys(config),
            "symmetric": _call(bed, "a") == _call(bed, "b")[::-1],
            "packets_on_lans": len(seen),
            "tokens_on_lans": sum(any(end in subnet for end in pair) for pair in ends),
            "readable": sum(_SECRET in bytes(packet) for packet in seen),
            "readable_bare": sum(_SECRET in bytes(packet) for packet in bare),
        }


def _seen_on_lans(bed: Bed, directory: Path, target: str) -> list[dpkt.ip.IP]:
    """What passes on both while a pings TARGET with something that can be found again."""
    files = {lan: directory / f"lan{lan}.pcap" for lan in LANS}
    taps = [Tap(host=ROUTER, interface=f"lan{lan}", file=file, only="ip") for lan, file in files.items()]
    with tcpdump(bed.layout, *taps):
        bed.run_on("a", "ping", "-c", "20", "-i", "0.02", "-p", _SECRET.hex(), target)
    return [packet for file in files.values() for _, packet in packets(file)]


def _call(bed: Bed, label: str) -> list[str]:
    """What a host calls itself towards the other, and what it calls that one."""
    (peer,) = _peers(bed, label)
    return [peer["local_token"], peer["token"]]


def _peers(bed: Bed, label: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(bed.run_on(label, "vipnet", "peers", "--json"))["peers"]
    return found


def _keys(config: Mapping[str, Any], before: str = "") -> list[str]:
    found = []
    for key, value in config.items():
        found += _keys(value, f"{before}{key}.") if isinstance(value, dict) else [before + key]
    return found


ASIDES: Final[dict[str, tuple[Callable[[str], dict[str, Any]], float]]] = {
    "round_trips": (round_trips, 9.0),
    "set_up": (set_up, 6.0),
    "legacy": (legacy, 12.0),
    "applications": (applications, 30.0),
    "configuration": (configuration, 5.0),
    "lease": (lease, 150.0),
}
"""With the seconds that each takes, about."""
