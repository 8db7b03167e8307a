"""The negotiation of tokens when stores are lost, messages are old, or the peer is hostile."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.sides import (
    CHOOSER,
    FIRST,
    NOW,
    OTHER,
    POLICY,
    THIRD,
    THIRD_AT_CHOOSER,
    THIRD_AT_OTHER,
    UNIX,
    Side,
    chooser,
    handshake,
    other,
    pair,
    settled,
    talk,
    tiny,
)

from vipnet.core.outputs import DropBinding, StoreQuarantine
from vipnet.errors import ProtocolError
from vipnet.types import Fqdn, Token
from vipnet.wire.control import Accept, Choose, Offer, OfferRequest, TokenMessage, TokenPair

# --- lost stores


def test_a_chooser_that_lost_its_store_gets_the_same_tokens_back() -> None:
    _, b = settled()
    b.negotiation.revoke(UNIX, NOW)
    b = other()
    b.hear(Choose(pair(6, 2), 7))  # not the first candidates
    assert b.shown == pair(6, 2)
    a = chooser()
    handshake(a, b)
    assert a.shown == b.shown == pair(6, 2)


def test_another_that_lost_its_store_gets_the_same_tokens_back() -> None:
    a = chooser()
    a.hear(Offer(None, (tiny(6),), (tiny(2),)))
    a.hear(Accept(pair(6, 2), 1))
    assert a.shown == pair(6, 2)
    b = other()
    handshake(b, a)
    assert a.shown == b.shown == pair(6, 2)


def test_a_chooser_that_gave_the_token_away_revokes() -> None:
    _, b = settled()
    a = chooser(third=THIRD_AT_CHOOSER)
    revocation = a.hear(*b.negotiation.opening(UNIX).messages)
    assert revocation.messages == (Choose(FIRST, 1, revoke=True),)
    shown = b.negotiation.binding
    step = b.hear(*revocation.messages)
    assert step.revoked == shown
    assert step.outputs[0] == DropBinding(CHOOSER)
    assert StoreQuarantine(tiny(3), CHOOSER, UNIX + POLICY.quarantine_s) in step.outputs
    talk(b, step, a)
    assert a.shown == b.shown
    assert a.shown is not None
    assert a.shown.other != tiny(8)


def test_another_that_gave_the_token_away_makes_the_chooser_revoke_its_own() -> None:
    a, _ = settled()
    shown = a.negotiation.binding
    b = other(third=THIRD_AT_OTHER)
    refusal = b.hear(*a.negotiation.opening(UNIX).messages)
    step = a.hear(*refusal.messages)
    assert step.revoked == shown
    talk(a, step, b)
    assert a.shown == b.shown
    assert a.shown is not None
    assert a.shown.chooser != tiny(3)


# --- generations


def test_only_the_accept_of_the_present_generation_counts() -> None:
    a = chooser()
    a.negotiation.start(UNIX, NOW)
    a.hear(Offer(None, (tiny(6),), (tiny(2),), refused=1))
    assert not a.hear(Accept(FIRST, 1)).ready
    assert a.shown is None
    assert a.hear(Accept(pair(6, 2), 2)).ready


def test_tokens_of_earlier_generations_stay_reserved_until_one_is_accepted() -> None:
    a = chooser()
    a.negotiation.start(UNIX, NOW)
    step = a.hear(Offer(None, (tiny(6),), (tiny(2),), refused=1))
    assert StoreQuarantine(tiny(8), OTHER, UNIX + POLICY.reservation_s) in step.outputs
    assert not a.space.is_free_remote(tiny(8), THIRD, UNIX)
    step = a.hear(Accept(pair(6, 2), 2))
    assert StoreQuarantine(tiny(8), OTHER, UNIX) in step.outputs
    assert a.space.is_free_remote(tiny(8), THIRD, UNIX)


def test_a_refused_generation_stays_refused() -> None:
    b = other(third=THIRD_AT_OTHER)
    assert isinstance(b.hear(Choose(FIRST, 1)).messages[0], Offer)
    b.space.drop(THIRD)
    assert isinstance(b.hear(Choose(FIRST, 1)).messages[0], Offer)
    assert b.hear(Choose(FIRST, 2)).ready


def test_a_peer_that_refuses_everything_does_not_use_up_the_subnet() -> None:
    a = chooser(subnet=IPv4Network("240.0.0.0/24"))
    step = a.negotiation.start(UNIX, NOW)
    everything = [Token(address) for address in a.space.subnet.hosts()]
    for n in range(1, 100):
        if step.failed is not None:
            break
        step = a.hear(Offer(None, (everything[n + 150],), (everything[n + 20],), refused=n))
    assert step.failed == "b.vipip.net refused 33 choices"
    assert sum(not a.space.is_free_remote(token, THIRD, UNIX) for token in everything) == 9


def test_a_reservation_that_ran_out_is_taken_up_again_by_its_accept() -> None:
    a = chooser()
    (choice,) = a.hear(Offer(None, (tiny(3),), (tiny(8),)), provisional=True).messages
    a.space.expire(UNIX + POLICY.reservation_s)
    (again,) = a.hear(Accept(FIRST, 1)).messages
    assert choice == Choose(FIRST, 1)
    assert again == Choose(FIRST, 2)


# --- wrong messages


@pytest.mark.parametrize("message", [Choose(FIRST, 1), OfferRequest(1)])
def test_a_chooser_is_not_told_what_to_do(message: TokenMessage) -> None:
    with pytest.raises(ProtocolError, match="to the host that chooses"):
        chooser().hear(message)


@pytest.mark.parametrize("message", [Offer(None, (), ()), Accept(FIRST, 1)])
def test_the_other_is_offered_nothing(message: TokenMessage) -> None:
    with pytest.raises(ProtocolError, match="to the host that does not choose"):
        other().hear(message)


@pytest.mark.parametrize("message", [Choose(pair(3, 3), 1), Choose(FIRST, 0)])
def test_a_choice_that_no_host_makes(message: TokenMessage) -> None:
    b = other()
    with pytest.raises(ProtocolError):
        b.hear(message)
    assert b.space.bindings() == ()


@pytest.mark.parametrize(
    "message", [Offer(pair(3, 3), (), ()), Offer(None, (), (), refused=2), Accept(FIRST, 2)]
)
def test_an_answer_that_no_host_gives(message: TokenMessage) -> None:
    a = chooser()
    a.negotiation.start(UNIX, NOW)
    with pytest.raises(ProtocolError):
        a.hear(message)


@pytest.mark.parametrize(
    "tokens", [pair(0, 8), pair(3, 15), TokenPair(tiny(3), Token(IPv4Address("10.0.0.1")))]
)
def test_what_can_be_no_token_is_refused(tokens: TokenPair) -> None:
    b = other()
    (answer,) = b.hear(Choose(tokens, 1)).messages
    assert isinstance(answer, Offer)
    assert answer.refused == 1
    assert b.space.refused > 0
    a = chooser()
    assert a.hear(Offer(tokens, (), ())).messages[0] == Choose(tokens, 1, revoke=True)


def test_one_token_for_both_is_an_error_where_nothing_was_chosen_too() -> None:
    """Found by the property below: an Accept without a reservation is treated as an Offer."""
    a = chooser()
    with pytest.raises(ProtocolError, match="for both hosts"):
        a.hear(Accept(pair(1, 1), 0))
    assert a.space.bindings() == ()


# --- anything a peer may say

TOKENS = st.builds(tiny, st.integers(0, 15)) | st.just(Token(IPv4Address("10.0.0.1")))
PAIRS = st.builds(TokenPair, TOKENS, TOKENS)
LISTS = st.lists(TOKENS, max_size=8).map(tuple)
MESSAGES = (
    st.builds(Offer, st.none() | PAIRS, LISTS, LISTS, st.integers(0, 31), st.integers(0, 3))
    | st.builds(OfferRequest, st.integers(1, 31))
    | st.builds(Choose, PAIRS, st.integers(0, 3), st.booleans())
    | st.builds(Accept, PAIRS, st.integers(0, 3))
)


@given(
    host=st.sampled_from([CHOOSER, OTHER]),
    collide=st.booleans(),
    script=st.lists(st.tuples(MESSAGES, st.booleans()), max_size=12),
)
def test_whatever_a_peer_says_the_ledger_stays_sound(
    host: Fqdn, collide: bool, script: list[tuple[TokenMessage, bool]]
) -> None:
    third = THIRD_AT_CHOOSER if host == CHOOSER else THIRD_AT_OTHER
    side = Side(host, third=third if collide else None)
    for message, provisional in script:
        before = side.shown
        try:
            step = side.hear(message, provisional=provisional)
        except ProtocolError:
            assert side.shown == before
            continue
        assert len(step.messages) <= 1  # never more than was asked
        assert step.ready == (before is None and side.shown is not None)
        assert (step.revoked is not None) == (before is not None and side.shown is None)
        assert not (provisional and side.shown != before)
        remotes = [binding.remote_token for binding in side.space.bindings()]
        assert len(set(remotes)) == len(remotes)
        assert not {binding.local_token for binding in side.space.bindings()} & set(remotes)
        assert side.space.own_token not in remotes
