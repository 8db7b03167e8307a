"""Moves of the peer: hints, also as an enemy would have them, and data from elsewhere."""

from __future__ import annotations

import pytest
from tests.core.pairs import ELSEWHERE, Tap, locator, meet, pair, peer_at, seal, session_at
from tests.sim.network import Network, SimHost

from vipnet.core.outputs import StorePeer, Transmit
from vipnet.errors import PeerError
from vipnet.policy import PARTNER_GRACE_BYTES, Policy
from vipnet.types import Instant, Locator
from vipnet.wire.control import Hint, HintAck, PathChallenge, PathResponse
from vipnet.wire.datagram import is_handshake

NEW = Locator("203.0.113.50", 5847)
BAD = tuple(Locator(host, 5847) for host in ("127.0.0.1", "0.0.0.0", "255.255.255.255", "240.1.2.3", "::1"))


def next_number(host: SimHost, other: SimHost) -> int:
    return max(peer_at(host, other).mapping.move_number, other.node.host.move_number) + 1


def sent_by(host: SimHost, data: bytes, source: Locator) -> list[Transmit]:
    """What HOST sends when DATA comes to it from SOURCE."""
    outputs = host.node.handle_datagram(data, source, host.net.now)
    for output in outputs:
        if not isinstance(output, Transmit):
            host.disk.apply(output)
    return [output for output in outputs if isinstance(output, Transmit)]


# --- hints


def test_a_hint_from_a_place_that_it_lists_is_believed_at_once() -> None:
    net = Network(1)
    a, b = pair(net)
    number = next_number(a, b)
    sent_by(a, seal(b, a, Hint(number, (NEW,))), NEW)
    assert peer_at(a, b).mapping.current == NEW


def test_where_a_token_is_stands_in_the_log_once_for_each_place() -> None:
    net = Network(1)
    a, b = pair(net)

    def said(host: SimHost) -> list[str]:
        events = [log.fields for log in host.logs if log.name == "peer.located"]
        assert {(event["peer"], event["token"]) for event in events} <= {(b.name, str(a.token_of(b)))}
        return [event["locator"] for event in events]

    places = [str(b.locator)]
    assert said(a) == places
    for address in ("203.0.113.9", "203.0.113.10"):
        b.move_to(address)
        meet(net, a, b)
        places.append(str(b.locator))
    net.run_for(300)  # without a session; the next handshake is from the same place
    meet(net, a, b)
    assert said(a) == places
    b.crash()
    b.move_to("203.0.113.11")
    b.boot()
    meet(net, a, b)
    assert said(a) == [*places, str(b.locator)]


def test_many_hints_are_one_write_and_the_last_is_not_lost_at_the_end() -> None:
    net = Network(1)
    a, b = pair(net)
    number = next_number(a, b)
    stored: list[StorePeer] = []
    for step in range(10):
        datagram = seal(b, a, Hint(number + step, (NEW,)))
        outputs = a.node.handle_datagram(datagram, NEW, net.now)
        stored += [output for output in outputs if isinstance(output, StorePeer)]
    assert not stored
    at = Instant(net.now + Policy().save_after_s)
    written = [output for output in a.node.handle_timeout(at) if isinstance(output, StorePeer)]
    assert [(peer.name, peer.locators, peer.move_number) for peer in written] == [
        (b.name, (NEW,), number + 9)
    ]

    a.node.handle_datagram(seal(b, a, Hint(number + 10, (NEW,))), NEW, at)
    farewell = [output for output in a.node.shutdown(at) if isinstance(output, StorePeer)]
    assert [peer.move_number for peer in farewell] == [number + 10]


def test_a_replayed_hint_is_no_datagram_at_all() -> None:
    net = Network(2)
    a, b = pair(net)
    hint = seal(b, a, Hint(next_number(a, b), (NEW,)))
    sent_by(a, hint, NEW)
    for source in (NEW, ELSEWHERE):
        with pytest.raises(PeerError, match="replayed"):
            a.node.handle_datagram(hint, source, net.now)
    assert peer_at(a, b).mapping.current == NEW


def test_a_hint_that_was_overtaken_is_ignored_and_an_equal_one_acked_again() -> None:
    net = Network(3)
    a, b = pair(net)
    number = next_number(a, b) + 10
    early = seal(b, a, Hint(number - 1, (ELSEWHERE,)))
    sent_by(a, seal(b, a, Hint(number, (NEW,))), NEW)
    assert sent_by(a, early, ELSEWHERE) == []
    assert a.node.host.counters["hint_out_of_order"] == 1
    again = sent_by(a, seal(b, a, Hint(number, (ELSEWHERE,))), ELSEWHERE)
    assert [ack.destination for ack in again] == [ELSEWHERE]
    assert peer_at(a, b).mapping.current == NEW
    assert peer_at(a, b).mapping.locators == (NEW,)


def test_places_where_nobody_can_be_are_left_out_of_a_hint() -> None:
    net = Network(4)
    a, b = pair(net)
    listed = (*BAD, locator(a), NEW)
    outputs = sent_by(a, seal(b, a, Hint(next_number(a, b), listed)), NEW)
    assert peer_at(a, b).mapping.locators == (NEW,)
    assert {transmit.destination for transmit in outputs} == {NEW}


@pytest.mark.parametrize("source", [*BAD, ELSEWHERE])
def test_a_hint_of_such_places_only_costs_nothing(source: Locator) -> None:
    """Nothing but answers goes to its source; the peer stays where it was, and can move on."""
    net = Network(5)
    a, b = pair(net)
    before = peer_at(a, b).mapping.current
    sent_by(a, seal(b, a, Hint(next_number(a, b), BAD)), source)
    assert peer_at(a, b).mapping.current == before
    meet(net, a, b)
    b.move_to(net.new_address())
    assert net.run_until(lambda: a.can_reach(b)) < 0.2


def test_a_hint_from_a_place_that_it_does_not_list_is_not_believed_before_an_answer() -> None:
    """Somebody passes it on, or a NAT: whoever answers the challenge is the peer."""
    net = Network(6)
    a, b = pair(net)
    before = peer_at(a, b).mapping.current
    outputs = sent_by(a, seal(b, a, Hint(next_number(a, b), (NEW,))), ELSEWHERE)
    assert {transmit.destination for transmit in outputs} == {ELSEWHERE, NEW}
    assert peer_at(a, b).mapping.current == before


def test_a_partner_that_lies_about_its_place_gets_little_sent_there() -> None:
    """A victim is listed, and the hint's source forged: 64 KiB, then back to the old place."""
    net = Network(7)
    a, b = pair(net)
    old = locator(b)
    sent_by(a, seal(b, a, Hint(next_number(a, b), (NEW,))), NEW)
    tap = Tap(net)
    for _ in range(500):
        a.send(b, bytes(1000))
    to_victim = sum(len(t.payload) for t in tap.from_host(a) if t.destination == NEW)
    assert 0 < to_victim <= PARTNER_GRACE_BYTES
    assert sum(len(t.payload) for t in tap.from_host(a) if t.destination == old) > 400_000


def test_many_hints_do_not_renew_what_a_victim_gets() -> None:
    net = Network(8)
    a, b = pair(net)
    tap, number = Tap(net), next_number(a, b)
    for turn in range(40):
        place = (NEW, ELSEWHERE)[turn % 2]
        a._carry_out(a.node.handle_datagram(seal(b, a, Hint(number + turn, (place,))), place, net.now))
        for _ in range(100):
            a.send(b, bytes(1000))
    assert sum(len(t.payload) for t in tap.from_host(a) if t.destination == NEW) < 2 * PARTNER_GRACE_BYTES


def test_an_ack_or_answer_that_was_not_asked_for_moves_nothing() -> None:
    net = Network(9)
    a, b = pair(net)
    before = peer_at(a, b).mapping.current
    sent_by(a, seal(b, a, HintAck(a.node.host.move_number, bytes(8))), ELSEWHERE)
    sent_by(a, seal(b, a, PathResponse(bytes(8))), ELSEWHERE)
    assert peer_at(a, b).mapping.current == before
    assert a.node.host.counters["unknown_path_response"] == 1


def test_challenges_are_answered_where_they_came_from_with_no_more_bytes_than_reports_need() -> None:
    net = Network(10)
    a, b = pair(net)
    challenge = seal(b, a, PathChallenge(b"12345678"))
    (answer,) = [t for t in sent_by(a, challenge, ELSEWHERE) if t.destination == ELSEWHERE]
    assert len(answer.payload) < 3 * len(challenge)
    assert peer_at(a, b).mapping.current == locator(b)


# --- data from elsewhere


def test_a_nat_that_binds_anew_is_followed_within_two_round_trips() -> None:
    """B keeps its address for itself; the network shows A another one."""
    net = Network(11, latency_s=0.02)
    a, b = pair(net)
    b.locator = NEW
    b.send(a, b"from elsewhere")
    net.run_for(0.1)
    assert peer_at(a, b).mapping.current == NEW
    assert net.run_until(lambda: a.can_reach(b)) < 0.1


def test_where_the_peer_says_it_is_is_asked_again_while_it_seems_to_be_elsewhere() -> None:
    """Every five seconds, for as long as there is traffic: whoever relayed may be gone by now."""
    net = Network(14, latency_s=0.02)
    a, b = pair(net)
    listed = locator(b)
    b.locator = NEW
    net.run_until(lambda: b.can_reach(a) and peer_at(a, b).mapping.current == NEW)
    tap = Tap(net)
    net.run_for(30)
    assert len([t for t in tap.from_host(a) if t.destination == listed]) <= 1  # silence is not broken
    for _ in range(120):
        b.send(a, b"still here")
        net.run_for(0.1)
    asked = [t for t in tap.from_host(a) if t.destination == listed]
    assert 2 <= len(asked) <= 4
    assert peer_at(a, b).mapping.current == NEW
    b.aliases = {listed}
    net.run_until(lambda: b.can_reach(a) and peer_at(a, b).mapping.current == listed, limit_s=6)


def test_datagrams_that_somebody_passes_on_do_not_move_the_peer_for_long() -> None:
    """An enemy races copies from its own address and relays both ways: the listed place wins."""
    net = Network(12, latency_s=0.02)
    a, b = pair(net)
    tap = Tap(net)
    for _ in range(20):
        tap.seen.clear()
        b.send(a, b"hello")
        copy = bytes(tap.from_host(b)[0].payload)
        a.handle_datagram(copy, ELSEWHERE)
        net.run_for(0.005)
        for transmit in tap.from_host(a):  # what A sends to the enemy reaches B, and B's answer A
            if transmit.destination == ELSEWHERE:
                b.handle_datagram(bytes(transmit.payload), ELSEWHERE)
                for answer in tap.from_host(b):
                    if answer.destination == ELSEWHERE:
                        a.handle_datagram(bytes(answer.payload), ELSEWHERE)
        net.run_for(0.2)
        assert peer_at(a, b).mapping.current == locator(b)


def test_foreign_sources_are_asked_at_most_once_a_second() -> None:
    net = Network(13)
    a, b = pair(net)
    tap = Tap(net)
    tap.stop = lambda sender, transmit: sender is a
    for _ in range(200):
        b.send(a, b"hello")
        datagram = bytes(tap.from_host(b)[-1].payload)
        a._carry_out(a.node.handle_datagram(datagram, ELSEWHERE, net.now))
        net.run_for(0.005)
    assert len([t for t in tap.from_host(a) if t.destination == ELSEWHERE]) <= 4


@pytest.mark.parametrize("host", ["127.0.0.1", "224.0.0.1", "240.0.0.7"])
def test_the_first_sealed_datagram_places_nobody_where_nobody_can_be(host: str) -> None:
    """It is what puts a handshake in force; an enemy may have put another source on it."""
    net = Network(14)
    a, b = pair(net)
    tap = Tap(net)
    tap.stop = lambda sender, transmit: sender is b and bytes(transmit.payload[:4]) != bytes(4)
    b.crash()
    b.boot()
    net.run_for(0.2)
    confirming = [bytes(t.payload) for t in tap.from_host(b) if bytes(t.payload[:4]) != bytes(4)]
    a.handle_datagram(confirming[0], Locator(host, 5847))
    assert peer_at(a, b).mapping.current == locator(b)


# --- answers that get lost


def test_a_place_on_trial_is_asked_again_when_its_answer_is_lost() -> None:
    """Two moves within a second: the second place gets no bytes at all before it has proved itself."""
    net = Network(21, latency_s=0.02)
    a, b = pair(net)
    net.run_for(1)
    b.move_to(net.new_address())
    net.run_for(0.3)
    lost: list[Transmit] = []
    tap = Tap(net)

    def is_answer(sender: SimHost, transmit: Transmit) -> bool:
        answers = sender is b and len(lost) == 0 and peer_at(a, b).trial.under_way
        if answers:
            lost.append(transmit)
        return answers

    tap.stop = is_answer
    b.move_to(net.new_address())
    a.send(b, b"now")
    net.run_until(lambda: peer_at(a, b).mapping.current == locator(b))
    net.run_until(lambda: bool(lost))
    net.run_until(lambda: b"now" in b.received and not peer_at(a, b).trial.under_way, limit_s=0.3)


def test_the_first_words_of_a_restarted_host_are_repeated_until_one_arrives() -> None:
    """Nobody has traffic: without them its partner would keep the session of a life that is over."""
    net = Network(22, latency_s=0.02)
    a, b = pair(net)
    net.run_for(1)
    b.crash()
    net.run_for(1)
    tap = Tap(net)
    tap.stop = lambda sender, transmit: sender is b and not is_handshake(bytes(transmit.payload))
    b.boot()
    net.run_for(0.2)
    assert peer_at(a, b).sessions.sending(net.now) is not None
    tap.stop = lambda sender, transmit: False
    net.run_for(1)
    assert session_at(a, b).remote_index == session_at(b, a).local_index
    tap.seen.clear()
    net.run_for(10)
    assert tap.seen == []  # and then there is silence again


def test_an_address_of_ours_that_dies_while_the_peer_is_still_heard_is_left() -> None:
    """B hears A by its second address and speaks by its first, which is dead: A says so by asking."""
    net = Network(23, latency_s=0.02)
    a, b = pair(net)
    first, second = net.new_address(), net.new_address()
    b.move_to(first, second)
    net.run_until(lambda: a.can_reach(b) and b.can_reach(a))
    net.run_for(2)
    peer_at(a, b).mapping.current = Locator(second, 5847)
    net.dead.add(first)
    begun_at, arrived = net.now, len(a.received)
    while len(a.received) == arrived:
        a.send(b, b"can you hear me")
        b.send(a, b"yes")
        net.run_for(0.01)
        assert net.now - begun_at < 3
    assert peer_at(b, a).source == second


def test_a_handshake_passes_where_the_first_of_our_addresses_is_dead() -> None:
    net = Network(24, latency_s=0.02)
    a, b = pair(net)
    first, second = net.new_address(), net.new_address()
    b.move_to(first, second)
    net.run_until(lambda: a.can_reach(b) and b.can_reach(a))
    net.run_for(6)  # until A has stored where B is
    net.dead.add(first)
    a.crash()
    net.run_for(1)
    a.boot()
    net.run_until(lambda: a.can_reach(b) and b.can_reach(a), limit_s=10)
