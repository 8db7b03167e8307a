"""bench/verify.py against packets that we write ourselves."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dpkt
import pytest
from bench import verify
from hypothesis import given
from hypothesis import strategies as st

from vipnet.lab.flows import INTERVAL_MS, Case, Flow, Message, Phase

A, B = socket.inet_aton("240.0.0.1"), socket.inet_aton("240.0.0.2")
START = 1_800_000_000.0


def message(run: int, case: int, flow: Flow, number: int) -> bytes:
    return Message(run, case, flow, Phase(min(number // 100, 2)), number).encode()


def udp(data: bytes) -> dpkt.ip.IP:
    layer = dpkt.udp.UDP(sport=1, dport=2, data=data, ulen=8 + len(data))
    return dpkt.ip.IP(src=A, dst=B, p=dpkt.ip.IP_PROTO_UDP, data=layer)


def echo(kind: int, data: bytes) -> dpkt.ip.IP:
    layer = dpkt.icmp.ICMP(type=kind, data=dpkt.icmp.ICMP.Echo(id=1, data=data))
    return dpkt.ip.IP(src=A, dst=B, p=dpkt.ip.IP_PROTO_ICMP, data=layer)


def tcp(seq: int, data: bytes, flags: int = dpkt.tcp.TH_ACK, sport: int = 40_000) -> dpkt.ip.IP:
    layer = dpkt.tcp.TCP(sport=sport, dport=verify.TCP_PORT, seq=seq % 2**32, flags=flags, data=data)
    return dpkt.ip.IP(src=A, dst=B, p=dpkt.ip.IP_PROTO_TCP, data=layer)


def write(path: Path, packets: list[tuple[float, dpkt.ip.IP]], *, ethernet: bool = False) -> None:
    """PACKETS are (milliseconds after START, packet)."""
    kind = dpkt.pcap.DLT_EN10MB if ethernet else dpkt.pcap.DLT_RAW
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file, nano=True, linktype=kind)
        for ms, packet in sorted(packets, key=lambda one: one[0]):
            packet.len = len(packet)
            data = dpkt.ethernet.Ethernet(data=packet) if ethernet else packet
            writer.writepkt(bytes(data), START + ms / 1000)


def directory_of(path: Path, *, hole: range = range(120, 140)) -> Path:
    """One run in which what was sent in HOLE is lost, in every stream."""
    a: list[tuple[float, dpkt.ip.IP]] = []
    b: list[tuple[float, dpkt.ip.IP]] = []
    lan: list[tuple[float, dpkt.ip.IP]] = []
    for case in Case:
        base = 10_000.0 * case
        for flow in (Flow.UDP_A_B, Flow.UDP_B_A, Flow.FLOOR_A, Flow.FLOOR_B, Flow.PING_A_B):
            for number in range(300):
                data, at = message(1, case, flow, number), base + number * INTERVAL_MS[flow]
                arrived = number not in hole
                if flow in (Flow.FLOOR_A, Flow.FLOOR_B):
                    lan += [(at, udp(data))] * arrived
                elif flow == Flow.PING_A_B:
                    a += [(at, echo(8, data))] + [(at + 0.1, echo(0, data))] * arrived
                else:
                    out, into = (a, b) if flow == Flow.UDP_A_B else (b, a)
                    out.append((at, udp(data)))
                    into += [(at + 0.1, udp(data))] * arrived
        for flow, out, into in ((Flow.TCP_A_B, a, b), (Flow.TCP_B_A, b, a)):
            for at, packet in connection(case, flow, base):
                out.append((at, packet))
                into.append((at + 0.1, packet))
    write(path / "a-tun0.pcap", a)
    write(path / "b-tun0.pcap", b)
    write(path / "lan1.pcap", lan, ethernet=True)
    write(path / "lan2.pcap", [], ethernet=True)
    return path


def connection(case: int, flow: Flow, base: float) -> Iterator[tuple[float, dpkt.ip.IP]]:
    first = 2**32 - 1000  # it wraps
    sport = 40_000 + 10 * case + flow
    yield base, tcp(first - 1, b"", dpkt.tcp.TH_SYN, sport)
    for number in range(300):
        data = message(1, case, flow, number)
        yield base + number * INTERVAL_MS[flow], tcp(first + 64 * number, data, sport=sport)


def test_datagrams_that_came_joined_are_all_there(tmp_path: Path) -> None:
    sent = [message(1, 1, Flow.UDP_A_B, number) for number in range(5)]
    write(tmp_path / "b.pcap", [(0.0, udp(sent[0])), (1.0, udp(b"".join(sent[1:4]))), (2.0, udp(sent[4]))])
    seen = verify.read_datagrams(tmp_path / "b.pcap")[1, 1, Flow.UDP_A_B]
    assert [one.number for one in seen] == [0, 1, 2, 3, 4]


def demo_of(directory: Path) -> dict[str, Any]:
    """The report that an honest program would have made."""
    capture = verify.Capture(directory)
    cases = {name: capture.figures(1, case) for case, name in verify.CASES.items()}
    return {
        "runs": 1,
        "floor_ms": cases["one_sided"]["floor_ms"],
        **cases,
        "runs_detail": [{"run": 1, "case": name, "figures": figures} for name, figures in cases.items()],
    }


@pytest.fixture(scope="module")
def packets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written once, with the report of an honest program beside them."""
    directory = directory_of(tmp_path_factory.mktemp("packets"))
    (directory / "honest.json").write_text(json.dumps(demo_of(directory)))
    return directory


def test_figures_come_from_the_packets(packets: Path) -> None:
    figures = verify.Capture(packets).figures(1, 1)
    assert figures["floor_ms"] == pytest.approx(20.0, abs=0.01)
    assert figures["udp"]["switch_ms"] == pytest.approx(20.0, abs=0.01)
    assert (figures["udp"]["sent"], figures["udp"]["lost"], figures["udp"]["duplicated"]) == (600, 40, 0)
    assert figures["ping"]["switch_ms"] == pytest.approx(200.0, abs=0.01)
    assert (figures["ping"]["sent"], figures["ping"]["lost"]) == (300, 20)
    assert figures["tcp"]["switch_ms"] == pytest.approx(0.0, abs=0.01)
    assert figures["tcp"]["alive"] is True


def test_an_honest_report_is_believed(packets: Path) -> None:
    (packets / "demo.json").write_bytes((packets / "honest.json").read_bytes())
    assert verify.compare(packets) == []


@pytest.mark.parametrize(
    ("where", "change", "found"),
    [
        (("one_sided", "udp", "switch_ms"), 1.1, True),
        (("one_sided", "udp", "switch_ms"), 0.9, False),
        (("two_sided", "udp", "lost"), 1, True),
        (("one_sided", "udp", "duplicated"), 1, True),
        (("two_sided", "ping", "sent"), -1, True),
        (("one_sided", "tcp", "by_direction", "mover_receives"), 2.0, True),
        (("floor_ms",), -2.0, True),
        (("runs",), 1, True),
    ],
)
def test_a_report_that_is_off_is_found_out(
    packets: Path, where: tuple[str, ...], change: float, found: bool
) -> None:
    demo = json.loads((packets / "honest.json").read_bytes())
    place = demo
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] += change
    (packets / "demo.json").write_text(json.dumps(demo))
    faults = verify.compare(packets)
    assert bool(faults) is found
    assert all(".".join(where) in fault for fault in faults)


def test_a_report_of_life_is_found_out(tmp_path: Path) -> None:
    demo = demo_of(directory_of(tmp_path, hole=range(150, 300)))
    assert demo["one_sided"]["udp"]["switch_ms"] is None
    demo["one_sided"]["udp"]["switch_ms"] = 12.0
    (tmp_path / "demo.json").write_text(json.dumps(demo))
    assert "one_sided.udp.switch_ms: None in the packets, 12.0 reported" in verify.compare(tmp_path)


# --- TCP


@given(st.data())
def test_a_stream_is_put_together_whatever_the_segments(data: st.DataObject) -> None:
    """Cut anywhere, repeated, out of order: each byte counts from when it was first seen."""
    first = data.draw(st.integers(0, 2**32 - 1))
    text = b"".join(message(1, 1, Flow.TCP_A_B, number) for number in range(6))
    cuts = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(sorted)
    segments = data.draw(st.lists(cuts, max_size=12))
    stream = verify.Stream(first)
    seen = [0.0] * len(text)
    for time, (start, end) in enumerate([*segments, (0, len(text))], 1):
        stream.add((first + start) % 2**32, text[start:end], float(time))
        seen[start:end] = [old or float(time) for old in seen[start:end]]
    messages = list(stream.messages())
    assert [one.number for one in messages] == list(range(6))
    assert [one.time_ms for one in messages] == [max(seen[: 64 * (number + 1)]) for number in range(6)]


def test_behind_a_hole_nothing_counts() -> None:
    stream = verify.Stream(0)
    for number in (0, 1, 3):
        stream.add(64 * number, message(1, 1, Flow.TCP_A_B, number), 1.0)
    assert [one.number for one in stream.messages()] == [0, 1]


def test_a_keepalive_is_no_data() -> None:
    stream = verify.Stream(100)
    stream.add(99, b"\0", 1.0)
    assert not stream.text
