"""Handshakes that we begin with a known peer, and what every completed one changes."""

from __future__ import annotations

from vipnet.core import binding, keychange, moving, replay
from vipnet.core.host import OwnKey
from vipnet.core.initiator import Completed, Initiation
from vipnet.core.locators import usable, usable_only
from vipnet.core.outbound import flush, want_lookup
from vipnet.core.outputs import BindingFailed, Output, SessionKeys, SessionReady, Transmit
from vipnet.core.peer import Peer
from vipnet.core.session import Session
from vipnet.core.sighting import seen_at
from vipnet.errors import ProtocolError
from vipnet.types import Instant, Locator
from vipnet.wire import control
from vipnet.wire.control import Keepalive
from vipnet.wire.datagram import KIND_CONTROL
from vipnet.wire.handshake import HandshakeDatagram

_KNOWN_KEY_TRIES = 2  # by the key that a peer knows us by, before our other keys have their turns


def handle_initiator_timeout(peer: Peer, now: Instant) -> list[Output]:
    """A try is due: to every place where the peer may be, while DNS is asked for more."""
    initiator, host = peer.initiator, peer.host
    if initiator.gave_up(now):
        peer.host.forget_indexes(initiator.stop())
        peer.backlog.give_up()
        return fail_wanted(peer, "no answer to any handshake")
    candidates = peer.mapping.candidates()
    outputs: list[Output] = []
    # While a hint waits for its ack, that one's time-out decides when DNS is asked (paper section 4).
    if not candidates or (initiator.tries > 0 and peer.hints is None):
        outputs += want_lookup(peer, "handshake unanswered" if candidates else "no locator known")
    if not candidates or not host.locators:
        initiator.postpone(now)
        return outputs
    own = _own_key(peer)
    tokens: tuple[control.TokenMessage, ...] = ()
    if own == peer.own:  # else it is not known yet who would choose
        step = peer.negotiation.opening(host.unix_s)
        outputs += binding.absorb(peer, step)
        tokens = step.messages
    attempt, forgotten = initiator.new_init(own, peer.key, peer.psk, peer.mapping.current, tokens, now)
    peer.host.forget_indexes(forgotten)
    host.indexes[attempt.index] = (peer, attempt)
    outputs.append(host.clock)
    datagram = attempt.datagram.encode()
    if initiator.tries <= 1:
        return outputs + [Transmit(datagram, locator) for locator in candidates]
    return outputs + [
        transmit for locator in candidates for transmit in host.from_everywhere(datagram, locator)
    ]


def _own_key(peer: Peer) -> OwnKey:
    """By which of our keys to try: the peer may have lost its store, or know us only by an old record."""
    others = [own for own in peer.host.own_keys if own != peer.own]
    turn = peer.initiator.unanswered - _KNOWN_KEY_TRIES
    return peer.own if not others or turn < 0 or turn % 2 else others[turn // 2 % len(others)]


def handle_response(
    peer: Peer, attempt: Initiation, datagram: HandshakeDatagram, source: Locator, now: Instant
) -> list[Output]:
    """Message 2 of IK. Raise PeerError when it is not the peer's; the try goes on then."""
    completed = peer.initiator.read_response(attempt, datagram, now)
    if completed is None or completed.response is None:
        return []
    if peer.runs.refuses(completed.session.boot_id, now):
        raise ProtocolError(f"{peer.name} answers from a machine with a copied key")
    return complete(peer, completed, source, now)


def complete(peer: Peer, completed: Completed, source: Locator, now: Instant) -> list[Output]:
    """A handshake that we began is done; the peer learns it by our first sealed datagram."""
    peer.host.forget_indexes(peer.initiator.stop())
    # The responder may have asked DNS who we are before it answered.
    peer.rtt.rough_sample(completed.rtt_s)
    outputs = peer.use_own_key(peer.host.own_key(completed.session.own_key))
    outputs += install(peer, completed.session, now)
    response = completed.response
    if response is not None:
        outputs += _learn_place(peer, response.locators, response.move_number, response.boot_id, source, now)
        outputs += seen_at(peer, response.observed)
        outputs += binding.hear(peer, response.tokens, now)
    outputs += _agree(peer, now)
    if completed.move_number == peer.host.move_number:
        moving.hint_arrived(peer, now)
    else:
        # It answers a try from before our last move, and ends those that said where we are now.
        outputs += moving.tell_place(peer, now)
    # Our first sealed datagram is what puts the session in force at the other side. The answer to
    # it is a clean sample of the round trip, and reports what arrived under older keys.
    outputs += peer.challenge([source], now)
    peer.insist(source, now)
    if completed.session.sent == 0:
        # Another handshake crossed ours and is preferred; what our init said counts all the same.
        outputs.append(peer.transmit(completed.session, control.encode(Keepalive()), KIND_CONTROL, source))
    outputs += keychange.announce(peer, now)
    outputs += keychange.handle_run(peer, completed.session, source, now)
    return outputs + flush(peer, now) + replay.restart_flows(peer, now)


def confirm(peer: Peer, session: Session, source: Locator, now: Instant) -> list[Output]:
    """The first datagram under a session that the peer began: its init is in force now."""
    peer.host.forget_indexes([void.local_index for void in peer.sessions.confirm(session, now)])
    arrival = session.arrival
    outputs: list[Output] = []
    if arrival is not None:
        payload = arrival.payload
        outputs += _learn_place(peer, payload.locators, payload.move_number, payload.boot_id, source, now)
        outputs.append(peer.remember(timestamp=max(payload.timestamp, peer.known.timestamp)))
        if arrival.told_move == peer.host.move_number and peer.hints is not None:
            moving.hint_arrived(peer, now)
    outputs += _agree(peer, now)
    outputs += peer.challenge([source], now)
    outputs += keychange.announce(peer, now)
    outputs += keychange.handle_run(peer, session, source, now)
    return outputs + flush(peer, now) + replay.restart_flows(peer, now)


def _agree(peer: Peer, now: Instant) -> list[Output]:
    """A session is there: the tokens that came with its handshake count, or are agreed on now."""
    negotiation, unix_s = peer.negotiation, peer.host.unix_s
    outputs = binding.apply(peer, negotiation.confirm(unix_s, now), now)
    if negotiation.binding is None and negotiation.next_timeout() is None:
        outputs += binding.apply(peer, negotiation.start(unix_s, now), now)
    return outputs + binding.apply(peer, negotiation.renew(unix_s), now)


def install(peer: Peer, session: Session, now: Instant) -> list[Output]:
    peer.host.indexes[session.local_index] = (peer, session)
    peer.host.forget_indexes([old.local_index for old in peer.sessions.add(session, now)])
    outputs: list[Output] = [SessionReady(peer.name, session.begun_by_us)]
    sealing, opening = session.take_keys()
    if peer.host.logs_keys:
        ends = (session.local_index, session.remote_index)
        outputs.append(SessionKeys(peer.name, *ends, session.cipher.name, sealing, opening))
    return outputs


def fail_wanted(peer: Peer, reason: str) -> list[Output]:
    if peer.wanted_until is None:
        return []
    peer.wanted_until = None
    return [BindingFailed(peer.name, reason)]


def _learn_place(
    peer: Peer,
    locators: tuple[Locator, ...],
    move_number: int,
    boot_id: bytes,
    source: Locator,
    now: Instant,
) -> list[Output]:
    """An authenticated handshake says where the peer is; move numbers may start anew with a boot."""
    mapping, host = peer.mapping, peer.host
    if source != mapping.current:
        peer.doubt_path()
    first, before = mapping.last_heard is None, mapping.current
    restarted = peer.boot_id != boot_id  # or we did: what we had stored is older than any handshake
    peer.boot_id = boot_id
    found = peer.find_path()
    mapping.last_heard = now
    if move_number < mapping.move_number and not restarted:
        return found
    listed = usable_only(locators, host.space.subnet, host.locators)
    if usable(source, host.space.subnet, host.locators):
        mapping.believe(listed or (source,), source, move_number)
    elif listed:
        mapping.believe(listed, listed[0], move_number)
    else:
        return found
    peer.liveness.reset()
    told = peer.located() if first or mapping.current != before else []
    return [peer.remember(locators=mapping.locators, move_number=move_number), *found, *told]
