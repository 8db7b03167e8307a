"""The way of a datagram in: from the network to an application."""

from __future__ import annotations

from vipnet.core import binding, handshakes, moving
from vipnet.core.outbound import flush, touch
from vipnet.core.outputs import Deliver, LogEvent, Output
from vipnet.core.peer import Peer
from vipnet.core.session import Session
from vipnet.errors import PeerError, ProtocolError
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
    if session.confirmed:
        return _handle_opened(peer, session, plaintext, len(datagram), counter, source, now)
    outputs = handshakes.confirm(peer, session, source, now)
    try:
        return outputs + _handle_opened(peer, session, plaintext, len(datagram), counter, source, now)
    except PeerError:
        # What it says is refused, but that it was sealed confirmed the session: that has to be carried out.
        peer.host.count("refused_first_datagram")
        return outputs


def _handle_opened(
    peer: Peer, session: Session, plaintext: bytes, size: int, counter: int, source: Locator, now: Instant
) -> list[Output]:
    outputs: list[Output] = []
    if peer.liveness.overdue(now):
        peer.doubt_path()
    peer.mapping.last_heard = now
    peer.renewing = False
    peer.liveness.received()
    from_current = source == peer.mapping.current
    newest = session is peer.sessions.newest and counter >= session.window.highest
    kind, body = plaintext[-1], plaintext[:-1]
    if kind == KIND_IPV4:
        last_data = peer.data_heard
        outputs += _handle_packet(peer, body, now)
        if peer.moved_at is not None and last_data is not None:
            peer.moves.note_gap(peer.name, last_data, now)
        peer.moved_at, peer.data_heard = None, now
    elif kind == KIND_CONTROL:
        message = control.decode(body)
        outputs += _handle_message(peer, session, message, source, now)
        newest = newest and not isinstance(message, Hint | HintAck | PathChallenge | PathResponse)
    else:
        peer.host.count("unknown_kind")
    if from_current:
        peer.current_heard = now
        if peer.allowance_bytes is not None:
            peer.allowance_bytes += AMPLIFICATION * size
    elif newest and source != peer.mapping.current:
        outputs += moving.handle_foreign_source(peer, source, now)
    if peer.dead:
        peer.dead = False
        outputs += flush(peer, now)
    if peer.in_outage() and from_current:
        outputs += moving.ask_what_arrived(peer, now)
    return outputs


def _handle_packet(peer: Peer, packet: bytes, now: Instant) -> list[Output]:
    parse_ipv4(packet)
    if packet[12:20] != peer.inbound_addresses:
        raise ProtocolError(f"packet from {peer.name} with addresses that are not this pair's tokens")
    peer.liveness.received_data(now)
    peer.flows.received(packet)
    outputs = touch(peer, now)
    outputs.append(Deliver(packet))
    return outputs


def _handle_message(
    peer: Peer, session: Session, message: control.ControlMessage, source: Locator, now: Instant
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
            return _handle_close(peer, session, message)
        case Keepalive():
            return []


def _handle_close(peer: Peer, session: Session, message: Close) -> list[Output]:
    """The peer goes away in order: its sessions are void, its binding stays.

    A Close that comes late says nothing of the sessions of the peer's next run.
    """
    void = peer.sessions.drop(session.boot_id)
    handshakes.forget_indexes(peer, [dropped.local_index for dropped in void])
    if peer.sessions.newest is not None:
        return []
    peer.liveness.reset()
    peer.negotiation.suspend()
    peer.hints = None
    peer.stash.clear()
    peer.flows.clear()
    return [LogEvent("session.closed", {"peer": peer.name, "reason": message.reason})]
