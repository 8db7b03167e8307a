"""What the control socket tells of a running daemon: `status`, `peers`, `moves` (JSON of the CLI)."""

from __future__ import annotations

from collections import Counter
from typing import Any

from msgspec import to_builtins

from vipnet.core.node import Node
from vipnet.core.outputs import MoveReport, PartnerMove
from vipnet.core.peer import Peer
from vipnet.types import Instant, fingerprint


def peer_status(peer: Peer, last: MoveReport | None, now: Instant) -> dict[str, Any]:
    """One element of `peers`; what is not known is None."""
    binding, heard = peer.binding, peer.mapping.last_heard
    lease_s = None if heard is None else max(0.0, heard + peer.host.policy.lease_s - now)
    offered = peer.offered_key
    line = None if last is None else next((one for one in last.partners if one.name == peer.name), None)
    return {
        "name": peer.name,
        "token": None if binding is None else str(binding.remote_token),
        "local_token": None if binding is None else str(binding.local_token),
        "state": state_of(peer, now),
        "trust": peer.known.trust,
        "offered_key": None if offered is None else fingerprint(offered),
        "cloned_key": peer.runs.are_two(now),
        "locator": None if peer.mapping.current is None else str(peer.mapping.current),
        "path_mtu": peer.path_mtu,
        "srtt_ms": None if peer.rtt.srtt_s is None else peer.rtt.srtt_s * 1000,
        "lease_s": lease_s,
        "heard_s": None if heard is None else now - heard,
        "rx_bytes": peer.rx_bytes,
        "tx_bytes": peer.tx_bytes,
        "last_move": None if line is None else to_builtins(line),
    }


def state_of(peer: Peer, now: Instant) -> str:
    """What is going on with a peer: one word, or two."""
    if peer.hints is not None:
        return "moving"
    if peer.initiator.active and peer.sessions.sending(now) is None:
        return "shaking hands"
    if peer.sessions.sending(now) is None:
        return "idle"
    return "active" if peer.active(now) else "quiet"


def peers_status(node: Node, last: MoveReport | None, now: Instant) -> list[dict[str, Any]]:
    return [peer_status(peer, last, now) for peer in sorted(node.peers.values(), key=lambda peer: peer.name)]


def move_status(report: MoveReport, dns_ms: float | None, unix_offset_s: float) -> dict[str, Any]:
    """One element of `moves`.

    dns_ms         until the provider had confirmed the new address
    unix_offset_s  seconds from CLOCK_BOOTTIME to 1970
    """
    return {
        "id": report.id,
        "cause": report.cause,
        "at": report.at + unix_offset_s,
        "old": [str(locator) for locator in report.old],
        "new": [str(locator) for locator in report.new],
        "dns_ms": dns_ms,
        "partners": [_partner(line) for line in report.partners],
    }


def _partner(line: PartnerMove) -> dict[str, Any]:
    return dict(to_builtins(line))


def counters(node: Node, *others: Counter[str]) -> dict[str, int]:
    """What was counted since the start, from everywhere."""
    total: Counter[str] = Counter(
        token_refused=node.host.space.refused,
        backlog_refused=sum(peer.backlog.refused for peer in node.peers.values()),
        flows_refused=sum(peer.flows.dropped for peer in node.peers.values()),
        stash_pushed_out=sum(peer.stash.dropped for peer in node.peers.values()),
    )
    total.update(node.host.counters)
    for other in others:
        total.update(other)
    return dict(sorted(total.items()))
