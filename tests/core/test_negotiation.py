"""The negotiation of tokens, as a specification: docs/protocol-tokens.md says the same in prose."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnet.core.negotiation import Negotiation, Step
from vipnet.core.outputs import DropBinding, StoreBinding, StoredState, StoreOutput, StoreQuarantine
from vipnet.core.tokens import TokenSpace, candidates
from vipnet.errors import ProtocolError
from vipnet.policy import Policy
from vipnet.types import Fqdn, Instant, Token
from vipnet.wire.control import Accept, Choose, Offer, OfferRequest, TokenMessage, TokenPair

TINY = IPv4Network("240.0.0.0/28")
CHOOSER, OTHER, THIRD = Fqdn("a.vipip.net"), Fqdn("b.vipip.net"), Fqdn("d.vipip.net")
POLICY = Policy()
UNIX, NOW = 1_000_000.0, Instant(50.0)


def tiny(last: int) -> Token:
    return Token(IPv4Address(f"240.0.0.{last}"))


def pair(chooser: int, other: int) -> TokenPair:
    return TokenPair(tiny(chooser), tiny(other))


FIRST = pair(3, 8)  # both first candidates in TINY


class Side:
    """One host and what it was told to do."""

    def __init__(
        self,
        name: Fqdn,
        subnet: IPv4Network = TINY,
        policy: Policy = POLICY,
        third: StoreBinding | None = None,
    ) -> None:
        self.name, self.chooses = name, name == CHOOSER
        self.space = TokenSpace(subnet)
        if third is not None:
            self.space.bind(third)
        self.space.choose_own(name, UNIX)
        peer = OTHER if self.chooses else CHOOSER
        self.negotiation = Negotiation(name, peer, self.chooses, self.space, policy)

    def hear(self, *messages: TokenMessage, provisional: bool = False) -> Step:
        """The last step; all messages but the last must lead to nothing of interest."""
        step = Step()
        for message in messages:
            step = self.negotiation.handle(message, UNIX, NOW, provisional=provisional)
        return step

    @property
    def shown(self) -> TokenPair | None:
        binding = self.negotiation.binding
        if binding is None:
            return None
        local, remote = binding.local_token, binding.remote_token
        return TokenPair(local, remote) if self.chooses else TokenPair(remote, local)


def chooser(**options: object) -> Side:
    return Side(CHOOSER, **options)  # type: ignore[arg-type]


def other(**options: object) -> Side:
    return Side(OTHER, **options)  # type: ignore[arg-type]


def talk(speaker: Side, step: Step, listener: Side, *, most: int = 100) -> list[TokenMessage]:
    """Carry messages over a session in both directions until there are none; return them all."""
    said: list[TokenMessage] = []
    pending = [(listener, message) for message in step.messages]
    while pending:
        hearer, message = pending.pop(0)
        said.append(message)
        assert len(said) <= most, said
        answerer = speaker if hearer is listener else listener
        pending += [(answerer, reply) for reply in hearer.hear(message).messages]
    return said


def handshake(initiator: Side, responder: Side) -> None:
    """As the daemon does it: message 1, message 2, then what is sealed."""
    opening = initiator.negotiation.opening(UNIX)
    answers = [reply for m in opening.messages for reply in responder.hear(m, provisional=True).messages]
    sealed = [reply for m in answers for reply in initiator.hear(m).messages]
    sealed += initiator.negotiation.confirm(UNIX, NOW).messages
    back = list(responder.negotiation.confirm(UNIX, NOW).messages)
    for message in sealed:
        back += responder.hear(message).messages
    talk(responder, Step(messages=tuple(back)), initiator)


def bindings(outputs: tuple[StoreOutput, ...]) -> list[StoreBinding]:
    return [output for output in outputs if isinstance(output, StoreBinding)]


def settled() -> tuple[Side, Side]:
    a, b = chooser(), other()
    handshake(a, b)
    assert a.shown == b.shown == FIRST
    return a, b


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

THIRD_AT_OTHER = StoreBinding(THIRD, tiny(8), tiny(3), 1, True, UNIX + 1e6)  # has the chooser's token
THIRD_AT_CHOOSER = StoreBinding(THIRD, tiny(3), tiny(8), 1, True, UNIX + 1e6)  # has the other's token


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
