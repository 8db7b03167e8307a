"""The streams of one measurement, and what every message of theirs says of itself.

A message is the same 64 bytes in a UDP datagram, in a TCP stream (one behind the
other from the first byte on; longer ones on demand) and in an ICMP echo. So the packets
alone tell what happened: bench/verify.py needs nothing else.

    magic 4 | run u16 | case u8 | flow u8 | phase u8 | 0 u8 x 3 | sequence number u32 | filling
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, Literal, Self

from msgspec import Struct

MESSAGE_SIZE: Final = 64  # bytes
MAGIC: Final = b"vipL"
_HEAD: Final = struct.Struct("!4sHBBB3xI")
_FILLING: Final = bytes(range(256))

UDP_PORT: Final = 5901
TCP_PORT: Final = 5902
FLOOR_PORT: Final = 5903
ICMP_ID: Final = 0x5649


class Case(IntEnum):
    """Who moves."""

    ONE_SIDED = 1  # a moves
    TWO_SIDED = 2  # a and b at once


class Flow(IntEnum):
    """A stream, named after who sends it to whom."""

    UDP_A_B = 1
    UDP_B_A = 2
    TCP_A_B = 3
    TCP_B_A = 4
    PING_A_B = 5  # both ways: it is the answers that count
    FLOOR_A = 6  # to r, outside the tunnel
    FLOOR_B = 7


TCP_FLOWS: Final = frozenset({Flow.TCP_A_B, Flow.TCP_B_A})
INTERVAL_MS: Final[dict[Flow, float]] = {
    Flow.UDP_A_B: 1.0,
    Flow.UDP_B_A: 1.0,
    Flow.TCP_A_B: 5.0,
    Flow.TCP_B_A: 5.0,
    Flow.PING_A_B: 10.0,
    Flow.FLOOR_A: 1.0,
    Flow.FLOOR_B: 1.0,
}


# What arrives later than this after the last message of its stream has left is lost: a
# neighbour's answer, seconds later, can still set datagrams free that nobody waits for.
LATE_S: Final = 0.5


class Phase(IntEnum):
    """Where in a case a message was sent; the silence of a move is looked for from MOVE on."""

    BEFORE = 0
    MOVE = 1  # from 100 ms before the move until all streams flow again
    AFTER = 2  # a stream of which nothing arrives here has broken


class Message(Struct, frozen=True, gc=False):
    """The head of a message, parsed."""

    run: int
    case: int
    flow: int
    phase: int
    number: int

    @classmethod
    def decode(cls, data: bytes) -> Self | None:
        """None when DATA is none of ours."""
        if len(data) < MESSAGE_SIZE:
            return None
        magic, run, case, flow, phase, number = _HEAD.unpack_from(data)
        return cls(run, case, flow, phase, number) if magic == MAGIC else None

    def encode(self, size_bytes: int = MESSAGE_SIZE) -> bytes:
        head = _HEAD.pack(MAGIC, self.run, self.case, self.flow, self.phase, self.number)
        filling = size_bytes - len(head)
        return head + (_FILLING * (filling // len(_FILLING) + 1))[:filling]


class Arrival(Struct, frozen=True, gc=False, array_like=True):
    """One message at its receiver; `at_ns` on CLOCK_MONOTONIC, from the kernel's stamp."""

    flow: int
    phase: int
    number: int
    at_ns: int


class SenderSettings(Struct, frozen=True):
    """One stream to be sent; `host` is a name or an address."""

    flow: Flow
    kind: Literal["udp", "tcp", "ping"]
    host: str
    port: int = 0


class Settings(Struct, frozen=True):
    """What one traffic program does; ports None: it does not receive such.

    tcp_bytes  length of a message in TCP, sent and received
    """

    run: int
    case: Case
    send: tuple[SenderSettings, ...] = ()
    udp_port: int | None = None
    tcp_port: int | None = None
    family: Literal[4, 6] = 4
    tcp_bytes: int = MESSAGE_SIZE


class Sent(Struct, frozen=True):
    """`refused`: not taken by the kernel, because there was no way out (or no room).

    last_ns  CLOCK_MONOTONIC, when the last message left
    """

    flow: int
    count: int
    refused: int
    last_ns: int


class Progress(Struct, frozen=True):
    """How things are: per flow the newest number that has arrived; streams that have ended."""

    newest: dict[int, int]
    tcp_ended: bool


class TrafficReport(Struct, frozen=True):
    """All that one program saw. `errors` are connections that broke."""

    sent: tuple[Sent, ...]
    arrivals: tuple[Arrival, ...]
    errors: tuple[str, ...] = ()
