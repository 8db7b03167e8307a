"""After a move: send again exactly what the other side has not received.

Replays go before fresh packets and in steps, so that a full stash does not run over
the socket buffer of a peer that has just come back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from vipnet.core.outbound import flush
from vipnet.core.outputs import Output, Transmit
from vipnet.core.peer import Peer
from vipnet.types import Instant
from vipnet.wire.control import Report


def begin(peer: Peer, reports: Sequence[Report], now: Instant) -> list[Output]:
    """The peer is reachable again and REPORTS what it has: the rest goes out, then what waited."""
    path, policy = peer.mapping.current, peer.host.policy
    if path is None or not policy.stores:
        return flush(peer, now)
    lost_since = min((at for at in (peer.outage_from, peer.current_heard) if at is not None), default=now)
    since = Instant(lost_since - max(2 * peer.rtt.rtt_s, policy.replay_margin_s))
    for sent_at, oldest in reversed(peer.resent):
        if sent_at >= since:
            since = min(since, oldest)  # a replay may have been lost like what it brings again
    if peer.replaying:
        since = min(since, peer.replaying[0].sealed_at)  # found missing before, but not sent yet
    missing = peer.stash.missing(reports, path, since, now, peer.sessions.newest)
    peer.outage_from = None
    peer.dead = False
    peer.replaying = deque(missing)
    return go_on(peer, now)


def go_on(peer: Peer, now: Instant) -> list[Output]:
    """The next step of a replay; what waited follows the last."""
    outputs: list[Output] = []
    policy = peer.host.policy
    room_bytes, waits = policy.replay_burst_bytes, False
    while peer.replaying and room_bytes > 0:
        datagram, sealed_at = peer.replaying[0].datagram, peer.replaying[0].sealed_at
        path = peer.path(len(datagram))
        if path is None or path == peer.fallback:
            waits = True  # goes on when the new path has proved itself
            break
        peer.replaying.popleft()
        if not outputs:
            peer.resent.append((now, sealed_at))
        room_bytes -= len(datagram)
        outputs.append(Transmit(datagram, path, peer.source_for(path)))
    peer.replay_at = Instant(now + policy.replay_step_s) if peer.replaying and not waits else None
    if outputs:
        peer.liveness.sent_data(now)
        peer.host.count("replayed", len(outputs))
        peer.moves.note_replayed(peer.name, len(outputs), policy.replay_burst_bytes - room_bytes)
    return outputs + flush(peer, now)
