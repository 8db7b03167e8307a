"""What a stranger on the wire, and the log, learn of names without vipnet: `_vip` questions, no more."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

import dns.flags
import dns.message
import dns.rdatatype
from msgspec import Struct
from tests.lab.conftest import LabFactory
from tests.lab.labs import Lab
from tests.lab.sniffer import LANS, TCP, UDP, VIPNET_PORT, Capture, Packet, sniffing
from tests.support import need_program

_DNS: Final = 53
_LEGACY: Final = "c.vipip.net"
# What applications do with names that no vipnet host has; dig asks as little as a stub resolver.
_DIG: Final = ("dig", "+noedns", "+nocookie", "+tries=1", "+noall")
_COMMANDS: Final = (
    ("getent", "ahostsv4", _LEGACY),
    ("ping", "-c", "1", _LEGACY),
    (*_DIG, "A", "Gone.vipip.net"),
    (*_DIG, "MX", "vipip.net"),
    (*_DIG, "HTTPS", _LEGACY),
    (*_DIG, "+tcp", "TXT", "text.vipip.net"),
    ("dig", "+dnssec", "+nocookie", "+tries=1", "+noall", "AAAA", _LEGACY),
)


class Question(Struct, frozen=True):
    """A DNS query as the network sees it, but for what is random in every one: id, port, case of letters."""

    server: str
    protocol: int
    name: str
    rdtype: str
    flags: str
    edns: str


def questions(capture: Capture, address: str) -> Counter[Question]:
    """What ADDRESS has asked; a packet is on two bridges at most once each, so one of them is counted."""
    found: Counter[Question] = Counter()
    for packet in capture.packets:
        if str(packet.source) != address or packet.destination_port != _DNS or not packet.payload:
            continue
        wire = packet.payload[2:] if packet.protocol == TCP else packet.payload
        query = dns.message.from_wire(wire)
        (asked,) = query.question
        options = "".join(f" {option}" for option in query.options)
        edns = "" if query.edns < 0 else f"{query.edns} {query.payload} {query.ednsflags:#x}{options}"
        question = Question(
            str(packet.destination),
            packet.protocol,
            asked.name.to_text().lower(),
            dns.rdatatype.to_text(asked.rdtype),
            dns.flags.to_text(query.flags),
            edns,
        )
        found[question] += 1
    return found


def others(capture: Capture, address: str) -> set[tuple[str, int, int]]:
    """Where to, and for what, ADDRESS has sent anything but DNS."""
    return {
        (str(packet.destination), packet.protocol, _service(packet))
        for packet in capture.packets
        if str(packet.source) == address and _DNS not in packet.ports
    }


def _service(packet: Packet) -> int:
    return packet.destination_port if packet.protocol in (TCP, UDP) else 0


def used(lab: Lab, directory: Path, name: str) -> Capture:
    """What is on the LANs while applications on a use names."""
    there = directory / name
    there.mkdir()
    with sniffing(lab, there, *LANS) as capture:
        for command in _COMMANDS:
            lab.on("a", *command, check=False)
    return capture


def test_legacy_names_tell_a_stranger_no_more_than_plain_dns(new_lab: LabFactory, tmp_path: Path) -> None:
    need_program("dig", "getent")
    lab = new_lab("--legacy")
    address = lab.host("a")["address"]
    log = lab.daemon_log("a")
    ours = used(lab, tmp_path, "with")
    said = log.read_text().lower()
    lab.on("a", "vipnet", "down")
    plain = used(lab, tmp_path, "without")

    without = questions(plain, address)
    assert sum(without.values()) >= len(_COMMANDS), "the applications have asked"
    more = questions(ours, address) - without
    names = {question.name for question in more}
    assert names == {"_vip.c.vipip.net.", "_vip.gone.vipip.net."}, more
    for question, count in more.items():
        about = sum(n for one, n in without.items() if question.name == f"_vip.{one.name}")
        assert count <= about, "never more often than applications ask for the name"
        assert (question.rdtype, question.protocol) == ("TXT", UDP)
        assert {other.server for other in without} == {question.server}, "of nobody new"
        assert question.edns == "0 1232 0x8000", "DO; no cookie, no client subnet"
    assert without - questions(ours, address) == Counter(), "what applications ask goes out as it is"

    assert others(ours, address) == others(plain, address)
    assert not [packet for packet in ours.packets if VIPNET_PORT in packet.ports]
    assert "daemon.started" in said
    for name in (_LEGACY, "gone.vipip.net", "text.vipip.net"):
        assert name not in said
    assert log.stat().st_mode & 0o007 == 0, "peers' names and places are the administrator's"
