"""What bench/paper/pcaps.py reads out of packets: written here, so that it is known what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import dns.message
import dns.rrset
import dns.update
import dpkt
import pytest
from bench.paper.pcaps import (
    DnsExchange,
    Segment,
    Silence,
    datagram_times,
    dns_exchanges,
    in_order_times,
    longest_silence,
    segments,
    tell_story,
)

from vipnet.lab.flows import TCP_PORT, UDP_PORT, Message

A, B, SERVER = bytes((240, 0, 0, 1)), bytes((240, 0, 0, 2)), bytes((10, 201, 1, 1))
HOST = bytes((10, 201, 1, 10))
FIRST = 2**32 - 1500  # the stream's first byte: sequence numbers wrap in the middle
PORT = 40_000
MSS = 1000


class Packets:
    """A pcap file in the making; `keep` bytes of each packet, as with tcpdump -s."""

    def __init__(self, path: Path, link: int = dpkt.pcap.DLT_RAW, keep: int = 128) -> None:
        self._file = path.open("wb")
        self._writer = dpkt.pcap.Writer(self._file, linktype=link, nano=True)
        self._keep = keep

    def add(self, at_ms: float, packet: bytes) -> None:
        self._writer.writepkt(packet[: self._keep], ts=at_ms / 1000)

    def close(self) -> None:
        self._file.close()


class Write(Protocol):
    def __call__(self, name: str, packets: Sequence[tuple[float, bytes]], **options: int) -> Path: ...


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, packets: Sequence[tuple[float, bytes]], **options: int) -> Path:
        path = tmp_path / name
        file = Packets(path, **options)
        for at_ms, packet in packets:
            file.add(at_ms, packet)
        file.close()
        return path

    return write


def ip(source: bytes, destination: bytes, protocol: int, inner: bytes) -> bytes:
    return bytes(dpkt.ip.IP(src=source, dst=destination, p=protocol, data=inner, len=20 + len(inner)))


def data(number: int, size: int = MSS) -> bytes:
    """The segment that begins NUMBER segments into the stream."""
    segment = dpkt.tcp.TCP(sport=PORT, dport=TCP_PORT, seq=(FIRST + number * MSS) % 2**32, data=bytes(size))
    segment.flags = dpkt.tcp.TH_ACK
    return ip(A, B, dpkt.ip.IP_PROTO_TCP, bytes(segment))


def opening() -> bytes:
    segment = dpkt.tcp.TCP(sport=PORT, dport=TCP_PORT, seq=FIRST - 1, flags=dpkt.tcp.TH_SYN)
    return ip(A, B, dpkt.ip.IP_PROTO_TCP, bytes(segment))


def ack(number: int) -> bytes:
    """B has the first NUMBER segments."""
    segment = dpkt.tcp.TCP(sport=TCP_PORT, dport=PORT, ack=(FIRST + number * MSS) % 2**32)
    segment.flags = dpkt.tcp.TH_ACK
    return ip(B, A, dpkt.ip.IP_PROTO_TCP, bytes(segment))


def test_datagrams_of_the_stream_and_no_others(write: Write) -> None:
    def datagram(port: int, payload: bytes) -> bytes:
        udp = dpkt.udp.UDP(sport=1, dport=port, data=payload, ulen=8 + len(payload))
        return ip(A, B, dpkt.ip.IP_PROTO_UDP, bytes(udp))

    ours = Message(1, 2, 1, 0, 7).encode()
    packets = [
        (3, datagram(UDP_PORT, ours)),
        (1, datagram(UDP_PORT, ours)),
        (2, datagram(UDP_PORT, bytes(64))),
    ]
    packets.append((4, datagram(UDP_PORT + 1, ours)))
    assert datagram_times(write("x", packets)) == pytest.approx([1, 3])


def test_segments_count_bytes_of_the_stream_though_only_heads_were_kept(write: Write) -> None:
    path = write(
        "x", [(0, opening()), (1, data(0)), (2, data(1)), (3, data(3)), (4, ack(2)), (5, data(2, 500))]
    )
    found = [(one.first, one.size) for one in segments(path)]
    assert found == [(0, 1000), (1000, 1000), (3000, 1000), (2000, 500)]


def test_what_arrives_early_waits_for_the_gap() -> None:
    pieces = [(1, 0, 10), (2, 20, 10), (3, 30, 10), (4, 0, 10), (5, 10, 10), (6, 40, 5)]
    received = [Segment(at_ms, first, size) for at_ms, first, size in pieces]
    assert in_order_times(received) == [1, 5, 6]


def test_a_silence_is_the_longest_that_ends_after_the_move() -> None:
    assert longest_silence([0, 900, 1000, 1010, 1400, 1410], move_ms=1_200) == Silence(1010, 1400)
    assert longest_silence([0, 900], move_ms=1_200) is None
    assert Silence(10.0, 33.0).switch_ms(5.0) == 18.0
    assert Silence(10.0, 11.0).switch_ms(5.0) == 0.0


BEFORE = [(0.0, opening()), (10.0, data(0)), (10.2, ack(1)), (990.0, data(1)), (990.2, ack(2))]
STUCK = [(1000.0, data(2)), (1005.0, data(3))]  # sent into nothing: the move is at 995
MOVE_MS = 995.0


@pytest.mark.parametrize(
    ("later", "arrives_ms", "came_by", "time_outs"),
    [
        ([], 1000.3, "first transmission", 0),
        ([(1020.0, data(2))], 1020.4, "early retransmission", 0),
        ([(1210.0, data(2))], 1210.4, "time-out 1", 1),
        ([(1210.0, data(2)), (1620.0, data(2)), (2440.0, data(2))], 2440.4, "time-out 3", 3),
        ([(1210.0, data(2)), (1620.0, data(2))], 1900.0, "kept by vipnet", 2),
        # A probe, and then the time-out that it delayed.
        ([(1020.0, data(2)), (1230.0, data(2))], 1230.4, "time-out 1", 1),
    ],
)
def test_what_ended_a_silence_of_tcp(
    write: Write, later: list[tuple[float, bytes]], arrives_ms: float, came_by: str, time_outs: int
) -> None:
    sender = write("sender", [*BEFORE, *STUCK, *later])
    received = [Segment(10.1, 0, MSS), Segment(990.1, MSS, MSS), Segment(arrives_ms, 2 * MSS, MSS)]
    story = tell_story(sender, received, Silence(990.1, arrives_ms), MOVE_MS, rtt_ms=0.3)
    assert (story.came_by, len(story.time_outs_ms)) == (came_by, time_outs)
    assert story.retransmissions_ms == pytest.approx([at_ms - MOVE_MS for at_ms, _ in later])


def test_what_follows_the_ack_of_a_time_out_belongs_to_it(write: Write) -> None:
    """B had segment 2, but its ack was lost: the time-out is answered, and the next one comes at once."""
    later = [(1210.0, data(2)), (1210.4, ack(3)), (1210.5, data(3))]
    sender = write("sender", [*BEFORE, *STUCK, *later])
    received = [Segment(990.1, MSS, MSS), Segment(1000.2, 2 * MSS, MSS), Segment(1210.8, 3 * MSS, MSS)]
    story = tell_story(sender, received, Silence(1000.2, 1210.8), MOVE_MS, rtt_ms=0.3)
    assert story.came_by == "time-out 1"


def test_questions_and_updates_with_their_first_answers(write: Write) -> None:
    def cooked(source: bytes, destination: bytes, ports: tuple[int, int], message: bytes) -> bytes:
        udp = dpkt.udp.UDP(sport=ports[0], dport=ports[1], data=message, ulen=8 + len(message))
        packet = ip(source, destination, dpkt.ip.IP_PROTO_UDP, bytes(udp))
        return bytes(dpkt.sll.SLL(ethtype=0x0800, data=packet))

    question = dns.message.make_query("B.viPip.net", "A", id=7)
    answer = dns.message.make_response(question)
    answer.answer = [dns.rrset.from_text("b.vipip.net.", 5, "IN", "A", "10.201.2.20")]
    update = dns.update.UpdateMessage("vipip.net", id=8)
    update.add("a", 5, "A", "10.201.1.10")
    ask, reply = (HOST, SERVER, (5000, 53)), (SERVER, HOST, (53, 5000))
    packets = [
        (1.0, cooked(*reply, answer.to_wire())),  # to a question of before
        (10.0, cooked(*ask, question.to_wire())),
        (10.1, cooked(*ask, question.to_wire())),  # the same on the bridge
        (60.0, cooked(*ask, question.to_wire())),  # asked again
        (510.0, cooked(*reply, answer.to_wire())),
        (560.0, cooked(*reply, answer.to_wire())),
        (600.0, cooked(*ask, update.to_wire())),
        (601.0, cooked(*ask, b"no DNS")),
    ]
    path = write("x", packets, link=dpkt.pcap.DLT_LINUX_SLL, keep=1500)
    (found, changed) = dns_exchanges(path)
    assert (found.client, found.kind, found.name) == ("10.201.1.10", "A", "b.vipip.net")
    assert (found.asked_ms, found.answered_ms) == pytest.approx((10, 510))
    assert changed == DnsExchange("10.201.1.10", "UPDATE", "vipip.net", changed.asked_ms, None)
