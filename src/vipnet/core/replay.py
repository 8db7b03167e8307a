"""After a move: send again exactly what the other side has not received.

Replays go before fresh packets and in steps, so that a full stash does not run over
the socket buffer of a peer that has just come back. Of a bulk transfer there may be a thousand segments: they
go last, and only the transfer waits for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from operator import attrgetter

from vipnet.core.outbound import flush
from vipnet.core.outputs import Output, Transmit
from vipnet.core.peer import Peer
from vipnet.core.sealing import sealed_size
from vipnet.types import Instant
from vipnet.wire.control import Report


def begin(
    peer: Peer, reports: Sequence[Report], now: Instant, arriving_since: Instant | None = None
) -> list[Output]:
    """The peer is reachable again and REPORTS what it has: the rest goes out, then what waited.

    arriving_since  a datagram of ours that left then has arrived where ours go now
    """
    path, policy = peer.mapping.current, peer.host.policy
    if path is None or not policy.stores:
        return flush(peer, now)
    since = peer.lost_since(now)
    peer.stash.expire(now)
    peer.moves.note_dropped(peer.name, peer.newly_dropped())
    missing = peer.stash.missing(reports, path, since, arriving_since, peer.sessions.newest)
    for sent in missing:
        sent.waiting = True
    # A place on trial gets little, the rest goes where nobody may be: its proof brings another report.
    peer.outage_from = peer.last_sign_of_life(now) if peer.trial.under_way else None
    found = peer.find_path()
    # A bulk transfer's last: nobody else is to wait for hundreds of them.
    peer.replaying = deque(sorted(missing, key=attrgetter("repeated")))
    newest = peer.sessions.newest
    peer.reported = frozenset(report.index for report in reports)
    if newest is not None:
        peer.reported |= {newest.remote_index}
    return found + go_on(peer, now)


def go_on(peer: Peer, now: Instant) -> list[Output]:
    """The next step of a replay; what waited follows the last."""
    outputs: list[Output] = []
    policy = peer.host.policy
    room_bytes, waits = policy.replay_burst_bytes, False
    while peer.replaying and room_bytes > 0 and len(outputs) < policy.replay_burst_datagrams:
        sent = peer.replaying[0]
        path = peer.path(len(sent.payload))
        if path is None or path == peer.trial.fallback:
            waits = True  # goes on when the new path has proved itself
            break
        peer.replaying.popleft()
        sent.destination, sent.sent_at, sent.waiting = path, now, False
        room_bytes -= len(sent.payload)
        outputs.append(Transmit(sent.payload, path, peer.source_for(path)))
    peer.replay_at = Instant(now + policy.replay_step_s) if peer.replaying and not waits else None
    if outputs:
        peer.liveness.sent_data(now)
        peer.host.count("replayed", len(outputs))
        peer.moves.note_replayed(peer.name, len(outputs), policy.replay_burst_bytes - room_bytes)
    outputs += flush(peer, now)
    if peer.reported is not None and not peer.replaying and not len(peer.backlog):
        outputs += restart_flows(peer, now, peer.reported)
        peer.reported = None
    return outputs


def restart_flows(peer: Peer, now: Instant, opens: frozenset[int] | None = None) -> list[Output]:
    """Send again, under the present key, what TCP connections wait for and no replay brings.

    opens  indexes of sessions that the peer still opens; None: not known yet
    """
    session = peer.sessions.sending(now)
    if session is None or peer.dead or not peer.host.locators or not len(peer.flows):
        return []
    outputs: list[Output] = []
    peer.flows.expire(now)
    for packet in peer.flows.stalled(peer.stash.oldest or now, opens):
        path = peer.path(sealed_size(packet, session))
        if path is None or path == peer.trial.fallback:
            break
        outputs += peer.transmit_packets(session, [packet], path, now)
    if outputs:
        peer.liveness.sent_data(now)
        peer.host.count("flows_restarted", len(outputs))
    return outputs
