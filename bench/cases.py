"""Which moves are measured, in which traffic, and the limit of each row."""

from __future__ import annotations

from typing import Final

from bench.streams import TCP_BYTES
from msgspec import Struct

from vipnet.lab.flows import Flow
from vipnet.lab.layout import Lan
from vipnet.lab.moves import Kind

UDP_BOTH: Final = (Flow.UDP_A_B, Flow.UDP_B_A)
TCP_BOTH: Final = (Flow.TCP_A_B, Flow.TCP_B_A)


class Row(Struct, frozen=True):
    """A line of the table: what is measured, and the most that it may be.

    The limit is `floors` x floor + `rtts` x round trip + `plus_ms`.
    """

    title: str
    flows: tuple[Flow, ...]  # the slowest counts
    plus_ms: float
    floors: int = 0
    rtts: int = 0

    def limit(self) -> str:
        parts = ["floor"] * self.floors + [f"{self.rtts} x RTT" if self.rtts > 1 else "RTT"] * bool(self.rtts)
        return " + ".join([*parts, f"{self.plus_ms:g} ms"])

    def limit_ms(self, floor_ms: float | None, rtt_ms: float | None) -> float | None:
        if (self.floors and floor_ms is None) or (self.rtts and rtt_ms is None):
            return None
        return round(self.floors * (floor_ms or 0) + self.rtts * (rtt_ms or 0) + self.plus_ms, 3)


class Step(Struct, frozen=True):
    kind: Kind
    lan: Lan | None = None


class Case(Struct, frozen=True, kw_only=True):
    """One kind of move, and the traffic in which it happens.

    before, after  what puts a where the move begins, and back again
    floor          bare datagrams go from each mover to r meanwhile
    lanes          so many labs side by side, where one would mostly wait
    tcp_bytes      a write
    bulk           one more connection from a to b takes all that it can get
    """

    rows: tuple[Row, ...]
    move: Step
    movers: tuple[str, ...] = ("a",)
    outage_s: float = 0.0
    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    floor: bool = True
    lanes: int = 1
    tcp_bytes: int = TCP_BYTES
    bulk: bool = False

    @property
    def flows(self) -> tuple[Flow, ...]:
        return tuple(dict.fromkeys(flow for row in self.rows for flow in row.flows))


def _outage(seconds: float, title: str, flows: tuple[Flow, ...], lanes: int = 1) -> Case:
    rows = (Row(f"outage of {seconds:g} s, {title}", flows, 15, rtts=1),)
    return Case(rows=rows, move=Step("switch"), outage_s=seconds, lanes=lanes)


CASES: Final = {
    "udp-one-sided": Case(
        rows=(
            Row("one-sided UDP, mover sends", (Flow.UDP_A_B,), 5, floors=1),
            Row("one-sided UDP, mover receives", (Flow.UDP_B_A,), 5, floors=1),
        ),
        move=Step("switch"),
    ),
    "tcp-one-sided": Case(rows=(Row("one-sided TCP", TCP_BOTH, 10, floors=1),), move=Step("switch")),
    "udp-two-sided": Case(
        rows=(Row("two-sided UDP", UDP_BOTH, 30, floors=1),), move=Step("switch"), movers=("a", "b")
    ),
    "tcp-two-sided": Case(
        rows=(Row("two-sided TCP", TCP_BOTH, 30, floors=1),), move=Step("switch"), movers=("a", "b")
    ),
    "bulk-udp": Case(
        rows=(Row("one-sided UDP beside bulk TCP", UDP_BOTH, 30, floors=1),), move=Step("switch"), bulk=True
    ),
    "bulk-tcp": Case(
        rows=(Row("one-sided TCP beside bulk TCP", TCP_BOTH, 30, floors=1),), move=Step("switch"), bulk=True
    ),
    "outage-0.3": _outage(0.3, "TCP", TCP_BOTH),
    "outage-1": _outage(1, "TCP", TCP_BOTH),
    "outage-3": _outage(3, "TCP", TCP_BOTH),
    "outage-7": _outage(7, "TCP", TCP_BOTH, lanes=4),
    "outage-30": _outage(30, "TCP", TCP_BOTH, lanes=5),
    "outage-1-udp": _outage(1, "UDP", UDP_BOTH),
    "second-interface": Case(
        rows=(Row("first of two interfaces dies", UDP_BOTH, 10, rtts=3),),
        before=(Step("add"),),
        move=Step("remove", 1),
    ),
    "nat": Case(
        rows=(Row("NAT rebinding, other side sends", (Flow.UDP_B_A,), 1_500),),
        move=Step("nat"),
        floor=False,
    ),
    "dead-path": Case(
        rows=(Row("path dies without event", UDP_BOTH, 1_500),),
        before=(Step("add"),),
        move=Step("blackhole", 1),
        after=(Step("blackhole", 1), Step("remove", 2)),
        floor=False,
    ),
}
