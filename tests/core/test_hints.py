"""One move's hint to one partner: when it is sent again, when DNS is asked."""

from __future__ import annotations

from itertools import pairwise

from vipnet.core.hints import HintSender
from vipnet.core.rtt import RttEstimator
from vipnet.policy import Policy, paper_policy
from vipnet.types import Instant

START = Instant(1000.0)


def sender(policy: Policy, rtt_s: float = 0.02) -> HintSender:
    rtt = RttEstimator(policy)
    for _ in range(100):
        rtt.sample(rtt_s)  # without variation in the end
    return HintSender(7, rtt, policy, START)


def run(hints: HintSender, until_s: float, answer_s: float | None = None) -> tuple[list[float], list[float]]:
    """When the hint was sent again and when DNS was asked, seconds from the start.

    DNS answers after ANSWER_S; None: never.
    """
    sent: list[float] = []
    asked: list[float] = []
    answers: list[float] = []
    now = START
    while True:
        at = min([at for at in (hints.next_timeout(), *answers) if at is not None], default=None)
        if at is None or at > START + until_s:
            return sent, asked
        assert at >= now
        now = Instant(at)
        if now in answers:
            answers.remove(now)
            step = hints.handle_lookup(now)
        else:
            step = hints.handle_timeout(now)
        if step.send:
            sent.append(round(now - START, 6))
        if step.lookup:
            asked.append(round(now - START, 6))
            if answer_s is not None:
                answers.append(now + answer_s)


def test_retransmissions_double_up_to_a_second() -> None:
    sent, _ = run(sender(Policy()), until_s=5)
    gaps = [later - earlier for earlier, later in pairwise([0.0, *sent])]
    assert [round(gap, 3) for gap in gaps[:7]] == [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0]


def test_dns_is_asked_after_three_round_trips() -> None:
    _, asked = run(sender(Policy(), rtt_s=0.05), until_s=0.2)
    assert asked == [0.15]


def test_the_time_out_is_at_least_10_and_at_most_500_ms() -> None:
    assert run(sender(Policy(), rtt_s=0.0001), until_s=1)[1][0] == 0.01
    assert run(sender(Policy(), rtt_s=3.0), until_s=1)[1][0] == 0.5


def test_a_slow_answer_of_dns_is_awaited_not_multiplied() -> None:
    _, asked = run(sender(Policy()), until_s=60)
    assert len(asked) == 1


def test_each_answer_of_dns_sends_the_hint_again() -> None:
    sent, asked = run(sender(Policy(), rtt_s=0.3), until_s=0.505, answer_s=0.004)
    assert asked == [0.5]
    assert 0.504 in sent


def test_dns_is_asked_again_in_growing_steps_then_now_and_then() -> None:
    policy = Policy(lookup_retry_s=0.02, lookup_retry_max_s=1.0, lookup_idle_retry_s=5.0)
    _, asked = run(sender(policy), until_s=60, answer_s=0.0)
    gaps = [round(later - earlier, 3) for earlier, later in pairwise(asked)]
    assert gaps[:8] == [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0]
    assert set(gaps[-5:]) == {5.0}


def test_profile_paper_waits_500_ms_and_sends_nothing_meanwhile() -> None:
    """Paper section 4: the time-out of the hint, then DNS, then the hint again."""
    sent, asked = run(sender(paper_policy()), until_s=1.2, answer_s=0.03)
    assert asked == [0.5, 1.03]
    assert sent == [0.53, 1.06]


def test_profile_paper_waits_all_of_it_though_dns_was_asked_before_for_something_else() -> None:
    before = Instant(START + 0.1)
    assert not sender(paper_policy()).handle_lookup(before).send
    assert sender(Policy()).handle_lookup(before).send  # by default what is known is used


def test_who_is_told_after_others_has_longer_to_answer() -> None:
    policy = Policy()
    hints = HintSender(7, RttEstimator(policy), policy, START, turn=500)
    later_s = 500 * policy.hint_turn_s
    first = HintSender(7, RttEstimator(policy), policy, START)
    sent, asked = run(hints, until_s=2)
    sent_first, asked_first = run(first, until_s=2)
    assert (sent[0], asked[0]) == (round(sent_first[0] + later_s, 6), round(asked_first[0] + later_s, 6))


def test_paper_asks_dns_after_its_time_however_many_are_told() -> None:
    policy = paper_policy()
    _, asked = run(HintSender(7, RttEstimator(policy), policy, START, turn=500), until_s=0.6)
    assert asked == [0.5]


def test_dns_is_asked_later_while_it_may_not_be() -> None:
    policy = Policy()
    hints = sender(policy, rtt_s=0.05)
    at = Instant(START + 0.15)
    assert not hints.handle_timeout(at, may_look_up=False).lookup
    assert not hints.handle_timeout(Instant(at + policy.lookup_wait_s / 2)).lookup
    assert hints.handle_timeout(Instant(at + policy.lookup_wait_s)).lookup
