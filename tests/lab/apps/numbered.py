"""Numbered datagrams and a stream, both ways, and a court that says who lost what."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from tests.lab.apps.numbered_program import DATAGRAM_SIZE, PORT
from tests.lab.apps.program import (
    Program,
    Socket,
    program,
    sockets_of,
    tcp_connection,
    wait_until_bound,
)
from tests.lab.labs import Lab, wait_until

from vipnet.lab.impairment import Drop

_PROGRAM: Final = str(Path(__file__).with_name("numbered_program.py"))
_ENOUGH: Final = (40, 10_000) * 2  # datagrams and bytes at a, at b: a fifth of a second's
_END_S: Final = 60.0
SOON_NS: Final = 4_000_000_000  # a datagram may wait for a path, and may be sent again for 2 s

# What carries a datagram: UDP and IPv4 inside, the seal, UDP and IP outside.
_SEALED: Final = DATAGRAM_SIZE + 8 + 20 + 29 + 8
LENGTHS: Final = frozenset({_SEALED + 20, _SEALED + 40})  # IPv4, IPv6


class Report(Struct, frozen=True):
    """What one side says at its end; streams are bytes and SHA-256."""

    sent_ns: list[int]
    received: list[int]
    stream_sent: tuple[int, str]
    stream_heard: tuple[int, str]


class Verdict(Struct, frozen=True):
    """Datagrams of one direction.

    logged       distinct ones of which the network says that it lost them at least once
    unexplained  send times, ns, of lost ones for which there is no loss of the network's own
    """

    sent: int
    lost: int
    duplicated: int
    logged: int
    unexplained: tuple[int, ...]

    def __str__(self) -> str:
        return (
            f"{self.sent} sent, {self.lost} lost of which the network logged {self.logged}, "
            f"{self.duplicated} duplicated, {len(self.unexplained)} unexplained"
        )


def judge(sent_ns: Sequence[int], received: Sequence[int], host: str, drops: Sequence[Drop]) -> Verdict:
    """What became of HOST's datagrams. For each that did not come the log must hold a loss of its own."""
    there = set(received)
    lost_ns = [at_ns for number, at_ns in enumerate(sent_ns) if number not in there]
    # One that was sent again may have been lost again: what counts is the last time.
    final = {
        (drop.index, drop.counter): drop.at_ns
        for drop in drops
        if drop.host == host and drop.counter is not None and drop.length in LENGTHS
    }
    unexplained, place, logged_ns = [], 0, sorted(final.values())
    for at_ns in lost_ns:
        while place < len(logged_ns) and logged_ns[place] < at_ns:
            place += 1
        if place < len(logged_ns) and logged_ns[place] <= at_ns + SOON_NS:
            place += 1
        else:
            unexplained.append(at_ns)
    duplicated = len(received) - len(there)
    return Verdict(len(sent_ns), len(lost_ns), duplicated, len(final), tuple(unexplained))


class Numbers:
    """A program on a and one on b."""

    name = "numbers"

    def __init__(self, a: Program, b: Program) -> None:
        self._sides = {"a": a, "b": b}

    def arrived(self) -> tuple[int, ...]:
        """Datagrams and bytes of the stream that have come to a, and to b. Fail when a program has ended."""
        counts: list[int] = []
        for side in self._sides.values():
            side.check()
            lines = side.out.read_bytes().split(b"\n")
            counts += map(int, lines[-2].split()) if len(lines) > 1 else (0, 0)
        return tuple(counts)

    def goal(self) -> tuple[int, ...]:
        return tuple(map(sum, zip(self.arrived(), _ENOUGH, strict=True)))

    def has_reached(self, goal: tuple[int, ...]) -> bool:
        return all(now >= then for now, then in zip(self.arrived(), goal, strict=True))

    def sockets(self) -> frozenset[Socket]:
        a, b = self._sides.values()
        return tcp_connection(a, b) | sockets_of(a.pid) | sockets_of(b.pid)

    def end(self) -> dict[str, Report]:
        """Stop both sides, and return what they say; fail when a stream is not what was sent."""
        for side in self._sides.values():
            side.check()
            stdin = side.process.stdin
            assert stdin is not None
            stdin.write(b"stop\n")
            stdin.close()
        reports = {}
        for label, side in self._sides.items():
            assert side.wait(_END_S) == 0, side.said()
            reports[label] = msgspec.json.decode(side.out.read_bytes().splitlines()[-1], type=Report)
        for here, there in (("a", "b"), ("b", "a")):
            assert reports[here].stream_sent == reports[there].stream_heard, f"stream of {here}"
        return reports


@contextmanager
def numbers(lab: Lab, directory: Path) -> Iterator[Numbers]:
    """A listens, b connects; both know the other by its name."""
    listen = [sys.executable, _PROGRAM, "listen", "b.vipip.net", "1"]
    connect = [sys.executable, _PROGRAM, "connect", "a.vipip.net", "2"]
    with program(lab, "a", listen, directory, name="numbers-a", stdin=subprocess.PIPE) as a:
        wait_until_bound(a, "tcp", PORT)
        with program(lab, "b", connect, directory, name="numbers-b", stdin=subprocess.PIPE) as b:
            found = Numbers(a, b)
            wait_until(lambda: all(found.arrived()), "datagrams and bytes both ways")
            yield found
