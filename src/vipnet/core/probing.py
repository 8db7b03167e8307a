"""Probes of the paths' MTU to one peer: sealed and sent, answered, and what follows from that."""

from __future__ import annotations

from msgspec import structs

from vipnet.core.outputs import Fragmentation, Output, TooBig
from vipnet.core.pathmtu import PathMtu, Step
from vipnet.core.peer import Peer
from vipnet.types import Instant
from vipnet.wire.datagram import HEADER_SIZE, KIND_PROBE, SEAL_OVERHEAD

_INDEX = slice(0, 4)  # of a sealed datagram


def handle_timeout(peer: Peer, now: Instant) -> list[Output]:
    outputs: list[Output] = []
    for path in peer.mtus.due(now):
        heard_at = peer.current_heard if path.path[0] == peer.mapping.current else None
        outputs += _carry_out(peer, path, path.handle_timeout(now, peer.rtt.rto_s, heard_at), now)
    return outputs


def handle_too_big(peer: Peer, report: TooBig, now: Instant) -> list[Output]:
    """A datagram of ours may not have passed: try what does."""
    outputs: list[Output] = []
    for path in peer.mtus.to_host(report.destination.host):
        if report.local:
            path.handle_link(report.mtu, now)
        elif path.path[0] == report.destination and (
            len(report.quoted) < HEADER_SIZE or _is_ours(peer, report.quoted)
        ):
            outputs += _carry_out(peer, path, path.handle_too_big(report.mtu, now), now)
    return outputs


def _is_ours(peer: Peer, quoted: bytes) -> bool:
    """Whether a router quotes what we sealed (RFC 8899 section 4.6.1): an index cannot be guessed."""
    indexes = {session.remote_index.to_bytes(4, "big") for session in peer.sessions.receiving()}
    return quoted[_INDEX] in indexes


def _carry_out(peer: Peer, path: PathMtu, step: Step, now: Instant) -> list[Output]:
    session = peer.sessions.sending(now)
    if session is None:
        return []
    destination, source = path.path
    outputs: list[Output] = []
    for probe in step.probes:
        body = probe.data.ljust(path.datagram_size(probe.size) - SEAL_OVERHEAD, b"\0")
        transmit = peer.transmit(session, body, KIND_PROBE, destination)
        outputs.append(structs.replace(transmit, source=source, fragmentation=Fragmentation.FORBIDDEN))
    if step.lost_since is not None:
        # What left since then is asked for, and sent again in whatever way it passes.
        peer.doubt_path(step.lost_since)
        if destination == peer.mapping.current:
            outputs += peer.challenge([destination], now)
    return outputs
