"""What tcpdump wrote, read by dpkt: arrivals, sequence numbers, retransmissions, answers of DNS.

All times are milliseconds since 1970, by the kernel's stamps of one machine.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rdatatype
import dpkt
from bench.verify import message, packets
from msgspec import Struct

from vipnet.lab.flows import TCP_PORT, UDP_PORT

NEAR_MS: Final = 100.0  # so long before a move a silence may end that belongs to it
RTO_MIN_MS: Final = 195.0  # Linux: 200 ms (TCP_RTO_MIN), by a clock of a few ms
FRESH_MS: Final = 30.0  # what arrives later than this (and three round trips) was not sent just now


class Silence(Struct, frozen=True):
    """The longest pause in a stream around the move."""

    began_ms: float
    ended_ms: float

    def switch_ms(self, interval_ms: float) -> float:
        return max(0.0, round(self.ended_ms - self.began_ms - interval_ms, 3))


class Segment(Struct, frozen=True, gc=False):
    """TCP data; `first` counts bytes of the stream from 0 on."""

    at_ms: float
    first: int
    size: int

    @property
    def end(self) -> int:
        return self.first + self.size


class TcpStory(Struct, frozen=True):
    """What the sender's kernel did meanwhile, and what ended the silence.

    retransmissions_ms  of the oldest unacknowledged bytes, from the move on
    time_outs_ms        those of them that came after a retransmission time-out, not before
    came_by             what came: "first transmission", "early retransmission" (a tail loss probe, or by
                        RACK), "time-out n", or "kept by vipnet": the kernel had sent it long before
    age_ms              how long before
    """

    retransmissions_ms: tuple[float, ...]
    time_outs_ms: tuple[float, ...]
    came_by: str
    age_ms: float


class DnsExchange(Struct, frozen=True):
    """A question (or update) as it was seen on the way; `answered_ms` None: never."""

    client: str
    kind: str  # A, TXT, ...; UPDATE
    name: str
    asked_ms: float
    answered_ms: float | None


def longest_silence(times_ms: Sequence[float], move_ms: float) -> Silence | None:
    """The longest pause that ends at the move or later; None: nothing came any more."""
    pauses = [(b - a, a, b) for a, b in pairwise(times_ms) if b >= move_ms - NEAR_MS]
    if not pauses:
        return None
    _, began, ended = max(pauses)
    return Silence(began, ended)


# --- streams


def datagram_times(path: Path) -> list[float]:
    """When datagrams of the UDP stream arrived; those that the kernel got joined are there once."""
    return sorted(
        at_ms
        for at_ms, packet in packets(path)
        if isinstance(packet.data, dpkt.udp.UDP)
        and packet.data.dport == UDP_PORT
        and message(bytes(packet.data.data), at_ms) is not None
    )


def segments(path: Path) -> list[Segment]:
    """All data of the TCP stream, as it passed; retransmissions too."""
    first: int | None = None
    found = []
    for at_ms, packet in packets(path):
        segment = packet.data
        if not isinstance(segment, dpkt.tcp.TCP) or segment.dport != TCP_PORT:
            continue
        if segment.flags & dpkt.tcp.TH_SYN:
            first = (segment.seq + 1) % 2**32
        size = packet.len - packet.hl * 4 - segment.off * 4  # tcpdump kept only the heads
        if first is not None and size > 0:
            offset = (segment.seq - first) % 2**32
            if offset < 2**31:  # else a keepalive: it repeats the byte before
                found.append(Segment(at_ms, offset, size))
    return found


def acknowledged(path: Path) -> list[tuple[float, int]]:
    """When the receiver had acknowledged how many bytes, by its acks as they pass."""
    first: int | None = None
    found: list[tuple[float, int]] = []
    for at_ms, packet in packets(path):
        segment = packet.data
        if not isinstance(segment, dpkt.tcp.TCP):
            continue
        if segment.dport == TCP_PORT and segment.flags & dpkt.tcp.TH_SYN:
            first = (segment.seq + 1) % 2**32
        elif segment.sport == TCP_PORT and first is not None and segment.flags & dpkt.tcp.TH_ACK:
            found.append((at_ms, (segment.ack - first) % 2**32))
    return found


def in_order_times(received: Sequence[Segment]) -> list[float]:
    """When more of the stream was there without a hole."""
    whole, early, times = 0, dict[int, int](), []
    for one in received:
        if one.end <= whole:
            continue
        early[one.first] = max(one.end, early.get(one.first, 0))
        before = whole
        while (start := next((first for first in early if first <= whole), None)) is not None:
            whole = max(whole, early.pop(start))
        if whole > before:
            times.append(one.at_ms)
    return times


def tell_story(
    sender: Path, received: Sequence[Segment], silence: Silence, move_ms: float, rtt_ms: float
) -> TcpStory:
    """Look up what came at the end of SILENCE in what the SENDER's kernel had sent."""
    sent, acks = segments(sender), acknowledged(sender)
    ack_times = [at_ms for at_ms, _ in acks]
    highest, again, time_outs = 0, list[float](), list[float]()
    for number, one in enumerate(sent):
        is_old, highest = one.first < highest, max(highest, one.end)
        if not is_old or not move_ms <= one.at_ms <= silence.ended_ms:
            continue
        place = bisect_right(ack_times, one.at_ms)
        oldest = acks[place - 1][1] if place else 0
        if not one.first <= oldest < one.end:
            continue
        again.append(one.at_ms)
        last_ms = max(other.at_ms for other in sent[:number] if other.first <= one.first < other.end)
        acked_ms = ack_times[place - 1] if place else move_ms
        # Right after an ack it goes on from the time-out before.
        if one.at_ms - max(last_ms, acked_ms) >= RTO_MIN_MS:
            time_outs.append(one.at_ms)
    came = next(one for one in received if one.at_ms == silence.ended_ms)
    times = [one.at_ms for one in sent if one.first <= came.first < one.end and one.at_ms <= came.at_ms]
    age_ms = came.at_ms - times[-1] if times else 0.0
    fresh_ms = FRESH_MS + 3 * rtt_ms
    if age_ms > fresh_ms:
        came_by = "kept by vipnet"
    elif len(times) < 2:
        came_by = "first transmission"
    elif time_outs and times[-1] - time_outs[-1] <= fresh_ms:
        came_by = f"time-out {len(time_outs)}"
    else:
        came_by = "early retransmission"
    return TcpStory(_since(move_ms, again), _since(move_ms, time_outs), came_by, round(age_ms, 3))


def _since(zero_ms: float, times_ms: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(at_ms - zero_ms, 3) for at_ms in times_ms)


# --- DNS


def dns_exchanges(path: Path) -> list[DnsExchange]:
    """Questions and updates with their first answers, from `tcpdump -i any -y LINUX_SLL`; UDP only."""
    asked: dict[tuple[str, int, str, str], float] = {}
    answered: dict[tuple[str, int, str, str], float] = {}
    for at_ms, packet in _cooked(path):
        udp = packet.data
        if not isinstance(udp, dpkt.udp.UDP):
            continue
        try:
            said = dns.message.from_wire(bytes(udp.data), keyring=False, ignore_trailing=True)
        except (dns.exception.DNSException, ValueError):
            continue
        is_update = said.opcode() == dns.opcode.UPDATE
        question = said.question[0] if said.question else None
        if question is None:
            continue
        kind = "UPDATE" if is_update else dns.rdatatype.to_text(question.rdtype)
        response = bool(said.flags & dns.flags.QR)
        client = _address(packet.dst if response else packet.src)
        port = udp.dport if response else udp.sport
        name = question.name.to_text(omit_final_dot=True).lower()
        key = (client, said.id * 65_536 + port, kind, name)
        if response:
            if key in asked:
                answered.setdefault(key, at_ms)
        else:
            asked.setdefault(key, at_ms)
    return [
        DnsExchange(client, kind, name, at_ms, answered.get((client, number, kind, name)))
        for (client, number, kind, name), at_ms in asked.items()
    ]


def _cooked(path: Path) -> Iterator[tuple[float, Any]]:
    with path.open("rb") as file:
        for seconds, data in dpkt.pcap.Reader(file):
            try:
                packet = dpkt.sll.SLL(data).data
            except dpkt.UnpackError:
                continue
            if isinstance(packet, dpkt.ip.IP):
                yield float(seconds) * 1000, packet


def _address(raw: bytes) -> str:
    return ".".join(map(str, raw))
