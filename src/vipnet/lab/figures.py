"""Figures out of what the receivers saw; pure.

A switch is the longest silence from shortly before the move on: last arrival before
the gap to the first one after it, minus the interval at which messages are sent.
For TCP a message arrives when it and all before it are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median

from msgspec import Struct

from vipnet.lab.flows import INTERVAL_MS, LATE_S, TCP_FLOWS, Arrival, Case, Flow, Phase, Sent, TrafficReport
from vipnet.lab.moves import LabMove


class FlowFigures(Struct, frozen=True):
    """One stream of one case of one run. `refused`: not sent, because the kernel had no way out."""

    switch_ms: float | None
    sent: int
    lost: int
    duplicated: int
    refused: int
    in_order: bool


class ByDirection(Struct, frozen=True):
    """Milliseconds of switch; in the two-sided case a is meant by `mover`."""

    mover_sends: float | None
    mover_receives: float | None


class UdpFigures(Struct, frozen=True):
    """`switch_ms` is the slower direction's; the rest are sums of both."""

    switch_ms: float | None
    lost: int
    duplicated: int
    sent: int
    by_direction: ByDirection


class TcpFigures(Struct, frozen=True):
    """`alive`: the same connections, and every byte arrived once and in order."""

    switch_ms: float | None
    alive: bool
    by_direction: ByDirection


class PingFigures(Struct, frozen=True):
    switch_ms: float | None
    lost: int
    duplicated: int
    sent: int


class CaseFigures(Struct, frozen=True):
    """One case, of one run or of all: then medians of times, sums of counts."""

    floor_ms: float | None
    udp: UdpFigures
    tcp: TcpFigures
    ping: PingFigures


class RunDetail(Struct, frozen=True):
    """One case of one run."""

    run: int
    case: str
    figures: CaseFigures
    moves: tuple[LabMove, ...]
    errors: tuple[str, ...] = ()


# --- one case of one run


def case_figures(case: Case, reports: Iterable[TrafficReport]) -> CaseFigures:
    flows = flow_figures(reports)
    there, back = flows[Flow.UDP_A_B], flows[Flow.UDP_B_A]
    tcp_there, tcp_back = flows[Flow.TCP_A_B], flows[Flow.TCP_B_A]
    ping = flows[Flow.PING_A_B]
    floors = [Flow.FLOOR_A] if case == Case.ONE_SIDED else [Flow.FLOOR_A, Flow.FLOOR_B]
    return CaseFigures(
        worst(flows[floor].switch_ms for floor in floors),
        UdpFigures(
            worst((there.switch_ms, back.switch_ms)),
            there.lost + back.lost,
            there.duplicated + back.duplicated,
            there.sent + back.sent,
            ByDirection(there.switch_ms, back.switch_ms),
        ),
        TcpFigures(
            worst((tcp_there.switch_ms, tcp_back.switch_ms)),
            all(flow.in_order and flow.lost == 0 and flow.sent > 0 for flow in (tcp_there, tcp_back)),
            ByDirection(tcp_there.switch_ms, tcp_back.switch_ms),
        ),
        PingFigures(ping.switch_ms, ping.lost, ping.duplicated, ping.sent),
    )


def flow_figures(reports: Iterable[TrafficReport]) -> dict[Flow, FlowFigures]:
    """Put together what senders and receivers on different hosts tell of each stream."""
    arrivals: dict[int, list[Arrival]] = {flow: [] for flow in Flow}
    sent: dict[int, Sent] = {flow: Sent(flow, 0, 0, 0) for flow in Flow}
    for report in reports:
        for arrival in report.arrivals:
            arrivals[arrival.flow].append(arrival)
        sent.update({one.flow: one for one in report.sent})
    return {flow: _flow_figures(flow, sent[flow], arrivals[flow]) for flow in Flow}


def _flow_figures(flow: Flow, sent: Sent, arrived: Sequence[Arrival]) -> FlowFigures:
    deadline_ns = sent.last_ns + LATE_S * 1e9
    arrivals = [one for one in arrived if one.at_ns <= deadline_ns or flow in TCP_FLOWS]
    numbers = [one.number for one in arrivals]
    distinct = len(set(numbers))
    return FlowFigures(
        switch_ms(arrivals, INTERVAL_MS[flow]),
        sent.count,
        sent.count - distinct,
        len(numbers) - distinct,
        sent.refused,
        numbers == list(range(len(numbers))),
    )


def switch_ms(arrivals: Sequence[Arrival], interval_ms: float) -> float | None:
    """The longest silence around the move, less the interval; None when nothing came after it."""
    if all(one.phase < Phase.AFTER for one in arrivals):
        return None
    ordered = sorted(arrivals, key=lambda one: one.at_ns)
    first = next(place for place, one in enumerate(ordered) if one.phase >= Phase.MOVE)
    # Together with the arrival before: a stream that had just stopped is not to look well.
    times_ns = [one.at_ns for one in ordered[max(0, first - 1) :]]
    longest_ns = max((later - earlier for earlier, later in pairwise(times_ns)), default=0)
    return max(0.0, round(longest_ns / 1e6 - interval_ms, 3))


def first_arrival_ms(
    reports: Iterable[TrafficReport], flow: Flow, since_ns: int, zero_ns: int
) -> float | None:
    """When the first message of FLOW arrived that did so after SINCE_NS, in ms from ZERO_NS on.

    Both on CLOCK_MONOTONIC. None when nothing came.
    """
    times_ns = [
        one.at_ns
        for report in reports
        for one in report.arrivals
        if one.flow == flow and one.at_ns >= since_ns
    ]
    return round((min(times_ns) - zero_ns) / 1e6, 3) if times_ns else None


def worst(values: Iterable[float | None]) -> float | None:
    """None, a connection that never came back, is worse than any number."""
    found = list(values)
    numbers = [value for value in found if value is not None]
    return max(numbers) if numbers and len(numbers) == len(found) else None


# --- all runs


def summary(cases: Sequence[CaseFigures]) -> CaseFigures:
    """Medians of times, sums of counts; a connection is alive when it was in each run."""
    udp, tcp, ping = [c.udp for c in cases], [c.tcp for c in cases], [c.ping for c in cases]
    return CaseFigures(
        middle(case.floor_ms for case in cases),
        UdpFigures(
            middle(one.switch_ms for one in udp),
            sum(one.lost for one in udp),
            sum(one.duplicated for one in udp),
            sum(one.sent for one in udp),
            _middle_directions([one.by_direction for one in udp]),
        ),
        TcpFigures(
            middle(one.switch_ms for one in tcp),
            all(one.alive for one in tcp),
            _middle_directions([one.by_direction for one in tcp]),
        ),
        PingFigures(
            middle(one.switch_ms for one in ping),
            sum(one.lost for one in ping),
            sum(one.duplicated for one in ping),
            sum(one.sent for one in ping),
        ),
    )


def middle(values: Iterable[float | None]) -> float | None:
    """The median; None when a run has none, so that a connection that died cannot hide in it."""
    found = list(values)
    numbers = [value for value in found if value is not None]
    return round(median(numbers), 3) if numbers and len(numbers) == len(found) else None


def _middle_directions(values: Sequence[ByDirection]) -> ByDirection:
    return ByDirection(
        middle(value.mover_sends for value in values), middle(value.mover_receives for value in values)
    )


def alive(cases: Iterable[CaseFigures]) -> bool:
    """True when nothing broke: TCP as it says, UDP and ping went on after the move."""
    return all(
        case.tcp.alive and case.udp.switch_ms is not None and case.ping.switch_ms is not None
        for case in cases
    )
