"""Moves, ours and the peer's: hints, acks, challenges, and what DNS says."""

from __future__ import annotations

from collections.abc import Sequence

from vipnet.core import keychange, replay
from vipnet.core.hints import HintSender
from vipnet.core.locators import usable, usable_only
from vipnet.core.outbound import flush, want_lookup
from vipnet.core.outputs import LookupResult, Output, PathAnswered
from vipnet.core.path import Answered
from vipnet.core.peer import Peer
from vipnet.policy import CHALLENGE_SIZE
from vipnet.types import Instant, Locator
from vipnet.wire.control import Hint, HintAck, PathChallenge, PathResponse, Report

_PROBED_MAX = 32
_PROBE_AGAIN_S = 1.0
_LISTED_WINS_S = 1.0
_ASK_AGAIN_S = 0.1
_CROWDED_S = 1.0  # so long after a change of path both ends may be busy with what waited


# --- we moved


def handle_own_move(peer: Peer, now: Instant, turn: int = 0) -> list[Output]:
    """This host has other locators: say so to a partner with traffic, nobody else.

    `turn`: how many hints and acks of others are handled before its ack.
    """
    if not peer.active(now) and peer.wanted_until is None and not peer.initiator.active:
        peer.hints = None
        return []
    peer.liveness.reset()
    peer.mtus.forget()
    peer.moved_at = now
    peer.doubt_path()
    peer.dead, peer.source, peer.hints = False, None, None
    if not peer.host.locators:
        return []
    if peer.sessions.sending(now) is None:
        # The init says where we are: it is the hint.
        peer.moves.note(peer.name, "hint", now)
        peer.initiator.begin(now)
        return []
    return tell_place(peer, now, turn) + flush(peer, now)


def tell_place(peer: Peer, now: Instant, turn: int = 0) -> list[Output]:
    """Begin to send the hint of our last move."""
    if not peer.host.policy.hints:
        return []
    peer.hints = HintSender(peer.host.move_number, peer.rtt, peer.host.policy, now, turn)
    peer.moves.note(peer.name, "hint", now)
    return _send_hint(peer, now)


def handle_path_event(peer: Peer, now: Instant) -> list[Output]:
    """Same locators, but the way changed (a route, a wake-up): what waits for an answer goes again."""
    if peer.initiator.active:
        peer.initiator.begin(now)
    if peer.hints is None:
        return []
    peer.hints = HintSender(peer.hints.move_number, peer.rtt, peer.host.policy, now)
    return _send_hint(peer, now)


def handle_hint_timeout(peer: Peer, now: Instant) -> list[Output]:
    if peer.hints is None:
        return []
    if not peer.active(now):
        peer.hints = None
        peer.moves.conclude(peer.name, "timeout")
        return []
    step = peer.hints.handle_timeout(now, may_look_up=_may_look_up(peer, peer.hints))
    outputs: list[Output] = []
    if step.send:
        outputs += _send_hint(peer, now)
    if step.lookup:
        outputs += want_lookup(peer, "hint unacknowledged")
        peer.moves.note(peer.name, "lookup", now)
    return outputs


def _may_look_up(peer: Peer, hints: HintSender) -> bool:
    """Half of the look-ups are for partners that DNS was not asked about yet: those must have their turn."""
    host = peer.host
    limit = host.policy.lookups_at_once // (2 if hints.asked else 1)
    return peer.lookup_under_way or host.lookups_under_way < limit


def _send_hint(peer: Peer, now: Instant) -> list[Output]:
    """To every place where the partner may be: the first answer tells which is right."""
    if peer.hints is None:
        return []
    if peer.sessions.sending(now) is None:
        peer.want_handshake(now)
        return []
    peer.hints.sent_at = now
    locators = sorted(peer.host.locators, key=lambda own: own.host != peer.source)
    hint = Hint(peer.hints.move_number, tuple(locators), peer.reports())
    outputs: list[Output] = []
    targets = peer.mapping.candidates() if peer.mapping.looked_up else [peer.mapping.current]
    for locator in targets:
        if locator is not None:
            outputs += peer.seal(hint, locator, now)
    return outputs


def handle_hint_ack(peer: Peer, ack: HintAck, source: Locator, now: Instant) -> list[Output]:
    """The partner knows where we are; its challenge is answered to where the ack came from."""
    outputs = peer.seal(PathResponse(ack.challenge, peer.reports()), source, now)
    if peer.hints is None or ack.move_number != peer.hints.move_number:
        return outputs
    told_at = peer.hints.sent_at
    hint_arrived(peer, now)
    if source in peer.mapping.candidates():
        peer.trial.end()
        return outputs + _move_to(peer, source, ack.reports, now, told_at)
    return outputs + peer.challenge([source], now)


def hint_arrived(peer: Peer, now: Instant) -> None:
    """Our move is known to the partner, by a HintAck or by a handshake that carried it."""
    peer.hints = None
    peer.moves.note(peer.name, "ack", now)
    peer.moves.note(peer.name, "validated", now)
    peer.moves.conclude(peer.name, "dns" if peer.moves.asked_dns(peer.name) else "acked")


# --- the peer moved


def handle_hint(peer: Peer, hint: Hint, source: Locator, now: Instant) -> list[Output]:
    """A hint is believed at once when it comes from a locator that it lists (paper section 3.2).

    From elsewhere (NAT, or someone who relays) the sender and the listed locators are
    challenged: what answers is where the peer is.
    """
    mapping, host = peer.mapping, peer.host
    if hint.move_number < mapping.move_number:
        host.count("hint_out_of_order")
        return []
    # The random bytes of the ack are a challenge of its source.
    challenge = (
        peer.challenges.issue(source, now) if usable(source, host.space.subnet, host.locators) else None
    )
    data = challenge or host.random_bytes(CHALLENGE_SIZE)
    ack = HintAck(hint.move_number, data, peer.reports(), observed=source)
    if hint.move_number == mapping.move_number:
        return peer.seal(ack, source, now)
    listed = usable_only(hint.locators, host.space.subnet, host.locators)
    outputs: list[Output] = []
    if source in listed:
        moved = source != mapping.current
        if moved:
            peer.trial.begin(mapping.current, now)
        mapping.believe(listed, source, hint.move_number)
        outputs += peer.seal(ack, source, now)
        peer.insist(source, now)
        outputs += _path_changed(peer, hint.reports, now)
        outputs += peer.located() if moved else []
    else:
        mapping.believe(listed, mapping.current or source, hint.move_number)
        peer.listed_answered_at = None
        outputs += peer.seal(ack, source, now)
        outputs += peer.challenge([locator for locator in listed if locator != source], now)
    # Not worth waiting for a disk: after a restart no session is left under which an old hint could
    # be replayed, and a handshake says where the peer is.
    peer.remember_soon(now, locators=listed, move_number=hint.move_number)
    return outputs


def handle_foreign_source(peer: Peer, source: Locator, now: Instant) -> list[Output]:
    """Ask whether the peer is at SOURCE: its newest datagram came from there, ours go elsewhere.

    Data alone never moves a mapping (RFC 9000 section 9.3).
    """
    last = peer.probed.get(source)
    if last is not None and now - last < _PROBE_AGAIN_S:
        return []
    if not usable(source, peer.host.space.subnet, peer.host.locators):
        return []
    if len(peer.probed) >= _PROBED_MAX:
        peer.probed.clear()
    peer.probed[source] = now
    if source in peer.mapping.locators:
        return peer.challenge([source], now)
    # Somebody on the way may pass datagrams on: where the peer says it is, it is asked too.
    peer.listed_answered_at = None
    return peer.challenge([source, *peer.mapping.locators], now)


def ask_listed(peer: Peer, now: Instant) -> list[Output]:
    """The peer is at a locator that it does not name: see whether those it names work by now."""
    peer.listed_asked_at = now
    return peer.challenge(list(peer.mapping.locators), now)


def handle_path_response(peer: Peer, response: PathResponse, now: Instant) -> list[Output]:
    """A locator answered its challenge. Listed ones are preferred to others for a second."""
    if peer.mtus.handle_answer(response.data, now):
        return []
    answered: Answered | None = peer.challenges.answer(response.data, now)
    if answered is None:
        peer.host.count("unknown_path_response")
        return []
    changed_at = peer.path_changed_at
    peer.rtt.sample(
        answered.rtt_s, crowded=changed_at is not None and answered.sent_at - changed_at < _CROWDED_S
    )
    outputs: list[Output] = [PathAnswered(peer.name, answered.locator, answered.rtt_s)]
    if peer.insistence is not None and peer.insistence.locator == answered.locator:
        peer.insistence = None
    listed = answered.locator in peer.mapping.locators
    if answered.sent_at == peer.settled and not (
        listed and peer.mapping.current not in peer.mapping.locators
    ):
        return outputs  # of several that were asked at once the first to answer is used
    peer.settled = answered.sent_at
    if listed:
        peer.listed_answered_at = now
    elif peer.listed_answered_at is not None and now - peer.listed_answered_at < _LISTED_WINS_S:
        return outputs
    if answered.locator in (peer.mapping.current, peer.trial.fallback):
        peer.trial.end()
    if _found_another_source(peer, answered):
        outputs += _hint_from(peer, answered.source, now)
    if answered.locator != peer.mapping.current:
        peer.trial.end()
        return outputs + _move_to(peer, answered.locator, response.reports, now, answered.sent_at)
    if peer.in_outage() and peer.hints is None:
        return outputs + replay.begin(peer, response.reports, now, answered.sent_at)
    return outputs + replay.go_on(peer, now)


def insist(peer: Peer, now: Instant) -> list[Output]:
    """The answer to a challenge that counts, or the challenge itself, may be lost: ask again."""
    insistence = peer.insistence
    if insistence is None or insistence.locator != peer.mapping.current or peer.dead:
        peer.insistence = None  # another path is in use, or none
        return []
    insistence.repeat(now)
    return peer.challenge([insistence.locator], now)


def _found_another_source(peer: Peer, answered: Answered) -> bool:
    """Whether our address that was in use is dead, and another of ours is not."""
    in_use = peer.source_for(answered.locator)
    return peer.in_outage() and answered.source != in_use and answered.source is not None


def _hint_from(peer: Peer, source: str | None, now: Instant) -> list[Output]:
    """Tell the peer to use another of our locators: it comes first from now on."""
    peer.source = source
    peer.host.next_move_number()
    peer.hints = HintSender(peer.host.move_number, peer.rtt, peer.host.policy, now)
    return _send_hint(peer, now)


def handle_path_challenge(
    peer: Peer, challenge: PathChallenge, source: Locator, now: Instant
) -> list[Output]:
    """Answer from each of our addresses: the one in use may be what does not work.

    Who is sent data and asks all the same may not hear us, while we hear the peer and believe
    the path alive: then ours are tried, too.
    """
    outputs = peer.seal_from_everywhere(PathResponse(challenge.data, peer.reports()), source, now)
    if len(outputs) > 1 and peer.hints is None and peer.liveness.is_sending(now):
        asked_at = peer.own_tried_at
        if asked_at is None or now - asked_at >= _PROBE_AGAIN_S:
            peer.own_tried_at = now
            peer.doubt_path()
            outputs += peer.challenge(peer.mapping.candidates(), now, everywhere=True)
    return outputs


def _move_to(
    peer: Peer, locator: Locator, reports: Sequence[Report], now: Instant, asked_at: Instant
) -> list[Output]:
    """What was asked there at ASKED_AT has been answered."""
    moved = locator != peer.mapping.current
    peer.mapping.current = locator
    outputs = _path_changed(peer, reports, now, asked_at)
    return outputs + peer.located() if moved else outputs


def _path_changed(
    peer: Peer, reports: Sequence[Report], now: Instant, arriving_since: Instant | None = None
) -> list[Output]:
    """Datagrams go elsewhere from now on: first what was lost, then what waited for a path."""
    peer.path_changed_at = now
    peer.liveness.reset()
    peer.mtus.forget()
    peer.probed.clear()
    outputs: list[Output] = []
    if peer.hints is not None:
        # We moved as well, and only now know where to say so.
        outputs += _send_hint(peer, now)
    return outputs + replay.begin(peer, reports, now, arriving_since)


def ask_what_arrived(peer: Peer, now: Instant) -> list[Output]:
    """The peer is heard again after an outage, but has not said what it missed: ask, now and then."""
    if not peer.host.policy.stores or peer.hints is not None or peer.mapping.current is None:
        return []
    if peer.asked_at is not None and now - peer.asked_at < max(2 * peer.rtt.rtt_s, _ASK_AGAIN_S):
        return []
    return peer.challenge([peer.mapping.current], now)


# --- what DNS says


def handle_lookup(peer: Peer, result: LookupResult, now: Instant) -> list[Output]:
    """Locators to probe. DNS never moves a mapping by itself, but for profile `paper`.

    A lagging secondary or a forger must not cost a live peer.
    """
    host, mapping = peer.host, peer.mapping
    if result.port is not None:
        peer.port = result.port
    named = [Locator(address, peer.port) for address in result.addresses]
    locators = usable_only(named, host.space.subnet, host.locators)
    new = mapping.add_looked_up(locators)
    if host.policy.lookup_before_send and locators and peer.renewing:
        mapping.current = locators[0]
    outputs = keychange.compare_with_dns(peer, result, now)
    if peer.hints is not None and peer.hints.handle_lookup(now).send:
        outputs += _send_hint(peer, now)
    if peer.initiator.active:
        if new:
            peer.initiator.begin(now)
    elif new and peer.hints is None:
        outputs += peer.challenge(mapping.candidates(), now)
    if len(peer.backlog) and peer.sessions.sending(now) is None:
        peer.want_handshake(now)  # profile `paper` waited for DNS first
    return outputs + flush(peer, now)
