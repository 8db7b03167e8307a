"""The streams of one move, whatever carries them: what the programs on a, b and r do, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from vipnet.lab.figures import FlowFigures, worst
from vipnet.lab.flows import (
    FLOOR_PORT,
    TCP_FLOWS,
    TCP_PORT,
    UDP_PORT,
    Case,
    Flow,
    SenderSettings,
    Settings,
    TrafficReport,
)
from vipnet.lab.layout import LANS, ROUTER, router_address

TCP_BYTES: Final = 1_000  # a write, where nothing else is said
NEAR_S: Final = 0.1  # so long before a move the silence that belongs to it may begin
FLOORS: Final = {"a": Flow.FLOOR_A, "b": Flow.FLOOR_B}
_ENDS: Final = {
    Flow.UDP_A_B: ("a", "b"),
    Flow.UDP_B_A: ("b", "a"),
    Flow.TCP_A_B: ("a", "b"),
    Flow.TCP_B_A: ("b", "a"),
}


def settings_of(
    run: int,
    movers: Sequence[str],
    flows: Iterable[Flow],
    reach: Callable[[str], str],
    *,
    tcp_bytes: int = TCP_BYTES,
    floor: bool = True,
) -> dict[str, Settings]:
    """FLOWS to where REACH says that a host is, and from each mover bare datagrams to r, its FLOOR."""
    who = Case.ONE_SIDED if len(movers) == 1 else Case.TWO_SIDED
    senders: dict[str, list[SenderSettings]] = {"a": [], "b": []}
    tcp_ports = dict.fromkeys(senders)  # a port that nobody connects to would be waited for at the end
    for flow in flows:
        sender, receiver = _ENDS[flow]
        if flow in TCP_FLOWS:
            tcp_ports[receiver] = TCP_PORT
            senders[sender].append(SenderSettings(flow, "tcp", reach(receiver), TCP_PORT))
        else:
            senders[sender].append(SenderSettings(flow, "udp", reach(receiver), UDP_PORT))
    if floor:
        router = router_address(LANS[0], 4)
        for mover in movers:
            senders[mover].append(SenderSettings(FLOORS[mover], "udp", router, FLOOR_PORT))
    settings = {
        label: Settings(run, who, tuple(sends), UDP_PORT, tcp_ports[label], tcp_bytes=tcp_bytes)
        for label, sends in senders.items()
    }
    return settings | {ROUTER: Settings(run, who, udp_port=FLOOR_PORT)}


def floor_ms(figures: Mapping[Flow, FlowFigures], movers: Iterable[str]) -> float | None:
    """For so long the slowest of MOVERS had no network."""
    return worst(figures[FLOORS[mover]].switch_ms for mover in movers)


def troubles(
    figures: Mapping[Flow, FlowFigures], flows: Iterable[Flow], reports: Iterable[TrafficReport]
) -> list[str]:
    """What broke: what the programs say, and bytes of TCP that did not come once and in order."""
    said = [error for report in reports for error in report.errors]
    return said + [
        f"{flow.name} is not in order" for flow in flows if flow in TCP_FLOWS and not figures[flow].in_order
    ]
