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
from bench.streams import NEAR_S, floor_ms, settings_of, troubles
from msgspec import Struct

from vipnet.lab.figures import FlowFigures, flow_figures, worst
from vipnet.lab.flows import Flow, Phase, Settings
from vipnet.lab.layout import Layout
from vipnet.lab.moves import LabMove
from vipnet.lab.programs import Traffic

STEADY_S: Final = 1.0  # at full pace before a move and after it
_THINNED: Final = 20  # before that, of datagrams one in so many: all that an overlay's timers need


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
            with Traffic(layout, _settings(key, overlay, bed)) as traffic:
                traffic.begin()
                traffic.thin_out(_THINNED)
                over.wait(warm_up_s - STEADY_S)
                traffic.thin_out(1)
                over.wait(STEADY_S)
                traffic.enter(Phase.MOVE)
                over.wait(NEAR_S)
                moves = bed.move(case.movers, publish=not variant.publishes)
                errors = traffic.wait_flowing(max(move.done_ns for move in moves), cap_s)
                traffic.enter(Phase.AFTER)
                over.wait(STEADY_S)
                reports = traffic.end()
        finally:
            overlay.stop()
        flows = flow_figures(reports)
        errors += troubles(flows, case.flows, reports)
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
    switch_ms = worst(one.switch_ms for one in found)
    floor = floor_ms(flows, case.movers)
    recovered = switch_ms is not None and not errors
    over_ms = round(switch_ms - floor, 3) if switch_ms is not None and floor is not None else None
    return Turn(
        variant=key.variant,
        case=key.case,
        run=key.run,
        lane=lane,
        version=overlay.version(),
        warm_up_s=warm_up_s,
        recovered=recovered,
        switch_ms=switch_ms if recovered else None,
        floor_ms=floor,
        over_floor_ms=over_ms if recovered else None,
        sent=sum(one.sent + one.refused for one in found),
        lost=sum(one.lost + one.refused for one in found),
        duplicated=sum(one.duplicated for one in found),
        refused=sum(one.refused for one in found),
        moves=moves,
        errors=errors,
    )


def _settings(key: Key, overlay: Overlay, bed: MovingTestbed) -> dict[str, Settings]:
    inside = {host.label: overlay.address(host) for host in bed.hosts}
    case = CASES[key.case]
    return settings_of(key.run, case.movers, case.flows, inside.__getitem__)
