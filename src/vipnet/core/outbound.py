"""The way of a packet out: from an application to sealed datagrams."""

from __future__ import annotations

from vipnet.core.mapping import lease_expired
from vipnet.core.outputs import LookupWanted, Output
from vipnet.core.peer import Peer
from vipnet.types import Instant
from vipnet.wire.datagram import SEAL_OVERHEAD


def handle_packet(peer: Peer, packet: bytes, now: Instant) -> list[Output]:
    """PACKET, whose addresses are the pair's tokens, is for PEER."""
    outputs: list[Output] = touch(peer, now)
    session = peer.sessions.sending(now)
    last_heard = peer.mapping.last_heard
    if last_heard is not None and lease_expired(last_heard, now, peer.host.policy):
        outputs += _renew_lease(peer)
        if peer.host.policy.lookup_before_send and peer.lookup_under_way:
            peer.backlog.append(packet)
            return outputs
    waiting = peer.replaying or peer.replay_at is not None  # what came earlier goes first
    ready = session is not None and peer.host.locators and not peer.dead and not waiting
    path = peer.path(len(packet) + SEAL_OVERHEAD) if ready else None
    if session is None or path is None:
        peer.backlog.append(packet)
        if session is None or peer.dead:
            peer.want_handshake(now)
        return outputs
    peer.liveness.sent_data(now)
    outputs.append(peer.transmit_packet(session, packet, path, now))
    if session.wants_rekey(now):
        peer.want_handshake(now)
    return outputs


def flush(peer: Peer, now: Instant) -> list[Output]:
    """Send what waited for a key or a path, if there is both; in steps.

    Sealing a second's packets at once would hold up the hint that goes before them, and its ack.
    """
    session = peer.sessions.sending(now)
    if session is None or not peer.host.locators or peer.dead or peer.replaying or not len(peer.backlog):
        return []
    outputs: list[Output] = []
    policy = peer.host.policy
    packets = peer.backlog.take(policy.flush_burst_packets)
    for number, packet in enumerate(packets):
        path = peer.path(len(packet) + SEAL_OVERHEAD)
        if path is None:
            peer.backlog.put_back(packets[number:])
            break
        outputs.append(peer.transmit_packet(session, packet, path, now))
    else:
        peer.replay_at = Instant(now + policy.replay_step_s) if len(peer.backlog) else None
    if outputs:
        peer.liveness.sent_data(now)
    return outputs


def touch(peer: Peer, now: Instant) -> list[Output]:
    """Traffic with PEER: it is on the Active Partner List, after a restart too."""
    peer.last_traffic = now
    return [] if peer.known.active else [peer.remember(active=True)]


def _renew_lease(peer: Peer) -> list[Output]:
    """No packet from the peer for T seconds: ask DNS, once (paper section 3.2)."""
    if peer.renewing:
        return []
    peer.renewing = True
    return want_lookup(peer, "lease expired")


def want_lookup(peer: Peer, reason: str) -> list[Output]:
    """Ask the peer's own name servers, unless that is under way."""
    if peer.lookup_under_way:
        return []
    peer.lookup_under_way = True
    peer.host.lookups_under_way += 1
    return [LookupWanted(peer.name, reason, authoritative=True)]
