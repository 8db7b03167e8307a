"""What a move lost is sent again, and nothing else; sealed datagrams are not kept for long."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.pairs import Tap, pair, peer_at
from tests.core.test_session import make
from tests.sim.network import Network, SimHost

from vipnet.core.outputs import Transmit
from vipnet.core.stash import Sent, Stash, StashRoom
from vipnet.crypto.replay import ReplayWindow
from vipnet.policy import Policy
from vipnet.types import Instant, Locator
from vipnet.wire.control import Report

OLD, NEW = Locator("192.0.2.1", 5847), Locator("198.51.100.7", 5847)
START = Instant(1000.0)
SIZE = len(make(ours=True).seal(b"packet", 1))


def filled(
    number: int,
    *,
    to: Locator = OLD,
    policy: Policy | None = None,
    lost_since: Instant = START,
    in_outage: bool = True,
) -> tuple[Stash, list[Sent]]:
    """A stash with NUMBER datagrams of one session, a millisecond apart."""
    policy = policy or Policy()
    stash = Stash(policy, StashRoom(policy), lambda now: lost_since, lambda: in_outage)
    session, sent = make(ours=True), []
    for counter in range(number):
        at = Instant(START + counter / 1000)
        sent.append(Sent(session, counter, session.seal(b"packet", 1), to, at, at))
        stash.keep(sent[-1])
    return stash, sent


def report(received: set[int], max_gaps: int = 64) -> Report:
    window = ReplayWindow()
    for counter in sorted(received):
        window.mark(counter)
    base, highest, gaps = window.report(max_gaps)
    return Report(101, base, highest, gaps)


@given(st.sets(st.integers(0, 99), min_size=1))
def test_exactly_what_is_missing_goes_again_oldest_first(received: set[int]) -> None:
    stash, sent = filled(100)
    missing = stash.missing([report(received)], NEW, START, START, sent[0].session)
    assert [entry.counter for entry in missing] == [n for n in range(100) if n not in received]


@given(st.sets(st.integers(0, 99), min_size=1), st.integers(1, 5))
def test_nothing_is_lost_by_gaps_that_do_not_fit_the_report(received: set[int], max_gaps: int) -> None:
    """Rather some datagrams go again for nothing: the newest gaps are exact, the older ones are one."""
    stash, sent = filled(100)
    said = report(received, max_gaps)
    missing = [entry.counter for entry in stash.missing([said], NEW, START, START, sent[0].session)]
    lost = [n for n in range(100) if n not in received]
    assert len(said.gaps) <= max_gaps
    assert set(lost) <= set(missing)
    newer = said.base + sum(said.gaps[0]) if said.gaps else 0
    assert [n for n in missing if n >= newer] == [n for n in lost if n >= newer]


def test_what_went_to_the_path_in_use_may_still_be_under_way() -> None:
    stash, sent = filled(10, to=NEW)
    answered_at = Instant(START + 0.0075)
    reports = [report({0, 1, 5})]
    missing = stash.missing(reports, NEW, START, answered_at, sent[0].session)
    assert [entry.counter for entry in missing] == [2, 3, 4, 6, 7]
    # Nothing says when the path came back: all of it may be lost.
    missing = stash.missing(reports, NEW, START, None, sent[0].session)
    assert [entry.counter for entry in missing] == [2, 3, 4, 6, 7, 8, 9]


def test_what_was_sealed_before_the_outage_is_not_its_loss() -> None:
    stash, sent = filled(10)
    since = Instant(START + 0.0045)
    missing = stash.missing([report({0, 4, 7})], NEW, since, Instant(START + 0.1), sent[0].session)
    assert [entry.counter for entry in missing] == [5, 6, 8, 9]


def test_of_what_nothing_has_arrived_any_more_is_the_loss_however_lately_the_peer_was_heard() -> None:
    stash, sent = filled(10)
    now = Instant(START + 0.1)
    for since in (START, now):
        missing = stash.missing([report({*range(5), 99})], NEW, since, now, sent[0].session)
        assert [entry.counter for entry in missing] == [5, 6, 7, 8, 9]
    assert not stash.missing([report({*range(5), 99})], OLD, now, now, sent[0].session)


def test_a_path_that_dies_one_way_loses_nothing() -> None:
    """A hears nothing for a second while b hears a all along, and does not know."""
    net = Network(4, latency_s=0.01)
    a, b = pair(net)
    net.run_for(0.1)
    a.received.clear()
    carry, old = net.send, a.locator

    def lose(sender: SimHost, transmit: Transmit) -> None:
        if sender is not b or transmit.destination != old:
            carry(sender, transmit)

    net.send = lose  # type: ignore[method-assign]
    for number in range(100):
        a.send(b, b"still here")
        b.send(a, b"n%03d" % number)
        net.run_for(0.01)
    assert not a.received
    a.move_to("203.0.113.9")
    net.run_for(1)
    assert [int(body[1:4]) for body in a.received] == list(range(100))


@given(st.lists(st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1)), max_size=128))
def test_nonsense_in_a_report_costs_nothing(gaps: list[tuple[int, int]]) -> None:
    stash, sent = filled(20)
    nonsense = Report(101, 0, 2**63 - 1, tuple(gaps))
    stash.missing([nonsense] * 4, NEW, START, START, sent[0].session)


def test_datagrams_are_kept_for_two_seconds_while_the_path_is_alive() -> None:
    stash, sent = filled(10, in_outage=False)
    stash.expire(Instant(START + 0.005 + Policy().stash_s))
    missing = stash.missing([report({0})], NEW, START, START, sent[0].session)
    assert [entry.counter for entry in missing] == [5, 6, 7, 8, 9]


def test_what_may_be_lost_is_kept_while_the_path_is_gone() -> None:
    stash, _ = filled(10, lost_since=Instant(START + 0.0035))
    stash.expire(Instant(START + 30))
    assert stash.oldest == START + 0.004
    assert stash.dropped == 0


@pytest.mark.parametrize(("in_outage", "lost"), [(True, 6), (False, 0)])
def test_what_an_outage_outlives_is_counted(in_outage: bool, lost: int) -> None:
    stash, _ = filled(10, lost_since=Instant(START + 0.0035), in_outage=in_outage)
    stash.expire(Instant(START + 61))
    assert stash.oldest is None
    assert stash.dropped == lost


def test_a_stash_is_bounded_and_the_newest_stay() -> None:
    stash, sent = filled(10, policy=Policy(stash_min_bytes=2 * SIZE, stash_bytes=4 * SIZE))
    missing = stash.missing([], NEW, START, START, sent[0].session)
    assert [entry.counter for entry in missing] == [6, 7, 8, 9]
    assert stash.dropped == 6


def test_more_than_little_is_kept_only_of_what_may_be_under_way() -> None:
    policy = Policy(stash_min_bytes=2 * SIZE, stash_bytes=9 * SIZE)
    stash, sent = filled(10, policy=policy, lost_since=Instant(START + 0.0055))
    missing = stash.missing([], NEW, START, START, sent[0].session)
    assert [entry.counter for entry in missing] == [6, 7, 8, 9]
    stash, sent = filled(10, policy=policy, lost_since=Instant(START + 1))
    missing = stash.missing([], NEW, START, START, sent[0].session)
    assert [entry.counter for entry in missing] == [8, 9]
    assert stash.dropped == 0  # nobody needed them


def test_a_bulk_transfer_pushes_out_its_own_and_nothing_else() -> None:
    policy = Policy(stash_min_bytes=2 * SIZE, stash_bytes=6 * SIZE)
    stash, sent = filled(4, policy=policy)
    session = sent[0].session
    for number in range(4, 20):
        at = Instant(START + number / 1000)
        stash.keep(Sent(session, number, session.seal(b"packet", 1), OLD, at, at, repeated=True))
    missing = stash.missing([], NEW, START, START, session)
    assert [entry.counter for entry in missing] == [0, 1, 2, 3, 18, 19]
    assert stash.dropped == 0  # TCP has them still
    # Of what was sealed since then nothing is gone; a connection's oldest segment may have been before.
    assert START + 0.017 < (stash.oldest or 0) <= START + 0.018


def test_room_that_others_have_taken_is_counted_as_excess() -> None:
    stash, sent = filled(10, policy=Policy(stash_total_bytes=3 * SIZE))
    missing = stash.missing([], NEW, START, START, sent[0].session)
    assert [entry.counter for entry in missing] == [7, 8, 9]
    assert stash.dropped == 7


def test_idle_peers_give_the_common_room_back() -> None:
    """Else a few that were busy once would leave nothing for all others."""
    net = Network(1)
    policy = Policy(stash_total_bytes=10_000)
    a, b = pair(net, policy=policy)
    c = net.host("c.example", policy=policy)
    net.run_for(1)
    net.run_until(lambda: a.can_reach(c))
    for _ in range(100):
        a.send(b, bytes(500))
    assert a.node.host.stash_room.free_bytes < 1000
    net.run_for(61)
    assert a.node.host.stash_room.free_bytes == 10_000


@pytest.mark.parametrize("to_both", [False, True])
def test_a_replay_larger_than_the_grace_of_a_new_place_waits_for_its_proof_and_goes_on(to_both: bool) -> None:
    net = Network(2, latency_s=0.05)
    a, b = pair(net)
    b.received.clear()
    for number in range(400):
        a.send(b, b"n%03d" % number + bytes(1000))
    net.run_for(0.001)
    b.move_to("203.0.113.9")
    if to_both:
        a.move_to("198.51.100.7")
    net.run_for(2)
    for number in range(400, 410):
        a.send(b, b"n%03d" % number)
    net.run_for(1)
    assert sorted(int(body[1:4]) for body in b.received) == list(range(410))
    assert not peer_at(a, b).replaying
    assert peer_at(a, b).replay_at is None


def test_a_replay_of_many_small_datagrams_leaves_room_for_what_else_is_to_be_said() -> None:
    """Sent all at once they would keep hints, acks and answers waiting, here and at the peer."""
    net = Network(4)
    a, b = pair(net)
    b.received.clear()
    for number in range(300):
        a.send(b, b"n%03d" % number)
    net.run_for(0.001)
    b.move_to("203.0.113.9")
    net.run_until(lambda: a.node.host.counters.get("replayed", 0) > 0)
    assert a.node.host.counters["replayed"] == Policy().replay_burst_datagrams
    net.run_for(0.2)
    assert [int(body[1:4]) for body in b.received] == list(range(300))


def test_a_place_is_asked_again_when_the_answer_to_the_challenge_of_the_ack_is_lost() -> None:
    """All that the peer says meanwhile proves nothing, but keeps its path from being doubted."""
    net = Network(2, latency_s=0.02)
    a, b = pair(net)
    b.received.clear()
    for number in range(400):
        a.send(b, b"n%03d" % number + bytes(1000))
    net.run_for(0.001)
    tap = Tap(net)
    b.move_to("203.0.113.9")
    lost: list[Transmit] = []

    def is_first_answer(sender: SimHost, transmit: Transmit) -> bool:
        """After the hint, what is not a packet of 300 bytes."""
        if sender is b and not lost and len(transmit.payload) < 300:
            lost.append(transmit)
            return True
        return False

    tap.stop = is_first_answer
    for _ in range(30):
        b.send(a, bytes(300))
        net.run_for(0.01)
    assert lost
    assert sorted(int(body[1:4]) for body in b.received) == list(range(400))


def test_no_deadline_stays_while_a_replay_waits() -> None:
    """The second place is named while the replay to the first goes on step by step."""
    net = Network(3, latency_s=0.05)
    a, b = pair(net)
    net.run_for(2)
    b.received.clear()
    for number in range(1000):
        a.send(b, b"n%03d" % number + bytes(1000))
    net.run_for(0.001)
    b.move_to("203.0.113.9")
    net.run_until(lambda: peer_at(a, b).replay_at is not None)
    b.move_to("203.0.113.10")
    net.run_for(3)
    assert sorted(int(body[1:4]) for body in b.received) == list(range(1000))


def test_a_replay_that_the_next_move_loses_is_sent_again() -> None:
    net = Network(4, latency_s=0.1)
    a, b = pair(net)
    net.run_for(1)
    a.move_to("198.51.100.6")
    net.run_for(0.5)
    a.received.clear()
    for number in range(5):
        b.send(a, b"n%d" % number)
    for number in range(60):  # B hears A nearly all the time
        net.at(0.01 * number, lambda: a.send(b, b"and more"))
    net.run_for(0.001)
    a.move_to("198.51.100.7")
    # The second place within a second has to prove itself before it gets a replay.
    net.run_until(lambda: b.node.host.counters.get("replayed", 0) == 5, limit_s=0.5)
    net.run_for(0.05)
    a.move_to("198.51.100.8")
    net.run_for(2)
    assert sorted(a.received) == [b"n%d" % number for number in range(5)]


@pytest.mark.parametrize("seed", range(5))
def test_no_packet_is_lost_or_doubled_by_many_moves_of_both(seed: int) -> None:
    random = Random(seed)
    net = Network(seed, latency_s=0.02, jitter_s=0.004, duplication=0.1)
    a, b = pair(net)
    sent = 0
    for turn in range(60):
        for _ in range(random.randrange(30)):
            a.send(b, b"n%d" % sent)
            sent += 1
            net.run_for(0.002)
        if turn % 2:
            a.move_to(net.new_address())
        if turn % 3 == 0:
            b.move_to(net.new_address())
        net.run_for(random.choice((0.0, 0.01, 0.5)))
    net.run_for(5)
    numbers = sorted(int(body[1:]) for body in b.received if body[:1] == b"n")
    assert numbers == list(range(sent))
    assert peer_at(a, b).hints is None
