"""The way of a datagram in: from the network to an application."""

from __future__ import annotations

from vipnet.core import binding, handshakes, moving
from vipnet.core.outbound import flush, touch
from vipnet.core.outputs import Deliver, LogEvent, Output
from vipnet.core.peer import Peer
from vipnet.core.session import Session
from vipnet.errors import ProtocolError
from vipnet.policy import AMPLIFICATION
from vipnet.types import Instant, Locator
from vipnet.wire import control
from vipnet.wire.control import (
    Accept,
    Choose,
    Close,
    Hint,
    HintAck,
    Keepalive,
    Offer,
    OfferRequest,
    PathChallenge,
    PathResponse,
)
from vipnet.wire.datagram import KIND_CONTROL, KIND_IPV4
from vipnet.wire.inner import parse_ipv4


def handle_sealed(
    peer: Peer, session: Session, datagram: bytes, counter: int, source: Locator, now: Instant
) -> list[Output]:
    """A datagram for one of our sessions. Raise PeerError when it is not acceptable."""
    plaintext = session.open(datagram, counter)
    peer.rx_bytes += len(datagram)
    outputs: list[Output] = []
    if not session.confirmed:
        outputs += handshakes.confirm(peer, session, source, now)
    peer.mapping.last_heard, last_heard = now, peer.mapping.last_heard
    peer.renewing = False
    peer.liveness.received()
    from_current = source == peer.mapping.current
    newest = session is peer.sessions.newest and counter >= session.window.highest
    kind, body = plaintext[-1], plaintext[:-1]
    if kind == KIND_IPV4:
        outputs += _handle_packet(peer, body, now)
        if peer.moved_at is not None and last_heard is not None:
            peer.moves.note_gap(peer.name, last_heard, now)
            peer.moved_at = None
    elif kind == KIND_CONTROL:
        message = control.decode(body)
        outputs += _handle_message(peer, message, source, now)
        newest = newest and not isinstance(message, Hint | HintAck | PathChallenge | PathResponse)
    else:
        peer.host.count("unknown_kind")
    if from_current:
        peer.current_heard = now
        if peer.allowance_bytes is not None:
            peer.allowance_bytes += AMPLIFICATION * len(datagram)
    elif newest and source != peer.mapping.current:
        outputs += moving.handle_foreign_source(peer, source, now)
    if peer.dead:
        peer.dead = False
        outputs += flush(peer, now)
    return outputs


def _handle_packet(peer: Peer, packet: bytes, now: Instant) -> list[Output]:
    parse_ipv4(packet)
    if packet[12:20] != peer.inbound_addresses:
        raise ProtocolError(f"packet from {peer.name} with addresses that are not this pair's tokens")
    peer.liveness.received_data(now)
    outputs = touch(peer, now)
    outputs.append(Deliver(packet))
    return outputs


def _handle_message(
    peer: Peer, message: control.ControlMessage, source: Locator, now: Instant
) -> list[Output]:
    match message:
        case Hint():
            return moving.handle_hint(peer, message, source, now)
        case HintAck():
            return moving.handle_hint_ack(peer, message, source, now)
        case PathChallenge():
            return moving.handle_path_challenge(peer, message, source, now)
        case PathResponse():
            return moving.handle_path_response(peer, message, now)
        case Offer() | OfferRequest() | Choose() | Accept():
            return binding.apply(peer, peer.negotiation.handle(message, peer.host.unix_s, now), now)
        case Close():
            return _handle_close(peer, message)
        case Keepalive():
            return []


def _handle_close(peer: Peer, message: Close) -> list[Output]:
    """The peer goes away in order: its sessions are void, its binding stays."""
    handshakes.forget_indexes(peer, [session.local_index for session in peer.sessions.drop_all()])
    peer.liveness.reset()
    peer.hints = None
    peer.stash.clear()
    return [LogEvent("session.closed", {"peer": peer.name, "reason": message.reason})]
