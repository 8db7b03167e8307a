"""What becomes due for one peer: every timer that it has, served in one place."""

from __future__ import annotations

from vipnet.core import binding, handshakes, keychange, moving, outbound, probing, replay
from vipnet.core.liveness import LivenessStep
from vipnet.core.outputs import Output
from vipnet.core.peer import Peer
from vipnet.types import Instant
from vipnet.wire.control import Keepalive


def is_due(at: Instant | None, now: Instant) -> bool:
    return at is not None and now >= at


def serve(peer: Peer, now: Instant) -> list[Output]:
    """All of PEER's timers that are over; which they are, peer.next_timeout() says."""
    outputs: list[Output] = []
    if is_due(peer.wanted_until, now):
        outputs += handshakes.fail_wanted(peer, f"{peer.name} does not answer")
    if is_due(peer.initiator.next_timeout(), now):
        outputs += handshakes.handle_initiator_timeout(peer, now)
    outputs += moving.handle_hint_timeout(peer, now)
    if is_due(peer.replay_at, now):
        outputs += replay.go_on(peer, now)
    for step in peer.liveness.handle_timeout(now):
        outputs += _serve_liveness(peer, step, now)
    if is_due(peer.negotiation.next_timeout(), now):
        outputs += binding.apply(peer, peer.negotiation.handle_timeout(peer.host.unix_s, now), now)
    peer.host.forget_indexes([old.local_index for old in peer.sessions.handle_timeout(now)])
    peer.stash.expire(now)  # others need the room
    peer.flows.expire(now)
    if peer.insistence is not None and is_due(peer.insistence.at, now):
        outputs += moving.insist(peer, now)
    if is_due(peer.announce_at, now):
        outputs += keychange.announce(peer, now)
    if is_due(peer.ask_listed_at(), now):
        outputs += moving.ask_listed(peer, now)
    if is_due(peer.mtus.next_timeout(), now):
        outputs += probing.handle_timeout(peer, now)
    if is_due(peer.active_ends(), now):
        outputs.append(peer.remember(active=False))
    if is_due(peer.save_at, now):
        outputs.append(peer.remember())
    return outputs


def _serve_liveness(peer: Peer, step: LivenessStep, now: Instant) -> list[Output]:
    match step:
        case LivenessStep.KEEPALIVE:
            return peer.seal_to_current(Keepalive(), now)
        case LivenessStep.PROBE:
            peer.doubt_path()
            return peer.challenge(peer.mapping.candidates(), now, everywhere=True)
        case LivenessStep.DEAD:
            # The peer may be elsewhere, or have lost its session: ask DNS, and shake hands anew.
            lost = peer.lose_path(now)
            peer.want_handshake(now)
            return lost + outbound.want_lookup(peer, "path is dead")
        case LivenessStep.PROBE_QUIET:
            peer.doubt_path()
            current = peer.mapping.current
            # The challenge asks; the keepalive shows a partner outside of our NAT where we are now.
            asked = peer.challenge([] if current is None else [current], now)
            return asked + peer.seal_to_current(Keepalive(), now)
        case LivenessStep.SEARCH:
            searched = peer.challenge(peer.mapping.candidates(), now, everywhere=True)
            return searched + outbound.want_lookup(peer, "its data stopped")
