"""One overlay moved once: which overlays, which moves, and what the receivers saw."""

from __future__ import annotations

import random
import threading
from typing import Final

from bench.movingbed import MovingTestbed, moving_testbed
from bench.overlays import Overlay
from bench.overlays.nebula import Nebula
from bench.overlays.openvpn import OpenVpnServer
from bench.overlays.strongswan import StrongSwan
from bench.overlays.tinc import Tinc
from bench.overlays.vipnet import VipnetByName
from bench.overlays.wireguard import WireguardGo, WireguardReresolving
from msgspec import Struct

from vipnet.lab.figures import FlowFigures, flow_figures, worst
from vipnet.lab.flows import (
    FLOOR_PORT,
    TCP_FLOWS,
    TCP_PORT,
    UDP_PORT,
    Flow,
    Phase,
    SenderSettings,
    Settings,
)
from vipnet.lab.flows import Case as Who
from vipnet.lab.layout import LANS, ROUTER, Layout, router_address
from vipnet.lab.moves import LabMove
from vipnet.lab.programs import Traffic

TCP_BYTES: Final = 1_000  # a write
NEAR_S: Final = 0.1
STEADY_S: Final = 1.0
FLOORS: Final = {"a": Flow.FLOOR_A, "b": Flow.FLOOR_B}


class Variant(Struct, frozen=True):
    """An overlay with one set of timers.

    timer_s   its slowest regular timer that bears on a move, seconds
    timer     which one that is
    """

    overlay: type[Overlay]
    shortest: bool
    timer_s: float
    timer: str

    @property
    def publishes(self) -> bool:
        """Whether it tells DNS by itself; for the others a hook does it."""
        return self.overlay is VipnetByName


_REKEY: Final = "a session's age: the script acts 135 s after the last handshake, which is renewed after 120"
VARIANTS: Final = {
    "vipnet": Variant(VipnetByName, False, 60, "lease"),
    "wireguard-go": Variant(WireguardGo, False, 10, "passive keepalive"),
    "wireguard-go, keepalive 1 s": Variant(WireguardGo, True, 10, "passive keepalive"),
    "wireguard-go, reresolve-dns": Variant(WireguardReresolving, False, 120, _REKEY),
    "wireguard-go, reresolve-dns, shortest": Variant(WireguardReresolving, True, 120, _REKEY),
    "nebula": Variant(Nebula, False, 60, "report to the lighthouse"),
    "nebula, shortest": Variant(Nebula, True, 5, "report to the lighthouse, 1 s"),
    "tinc": Variant(Tinc, False, 60, "PingInterval"),
    "tinc, shortest": Variant(Tinc, True, 5, "PingInterval, 1 s"),
    "openvpn": Variant(OpenVpnServer, False, 10, "ping"),
    "openvpn, shortest": Variant(OpenVpnServer, True, 5, "ping, 1 s"),
    "strongswan": Variant(StrongSwan, False, 20, "NAT keepalive"),
    "strongswan, shortest": Variant(StrongSwan, True, 5, "dpd_delay, 1 s"),
}


class Case(Struct, frozen=True):
    title: str
    movers: tuple[str, ...]
    flows: tuple[Flow, ...]


_UDP: Final = (Flow.UDP_A_B, Flow.UDP_B_A)
CASES: Final = {
    "udp-mover-sends": Case("one-sided UDP, mover sends", ("a",), (Flow.UDP_A_B,)),
    "udp-mover-receives": Case("one-sided UDP, mover receives", ("a",), (Flow.UDP_B_A,)),
    "udp-other-end": Case("one-sided UDP both ways, b moves", ("b",), _UDP),
    "udp-two-sided": Case("two-sided UDP, both ways", ("a", "b"), _UDP),
    "tcp-mover-sends": Case("one-sided TCP, mover sends", ("a",), (Flow.TCP_A_B,)),
    "tcp-mover-receives": Case("one-sided TCP, mover receives", ("a",), (Flow.TCP_B_A,)),
    "tcp-two-sided": Case("two-sided TCP, both ways", ("a", "b"), (Flow.TCP_A_B, Flow.TCP_B_A)),
}


class Limits(Struct, frozen=True):
    """How long a turn may take.

    cap_s      who is not back by then is not back
    warm_up_s  the most that traffic flows before the move; None: as long as the slowest timer
    """

    cap_s: float = 120.0
    warm_up_s: float | None = None


class Turn(Struct, frozen=True, kw_only=True):
    """One move of one overlay; `peers.py` says what the fields mean."""

    variant: str
    case: str
    run: int
    lane: int
    version: str
    warm_up_s: float
    recovered: bool
    switch_ms: float | None
    floor_ms: float | None
    over_floor_ms: float | None
    sent: int
    lost: int
    duplicated: int
    refused: int
    moves: tuple[LabMove, ...]
    errors: tuple[str, ...]


class Key(Struct, frozen=True, order=True):
    """Which turn; its moment is the same whenever it is taken."""

    run: int
    case: str
    variant: str

    def warm_up_s(self, seed: int, limits: Limits) -> float:
        longest_s = VARIANTS[self.variant].timer_s
        if limits.warm_up_s is not None:
            longest_s = min(longest_s, limits.warm_up_s)
        source = random.Random(f"{seed} {self.run} {self.case} {self.variant}")
        return round(STEADY_S + source.uniform(0, longest_s), 3)


def take(layout: Layout, lane: int, key: Key, warm_up_s: float, cap_s: float, over: threading.Event) -> Turn:
    """Start the overlay, let traffic flow, move, and wait until it flows again or the cap is reached.

    Raise HostError, TestbedError or whatever else kept it from being measured. OVER: no more waiting.
    """
    variant, case = VARIANTS[key.variant], CASES[key.case]
    with moving_testbed(layout) as bed:
        overlay = variant.overlay(bed, shortest=variant.shortest)
        try:
            overlay.start()
            with Traffic(layout, _settings(key, case, overlay, bed)) as traffic:
                traffic.begin()
                over.wait(warm_up_s)
                traffic.enter(Phase.MOVE)
                over.wait(NEAR_S)
                moves = bed.move(case.movers, publish=not variant.publishes)
                errors = traffic.wait_flowing(max(move.done_ns for move in moves), cap_s)
                traffic.enter(Phase.AFTER)
                over.wait(STEADY_S)
                reports = traffic.end()
        finally:
            overlay.stop()
        errors += [error for report in reports for error in report.errors]
        flows = flow_figures(reports)
        return _turn(key, lane, overlay, warm_up_s, flows, tuple(moves), tuple(errors))


def _turn(
    key: Key,
    lane: int,
    overlay: Overlay,
    warm_up_s: float,
    flows: dict[Flow, FlowFigures],
    moves: tuple[LabMove, ...],
    errors: tuple[str, ...],
) -> Turn:
    case = CASES[key.case]
    found = [flows[flow] for flow in case.flows]
    broken = [flow for flow in case.flows if flow in TCP_FLOWS and not flows[flow].in_order]
    switch_ms = worst(one.switch_ms for one in found)
    floor_ms = worst(flows[FLOORS[mover]].switch_ms for mover in case.movers)
    recovered = switch_ms is not None and not errors and not broken
    over_ms = round(switch_ms - floor_ms, 3) if switch_ms is not None and floor_ms is not None else None
    return Turn(
        variant=key.variant,
        case=key.case,
        run=key.run,
        lane=lane,
        version=overlay.version(),
        warm_up_s=warm_up_s,
        recovered=recovered,
        switch_ms=switch_ms if recovered else None,
        floor_ms=floor_ms,
        over_floor_ms=over_ms if recovered else None,
        sent=sum(one.sent + one.refused for one in found),
        lost=sum(one.lost + one.refused for one in found),
        duplicated=sum(one.duplicated for one in found),
        refused=sum(one.refused for one in found),
        moves=moves,
        errors=errors + tuple(f"{flow.name} is not in order" for flow in broken),
    )


def _settings(key: Key, case: Case, overlay: Overlay, bed: MovingTestbed) -> dict[str, Settings]:
    who = Who.ONE_SIDED if len(case.movers) == 1 else Who.TWO_SIDED
    senders: dict[str, list[SenderSettings]] = {"a": [], "b": []}
    for flow in case.flows:
        sender = bed.a if flow in (Flow.UDP_A_B, Flow.TCP_A_B) else bed.b
        target = overlay.address(bed.other(sender))
        senders[sender.label].append(
            SenderSettings(flow, "tcp", target, TCP_PORT)
            if flow in TCP_FLOWS
            else SenderSettings(flow, "udp", target, UDP_PORT)
        )
    router = router_address(LANS[0], 4)
    for mover in case.movers:
        senders[mover].append(SenderSettings(FLOORS[mover], "udp", router, FLOOR_PORT))
    tcp_port = TCP_PORT if TCP_FLOWS.intersection(case.flows) else None
    settings = {
        label: Settings(key.run, who, tuple(sends), UDP_PORT, tcp_port, tcp_bytes=TCP_BYTES)
        for label, sends in senders.items()
    }
    return settings | {ROUTER: Settings(key.run, who, udp_port=FLOOR_PORT)}
