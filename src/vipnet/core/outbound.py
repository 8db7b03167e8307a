"""The way of a packet out: from an application to sealed datagrams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vipnet.core.host import Host
from vipnet.core.mapping import lease_expired
from vipnet.core.outputs import LookupWanted, Output
from vipnet.core.peer import Peer
from vipnet.core.sealing import sealed_size
from vipnet.core.session import Session
from vipnet.types import Instant
from vipnet.wire.inner import Unreachable, addresses_of
from vipnet.wire.offload import Packet


def by_peer(host: Host, packets: Sequence[Packet]) -> Iterator[tuple[Peer | None, list[Packet]]]:
    """PACKETS in their order; those in a row with equal addresses together, and whom they are for.

    None with one packet that nobody is to have. Each is looked up when it is its turn: what
    is done with those before it may change tokens.
    """
    group: list[Packet] = []
    peer: Peer | None = None
    addresses = b""  # of the group
    for packet in packets:
        found = addresses_of(packet.data)
        if found is None:
            host.count("not_ipv4")
            continue
        if found == addresses:
            group.append(packet)
            continue
        if peer is not None:
            yield peer, group
        addresses = found
        peer, group = host.remote_tokens.get(addresses[4:]), [packet]
        if peer is None or addresses != peer.outbound_addresses:
            yield None, group
            peer, addresses = None, b""
    if peer is not None:
        yield peer, group


def refuse(host: Host, packet: Packet, now: Instant) -> list[Output]:
    """Answer a packet that is for nobody: its token is free, or not for this source."""
    data = bytes(packet.data)
    if data[16:20] not in host.remote_tokens:
        return host.icmp.unreachable(data, Unreachable.HOST, now)
    host.count("foreign_source_address")
    return host.icmp.unreachable(data, Unreachable.PROHIBITED, now)


def handle_packets(peer: Peer, packets: Sequence[Packet], now: Instant) -> list[Output]:
    """PACKETS, whose addresses are the pair's tokens, are for PEER."""
    outputs: list[Output] = touch(peer, now)
    session = peer.sessions.sending(now)
    last_heard = peer.mapping.last_heard
    if last_heard is not None and lease_expired(last_heard, now, peer.host.policy):
        outputs += _renew_lease(peer)
        if peer.host.policy.lookup_before_send and peer.lookup_under_way:
            peer.wait(packets)
            return outputs
    waiting = peer.replaying or peer.replay_at is not None  # what came earlier goes first
    if session is None or not peer.host.locators or peer.dead or waiting:
        if peer.host.policy.stores or session is None or waiting:
            peer.wait(packets)
        if session is None or peer.dead:
            peer.want_handshake(now)
        if peer.replaying:
            outputs += flush(peer, now)
        return outputs
    sent, rest = _send(peer, session, packets, now)
    outputs += sent
    peer.wait(rest)
    if session.wants_rekey(now):
        peer.want_handshake(now)
    return outputs


def flush(peer: Peer, now: Instant) -> list[Output]:
    """Send what waited for a key or a path, if there is both; in steps.

    Sealing a second's packets at once would hold up the hint that goes before them, and its ack.
    What came earlier goes first; but of a bulk transfer's replay only the transfer itself has to wait.
    """
    session = peer.sessions.sending(now)
    if session is None or not peer.host.locators or peer.dead or not len(peer.backlog):
        return []
    past_bulk = bool(peer.replaying)
    if past_bulk and not peer.replaying[0].repeated:
        return []
    policy = peer.host.policy
    outputs, rest = _send(
        peer, session, peer.backlog.take(policy.flush_burst_packets, past_bulk=past_bulk), now
    )
    if rest:
        peer.backlog.put_back(rest)
    elif not past_bulk:
        peer.replay_at = Instant(now + policy.replay_step_s) if len(peer.backlog) else None
    return outputs


def _send(
    peer: Peer, session: Session, packets: Sequence[Packet], now: Instant
) -> tuple[list[Output], Sequence[Packet]]:
    """Send PACKETS as far as there is a path; return the others too."""
    outputs: list[Output] = []
    rest: Sequence[Packet] = ()
    if peer.trial.under_way:
        for number, packet in enumerate(packets):
            # Each for itself: one may go where the next must not.
            path = peer.path(sealed_size(packet, session))
            if path is None:
                rest = packets[number:]
                break
            outputs += peer.transmit_packets(session, [packet], path, now)
    elif peer.mapping.current is None:
        rest = packets
    else:
        outputs = peer.transmit_packets(session, packets, peer.mapping.current, now)
    if outputs:
        peer.liveness.sent_data(now)
    return outputs, rest


def touch(peer: Peer, now: Instant) -> list[Output]:
    """Traffic with PEER: it is on the Active Partner List, after a restart too."""
    peer.last_traffic = now
    return [] if peer.known.active else [peer.remember(active=True)]


def is_prepared(peer: Peer, now: Instant) -> bool:
    """Whether a packet to PEER would leave at once, to a place that is believed."""
    last_heard = peer.mapping.last_heard
    return peer.sessions.sending(now) is not None and not lease_expired(last_heard, now, peer.host.policy)


def expect(peer: Peer, now: Instant) -> list[Output]:
    """An application asks for PEER's name, so packets are about to follow: have mapping and key ready."""
    outputs: list[Output] = []
    last_heard = peer.mapping.last_heard
    if last_heard is not None and lease_expired(last_heard, now, peer.host.policy):
        outputs = _renew_lease(peer)
    if peer.sessions.sending(now) is None and peer.host.locators:
        peer.want_handshake(now)
    return outputs


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


def end_lookup(peer: Peer) -> None:
    """It is answered, or nobody waits for it any more."""
    peer.host.lookups_under_way -= peer.lookup_under_way
    peer.lookup_under_way = False
