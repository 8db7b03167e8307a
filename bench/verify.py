"""Recompute the figures of `vipnet demo --keep DIR` from the packets alone.

    bench/verify.py DIR

Reads the packets of both LANs and both tunnels, never the program's own record of
what it sent and received, and compares with DIR/demo.json. Exit status 1 at a
difference of more than 1 ms or one datagram. Shares no code with vipnet on purpose.
"""

from __future__ import annotations

import json
import statistics
import struct
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import dpkt

TOLERANCE_MS: Final = 1.0
LATE_MS: Final = 500.0
SIZE: Final = 64  # bytes of a message
HEAD: Final = struct.Struct("!4sHBBB3xI")  # magic, run, case, flow, phase, number
MAGIC: Final = b"vipL"
TCP_PORT: Final = 5902
CASES: Final = {1: "one_sided", 2: "two_sided"}
UDP_A_B, UDP_B_A, TCP_A_B, TCP_B_A, PING, FLOOR_A, FLOOR_B = range(1, 8)
INTERVAL_MS: Final = {UDP_A_B: 1, UDP_B_A: 1, TCP_A_B: 5, TCP_B_A: 5, PING: 10, FLOOR_A: 1, FLOOR_B: 1}


class Seen(NamedTuple):
    """A message where it was captured; `time_ms` since 1970."""

    run: int
    case: int
    flow: int
    phase: int
    number: int
    time_ms: float


Key = tuple[int, int, int]  # run, case, flow
Log = dict[Key, list[Seen]]


# --- reading packets


def packets(path: Path) -> Iterator[tuple[float, Any]]:
    """Yield time in milliseconds and the IPv4 packet of each record."""
    with path.open("rb") as file:
        reader = dpkt.pcap.Reader(file)
        ethernet = reader.datalink() == dpkt.pcap.DLT_EN10MB
        for seconds, data in reader:
            try:
                packet = dpkt.ethernet.Ethernet(data).data if ethernet else dpkt.ip.IP(data)
            except dpkt.UnpackError:
                continue  # not IPv4
            if isinstance(packet, dpkt.ip.IP):
                yield float(seconds) * 1000, packet


def message(data: bytes, time_ms: float) -> Seen | None:
    if len(data) < SIZE:
        return None
    magic, run, case, flow, phase, number = HEAD.unpack_from(data)
    return Seen(run, case, flow, phase, number, time_ms) if magic == MAGIC else None


def read_datagrams(path: Path) -> Log:
    """All messages in bare UDP datagrams, which may have come joined, and those in echo answers."""
    log: Log = defaultdict(list)
    for time_ms, packet in packets(path):
        layer = packet.data
        if isinstance(layer, dpkt.udp.UDP):
            data = bytes(layer.data)
            for start in range(0, len(data), SIZE):
                note(log, message(data[start : start + SIZE], time_ms))
        elif isinstance(layer, dpkt.icmp.ICMP) and layer.type == dpkt.icmp.ICMP_ECHOREPLY:
            note(log, message(bytes(layer.data.data), time_ms))
    return log


def echo_requests(path: Path) -> Log:
    log: Log = defaultdict(list)
    for time_ms, packet in packets(path):
        layer = packet.data
        if isinstance(layer, dpkt.icmp.ICMP) and layer.type == dpkt.icmp.ICMP_ECHO:
            note(log, message(bytes(layer.data.data), time_ms))
    return log


def note(log: Log, seen: Seen | None) -> None:
    if seen is not None:
        log[seen.run, seen.case, seen.flow].append(seen)


# --- TCP


class Stream:
    """One direction of one connection at one place: which bytes have passed, and when first."""

    def __init__(self, first: int) -> None:
        self.first = first  # sequence number of the first byte
        self.text = bytearray()
        self.times_ms: list[float | None] = []

    def add(self, sequence: int, data: bytes, time_ms: float) -> None:
        offset = (sequence - self.first) % 2**32
        if offset >= 2**31:
            return  # a keepalive: it repeats the byte before
        missing = offset + len(data) - len(self.text)
        self.text += bytes(max(0, missing))
        self.times_ms += [None] * missing
        for place, byte in enumerate(data, offset):
            if self.times_ms[place] is None:
                self.text[place], self.times_ms[place] = byte, time_ms

    def messages(self) -> Iterator[Seen]:
        """Messages in order, each with the time at which it and all before it had passed."""
        ready_ms = 0.0
        for start in range(0, len(self.text) - SIZE + 1, SIZE):
            times = self.times_ms[start : start + SIZE]
            if None in times:
                return  # a hole that never closed
            ready_ms = max(ready_ms, *(time for time in times if time is not None))
            seen = message(bytes(self.text[start : start + SIZE]), ready_ms)
            if seen is not None:
                yield seen


def streams(path: Path) -> list[Stream]:
    """Every direction that carries messages: those towards TCP_PORT."""
    found = []
    current: dict[tuple[bytes, int, bytes], Stream] = {}
    for time_ms, packet in packets(path):
        segment = packet.data
        if not isinstance(segment, dpkt.tcp.TCP) or segment.dport != TCP_PORT:
            continue
        key = (packet.src, segment.sport, packet.dst)
        first = (segment.seq + 1) % 2**32
        if segment.flags & dpkt.tcp.TH_SYN:
            if key not in current or current[key].first != first:
                current[key] = Stream(first)
                found.append(current[key])
        elif key in current:
            current[key].add(segment.seq, bytes(segment.data), time_ms)
    return found


def tcp_messages(path: Path) -> Log:
    log: Log = defaultdict(list)
    for stream in streams(path):
        for seen in stream.messages():
            note(log, seen)
    return log


# --- figures


def switch_ms(arrivals: list[Seen], interval_ms: float) -> float | None:
    """The longest silence that ends in phase 1 or later; None when nothing was sent after the move."""
    ordered = sorted(arrivals, key=lambda seen: seen.time_ms)
    if not any(seen.phase == 2 for seen in ordered):
        return None
    longest, near = 0.0, False
    for earlier, later in pairwise(ordered):
        near = near or later.phase >= 1
        if near:
            longest = max(longest, later.time_ms - earlier.time_ms)
    return max(0.0, longest - interval_ms)


def stream(sent: list[Seen], received: list[Seen]) -> tuple[list[Seen], list[Seen]]:
    """Both ends of a stream; what came half a second after the last message had left is lost."""
    last = max((seen.time_ms for seen in sent), default=0.0)
    return sent, [seen for seen in received if seen.time_ms <= last + LATE_MS]


def worst(*values: float | None) -> float | None:
    return None if None in values else max(value for value in values if value is not None)


def middle(values: list[float | None]) -> float | None:
    return None if None in values else statistics.median(value for value in values if value is not None)


def counts(sent: list[Seen], received: list[Seen]) -> tuple[int, int, int]:
    """Sent, lost, duplicated."""
    left = {seen.number for seen in sent}
    came = Counter(seen.number for seen in received)
    return len(left), len(left - came.keys()), sum(came.values()) - len(came)


class Capture:
    """All that was captured, by where it is proof of something."""

    def __init__(self, directory: Path) -> None:
        a, b = directory / "a-tun0.pcap", directory / "b-tun0.pcap"
        self.at_a, self.at_b = read_datagrams(a), read_datagrams(b)
        self.pings = echo_requests(a)
        self.tcp_at_a, self.tcp_at_b = tcp_messages(a), tcp_messages(b)
        self.lans = [read_datagrams(directory / f"lan{lan}.pcap") for lan in (1, 2)]

    def runs(self) -> list[int]:
        return sorted({run for run, _, _ in self.at_a})

    def figures(self, run: int, case: int) -> dict[str, Any]:
        """One case of one run, in the shape of demo.json's runs_detail."""
        # A stream is sent where it starts: what its own host's tun0 shows of it went out.
        there = stream(*(log[run, case, UDP_A_B] for log in (self.at_a, self.at_b)))
        back = stream(*(log[run, case, UDP_B_A] for log in (self.at_b, self.at_a)))
        tcp_there = [log[run, case, TCP_A_B] for log in (self.tcp_at_a, self.tcp_at_b)]
        tcp_back = [log[run, case, TCP_B_A] for log in (self.tcp_at_b, self.tcp_at_a)]
        pings = stream(self.pings[run, case, PING], self.at_a[run, case, PING])
        totals = [a + b for a, b in zip(counts(*there), counts(*back), strict=True)]
        floors = (FLOOR_A,) if case == 1 else (FLOOR_A, FLOOR_B)
        by_direction = [switch_ms(flow[1], 1) for flow in (there, back)]
        tcp_directions = [switch_ms(flow[1], 5) for flow in (tcp_there, tcp_back)]
        sent, lost, duplicated = counts(*pings)
        return {
            "floor_ms": worst(*(self.floor(run, case, flow) for flow in floors)),
            "udp": {
                "switch_ms": worst(*by_direction),
                "sent": totals[0],
                "lost": totals[1],
                "duplicated": totals[2],
                "by_direction": directions(by_direction),
            },
            "tcp": {
                "switch_ms": worst(*tcp_directions),
                "alive": whole(*tcp_there) and whole(*tcp_back),
                "by_direction": directions(tcp_directions),
            },
            "ping": {
                "switch_ms": switch_ms(pings[1], INTERVAL_MS[PING]),
                "sent": sent,
                "lost": lost,
                "duplicated": duplicated,
            },
        }

    def floor(self, run: int, case: int, flow: int) -> float | None:
        arrivals = [seen for log in self.lans for seen in log[run, case, flow]]
        return switch_ms(arrivals, INTERVAL_MS[flow])


def whole(sent: list[Seen], received: list[Seen]) -> bool:
    """Every message that left arrived, once and in order."""
    numbers = [seen.number for seen in received]
    return bool(sent) and numbers == list(range(len(sent)))


def directions(values: list[float | None]) -> dict[str, float | None]:
    return {"mover_sends": values[0], "mover_receives": values[1]}


def summary(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of times, sums of counts."""
    result: dict[str, Any] = {}
    for key, value in cases[0].items():
        values = [case[key] for case in cases]
        if isinstance(value, dict):
            result[key] = summary(values)
        elif isinstance(value, bool):
            result[key] = all(values)
        elif isinstance(value, int):
            result[key] = sum(values)
        else:
            result[key] = middle(values)
    return result


# --- comparison


def differences(ours: object, theirs: Any, where: str) -> Iterator[str]:  # noqa: ANN401 - JSON
    """Yield what differs by more than is allowed."""
    if isinstance(ours, dict):
        for key, value in ours.items():
            yield from differences(value, theirs[key], f"{where}.{key}")
    elif isinstance(ours, float) and theirs is not None:
        if abs(ours - theirs) > TOLERANCE_MS:
            yield f"{where}: {ours:.3f} ms in the packets, {theirs:.3f} ms reported"
    elif ours != theirs:
        yield f"{where}: {ours} in the packets, {theirs} reported"


def compare(directory: Path) -> list[str]:
    demo = json.loads((directory / "demo.json").read_bytes())
    capture = Capture(directory)
    found = list(differences(len(capture.runs()), demo["runs"], "runs"))
    for case, name in CASES.items():
        details = [detail for detail in demo["runs_detail"] if detail["case"] == name]
        mine = [capture.figures(detail["run"], case) for detail in details]
        for detail, figures in zip(details, mine, strict=True):
            found += differences(figures, detail["figures"], f"run {detail['run']}.{name}")
        found += differences(summary(mine), demo[name], name)
    one_sided = summary([capture.figures(run, 1) for run in capture.runs()])
    found += differences(one_sided["floor_ms"], demo["floor_ms"], "floor_ms")
    return found


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: verify.py DIR   (DIR as written by `vipnet demo --keep DIR`)")
    found = compare(Path(sys.argv[1]))
    for line in found:
        print(line)
    if found:
        sys.exit(1)
    print("the packets say the same")


if __name__ == "__main__":
    main()
