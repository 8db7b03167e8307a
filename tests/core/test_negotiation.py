"""The negotiation of tokens, as a specification: docs/protocol-tokens.md says the same in prose."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from tests.core.sides import (
    CHOOSER,
    FIRST,
    NOW,
    OTHER,
    POLICY,
    THIRD,
    THIRD_AT_CHOOSER,
    THIRD_AT_OTHER,
    TINY,
    UNIX,
    Side,
    bindings,
    chooser,
    handshake,
    other,
    pair,
    settled,
    talk,
    tiny,
)

from vipnet.core.negotiation import Negotiation, Step
from vipnet.core.outputs import DropBinding, StoreBinding, StoredState, StoreQuarantine
from vipnet.core.tokens import TokenSpace, candidates
from vipnet.errors import ProtocolError
from vipnet.policy import Policy
from vipnet.types import Fqdn
from vipnet.wire.control import Accept, Choose, Offer, OfferRequest, TokenMessage

# --- one round trip, whoever begins


def test_the_chooser_begins() -> None:
    a, b = chooser(), other()
    opening = a.negotiation.opening(UNIX)
    assert opening.messages == (Choose(FIRST, 1),)
    assert bindings(opening.outputs) == [
        StoreBinding(OTHER, tiny(3), tiny(8), 1, False, UNIX + POLICY.binding_s)
    ]
    answer = b.hear(*opening.messages, provisional=True)
    assert answer.messages == (Accept(FIRST, 1),)
    assert bindings(answer.outputs)  # durable before it is said
    assert a.hear(*answer.messages).ready
    assert a.shown == FIRST
    assert b.shown is None
    first_sealed = a.negotiation.confirm(UNIX, NOW)
    assert first_sealed.messages == (Choose(FIRST, 1),)
    b.negotiation.confirm(UNIX, NOW)
    assert b.hear(*first_sealed.messages).ready
    assert b.shown == FIRST


def test_the_other_begins() -> None:
    a, b = chooser(), other()
    opening = b.negotiation.opening(UNIX)
    (offer,) = opening.messages
    assert isinstance(offer, Offer)
    assert offer.existing is None
    assert (offer.chooser[0], offer.other[0]) == (tiny(3), tiny(8))
    assert len(offer.chooser) == len(offer.other) == 8
    answer = a.hear(offer, provisional=True)
    assert answer.messages == (Choose(FIRST, 1),)
    stored = b.hear(*answer.messages)
    assert stored.ready
    assert b.shown == FIRST
    a.negotiation.confirm(UNIX, NOW)
    assert a.hear(*stored.messages).ready
    assert a.shown == FIRST


def test_both_have_both_tokens_in_the_same_roles() -> None:
    a, b = settled()
    ours, theirs = a.negotiation.binding, b.negotiation.binding
    assert ours is not None
    assert theirs is not None
    assert (ours.local_token, ours.remote_token) == (theirs.remote_token, theirs.local_token)


def test_a_later_handshake_writes_nothing() -> None:
    """Rekeying every two minutes must not cost a disk write each time."""
    a, b = settled()
    for initiator, responder in ((a, b), (b, a)):
        opening = initiator.negotiation.opening(UNIX + 120)
        answer = responder.negotiation.handle(opening.messages[0], UNIX + 120, NOW, provisional=True)
        last = initiator.negotiation.handle(answer.messages[0], UNIX + 120, NOW)
        for step in (opening, answer, last, initiator.negotiation.confirm(UNIX + 120, NOW)):
            assert step.outputs == ()
            assert step.revoked is None
    assert a.shown == b.shown == FIRST


# --- collisions


@pytest.mark.parametrize("chooser_begins", [True, False])
def test_first_candidates_taken_on_both_hosts(chooser_begins: bool) -> None:
    a, b = chooser(third=THIRD_AT_CHOOSER), other(third=THIRD_AT_OTHER)
    handshake(*((a, b) if chooser_begins else (b, a)))
    assert a.shown == b.shown == pair(6, 2)  # the second candidates
    assert a.space.refused > 0
    assert b.space.refused > 0


def test_both_hosts_like_the_same_address() -> None:
    """d4.vipip.net and b.vipip.net have the same first candidate in this subnet."""
    twin = next(
        name
        for name in (Fqdn(f"d{n}.vipip.net") for n in range(99))
        if next(candidates(name, TINY)) == next(candidates(OTHER, TINY))
    )
    spaces = {name: TokenSpace(TINY) for name in (OTHER, twin)}
    for name, space in spaces.items():
        space.choose_own(name, UNIX)
    assert spaces[OTHER].own_token == spaces[twin].own_token
    a = Negotiation(twin, OTHER, True, spaces[twin], POLICY)
    b = Negotiation(OTHER, twin, False, spaces[OTHER], POLICY)
    messages: tuple[TokenMessage, ...] = a.start(UNIX, NOW).messages
    for _ in range(10):
        messages = tuple(r for m in messages for r in b.handle(m, UNIX, NOW).messages)
        messages = tuple(r for m in messages for r in a.handle(m, UNIX, NOW).messages)
    assert a.binding is not None
    assert b.binding is not None
    assert a.binding.local_token == b.binding.remote_token
    assert a.binding.remote_token == b.binding.local_token


def test_a_second_page_is_asked_for_when_nothing_on_the_first_is_free() -> None:
    """The chooser has given away the other's first eight candidates."""
    a, b = chooser(), other()
    for n, token in enumerate(list(candidates(OTHER, TINY))[:8]):
        if token != a.space.own_token:
            a.space.bind(StoreBinding(Fqdn(f"p{n}.example"), tiny(3), token, 1, True, UNIX + 1e6))
    said = talk(b, b.negotiation.start(UNIX, NOW), a)
    assert OfferRequest(1) in said
    assert a.shown is not None
    assert a.shown == b.shown


def test_when_nothing_at_all_is_free_people_are_told() -> None:
    a, b = chooser(), other()
    for n in range(1, 15):
        if tiny(n) != a.space.own_token:
            a.space.bind(StoreBinding(Fqdn(f"p{n}.example"), tiny(3), tiny(n), 1, True, UNIX + 1e6))
    assert a.negotiation.opening(UNIX).failed == (
        "no free address for b.vipip.net in 240.0.0.0/28: 14 of 14 are taken"
    )
    step, failures = b.negotiation.start(UNIX, NOW), []
    while step.messages:
        answer = a.hear(*step.messages)
        failures.append(answer.failed)
        step = b.hear(*answer.messages) if answer.messages else Step()
    assert failures[-1] == "no address in 240.0.0.0/28 is free here and at b.vipip.net"


# --- subnets that differ


@pytest.mark.parametrize("chooser_begins", [True, False])
@pytest.mark.parametrize(
    ("mine", "yours"), [("240.0.0.0/4", "240.0.0.0/28"), ("240.0.0.0/28", "240.0.0.0/4")]
)
def test_one_subnet_inside_the_other_is_enough(chooser_begins: bool, mine: str, yours: str) -> None:
    a, b = chooser(subnet=IPv4Network(mine)), other(subnet=IPv4Network(yours))
    begins, answers = (a, b) if chooser_begins else (b, a)
    talk(begins, begins.negotiation.start(UNIX, NOW), answers)
    assert a.shown == b.shown
    assert a.shown is not None
    assert {a.shown.chooser in TINY, a.shown.other in TINY} == {True}


def test_disjoint_subnets_are_refused_with_a_reason_on_both_sides() -> None:
    a, b = chooser(), other(subnet=IPv4Network("10.99.0.0/16"))
    step, reasons = a.negotiation.start(UNIX, NOW), set()
    for _ in range(20):
        answer = b.hear(*step.messages)
        reasons.add(answer.failed)
        step = a.hear(*answer.messages)
        if step.failed:
            break
    assert step.failed is not None
    assert "offers no address inside 240.0.0.0/28" in step.failed
    assert "b.vipip.net" in step.failed
    assert all("outside of our subnet 10.99.0.0/16" in str(reason) for reason in reasons)
    assert not a.space.bindings()
    assert not b.space.bindings()


# --- message 1 may be a replay


def test_message_1_shows_nothing_on_the_other_host() -> None:
    b = other()
    step = b.hear(Choose(FIRST, 1), provisional=True)
    assert not step.ready
    assert bindings(step.outputs)[0].expires_at == UNIX + POLICY.reservation_s
    assert b.negotiation.confirm(UNIX, NOW).ready is False
    assert b.shown is None


def test_message_1_does_not_change_a_reservation_or_a_binding() -> None:
    a, b = settled()
    assert b.hear(Choose(pair(6, 8), 1), provisional=True).messages == (Offer(FIRST, (), ()),)
    assert b.hear(Choose(FIRST, 9, revoke=True), provisional=True).messages == (Offer(FIRST, (), ()),)
    assert a.hear(Offer(pair(6, 8), (), ()), provisional=True).messages == (Choose(FIRST, 1),)
    assert a.hear(Offer(None, (), (), refused=1), provisional=True).messages == (Choose(FIRST, 1),)
    assert a.shown == b.shown == FIRST


def test_message_1_with_an_accept_or_a_request_is_an_error() -> None:
    a, b = settled()
    with pytest.raises(ProtocolError):
        a.hear(Accept(FIRST, 1), provisional=True)
    with pytest.raises(ProtocolError):
        b.hear(OfferRequest(1), provisional=True)


@pytest.mark.parametrize("host", [CHOOSER, OTHER])
def test_strangers_get_no_more_reservations_than_the_policy_has(host: Fqdn) -> None:
    """They are heard once the handshake is confirmed."""
    side = Side(host, policy=Policy(reservations=0))
    message = Offer(None, (tiny(3),), (tiny(8),)) if side.chooses else Choose(FIRST, 1)
    assert side.hear(message, provisional=True).messages == ()
    assert side.space.bindings() == ()
    assert side.hear(message).messages != ()


def test_a_replayed_message_1_leaves_a_running_negotiation_alone() -> None:
    a = chooser()
    a.negotiation.start(UNIX, NOW)
    due = a.negotiation.next_timeout()
    a.hear(Offer(pair(6, 8), (), ()), provisional=True)
    assert a.negotiation.next_timeout() == due
    assert due is not None
    assert a.negotiation.handle_timeout(UNIX, due).messages == (Choose(FIRST, 1),)


# --- what is unanswered is said again


def test_retransmission_doubles_from_250_ms_to_5_s_and_ends() -> None:
    a = chooser()
    a.negotiation.start(UNIX, NOW)
    gaps, before = [], NOW
    while (due := a.negotiation.next_timeout()) is not None:
        gaps.append(due - before)
        before = due
        step = a.negotiation.handle_timeout(UNIX, due)
        if step.failed is None:
            assert step.messages == (Choose(FIRST, 1),)
    assert gaps[:7] == [0.25, 0.5, 1, 2, 4, 5, 5]
    assert before - NOW >= POLICY.token_give_up_s
    assert step.failed == "b.vipip.net does not answer in the negotiation of tokens"


def test_nothing_is_due_before_its_time_nor_after_the_answer() -> None:
    b = other()
    b.negotiation.start(UNIX, NOW)
    assert b.negotiation.handle_timeout(UNIX, NOW).messages == ()
    b.hear(Choose(FIRST, 1))
    assert b.negotiation.next_timeout() is None


def test_a_handshake_repeats_its_own_messages() -> None:
    a = chooser()
    a.negotiation.opening(UNIX)
    assert a.negotiation.next_timeout() is None
    a.negotiation.confirm(UNIX, NOW)
    assert a.negotiation.next_timeout() == NOW + POLICY.token_retry_s
    a.negotiation.suspend()
    assert a.negotiation.next_timeout() is None


def test_a_response_without_tokens_is_asked_for_more() -> None:
    """The responder had no room for a reservation."""
    b = other()
    b.negotiation.opening(UNIX)
    b.negotiation.confirm(UNIX, NOW)
    assert b.negotiation.next_timeout() is not None


# --- the life of a binding


def test_renewal_is_written_once_an_hour() -> None:
    a, _ = settled()
    assert a.negotiation.renew(UNIX + 60) == Step()
    (renewed,) = bindings(a.negotiation.renew(UNIX + 3601).outputs)
    assert renewed.expires_at == UNIX + 3601 + POLICY.binding_s
    assert a.shown == FIRST


def test_release_gives_the_tokens_to_no_other_name() -> None:
    a, _ = settled()
    shown = a.negotiation.binding
    step = a.negotiation.release(UNIX)
    assert step.revoked == shown
    assert step.outputs == (DropBinding(OTHER), StoreQuarantine(tiny(8), OTHER, UNIX + POLICY.quarantine_s))
    assert not a.space.is_free_remote(tiny(8), THIRD, UNIX)
    assert a.space.is_free_remote(tiny(8), OTHER, UNIX)


@pytest.mark.parametrize("host", [CHOOSER, OTHER])
@pytest.mark.parametrize("blocked", [3, 8])
def test_an_address_that_comes_in_the_way_revokes_on_both_hosts(host: Fqdn, blocked: int) -> None:
    a, b = settled()
    here, there = (a, b) if host == CHOOSER else (b, a)
    here.space.set_host_networks([IPv4Network(f"240.0.0.{blocked}/32")])
    assert here.space.conflicts()
    talk(here, here.negotiation.revoke(UNIX, NOW), there)
    assert a.shown == b.shown
    assert a.shown is not None
    assert tiny(blocked) not in (a.shown.chooser, a.shown.other)


def test_a_restart_shows_what_was_shown() -> None:
    a, _ = settled()
    again = TokenSpace(TINY)
    again.load(StoredState(own_token=tiny(3), bindings=list(a.space.bindings())))
    again.choose_own(CHOOSER, UNIX)
    restarted = Negotiation(CHOOSER, OTHER, True, again, POLICY)
    assert restarted.binding == a.negotiation.binding
    assert restarted.opening(UNIX).messages == (Choose(FIRST, 1),)


def test_a_stored_binding_may_be_given_instead_of_loaded() -> None:
    stored = StoreBinding(OTHER, tiny(3), tiny(8), 4, True, UNIX + 1e6)
    space = TokenSpace(TINY)
    space.choose_own(CHOOSER, UNIX)
    assert Negotiation(CHOOSER, OTHER, True, space, POLICY, stored).opening(UNIX).messages == (
        Choose(FIRST, 4),
    )
