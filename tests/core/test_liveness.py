"""A path that dies without an event is noticed by both ends; an idle one costs nothing."""

from __future__ import annotations

from vipnet.core.liveness import Liveness, LivenessStep
from vipnet.core.rtt import RttEstimator
from vipnet.policy import Policy
from vipnet.types import Instant

START = Instant(1000.0)
RTT_S = 0.02


def liveness(nat_keepalive_s: float = 0.0) -> Liveness:
    policy = Policy(nat_keepalive_s=nat_keepalive_s)
    rtt = RttEstimator(policy)
    rtt.sample(RTT_S)
    return Liveness(rtt, policy)


def steps(live: Liveness, until_s: float, start: Instant = START) -> list[tuple[float, LivenessStep]]:
    """What becomes due, and when, in seconds from START."""
    found = []
    while (at := live.next_timeout()) is not None and at <= start + until_s:
        due = live.handle_timeout(at)
        after = live.next_timeout()
        assert due or after != at, "a deadline that does nothing and stays"
        found += [(round(at - START, 3), step) for step in due]
    return found


def test_received_data_is_answered_after_200_ms_once() -> None:
    live = liveness()
    live.received_data(START)
    live.received_data(Instant(START + 0.1))
    assert steps(live, 0.9) == [(0.2, LivenessStep.KEEPALIVE)]


def test_data_of_our_own_is_answer_enough() -> None:
    live = liveness()
    live.received_data(START)
    live.sent_data(Instant(START + 0.1))
    live.received()
    assert steps(live, 0.9) == []


def test_unanswered_data_is_probed_three_times_then_the_path_is_dead() -> None:
    live = liveness()
    live.sent_data(START)
    probe = LivenessStep.PROBE
    assert steps(live, 60) == [(1.0, probe), (1.05, probe), (1.1, probe), (1.15, LivenessStep.DEAD)]


def test_a_slow_path_gets_three_round_trips() -> None:
    policy = Policy()
    rtt = RttEstimator(policy)
    rtt.sample(0.6)
    live = Liveness(rtt, policy)
    live.sent_data(START)
    assert [round(at, 2) for at, _ in steps(live, 60)] == [1.8, 2.4, 3.0, 3.6]


def test_any_answer_ends_the_probing() -> None:
    live = liveness()
    live.sent_data(START)
    assert len(steps(live, 1.06)) == 2
    live.received()
    assert steps(live, 60) == []


def test_more_data_does_not_put_off_the_probe() -> None:
    live = liveness()
    for number in range(20):
        live.sent_data(Instant(START + number * 0.05))
    assert steps(live, 1.01) == [(1.0, LivenessStep.PROBE)]


def test_data_after_death_asks_again() -> None:
    live = liveness()
    live.sent_data(START)
    steps(live, 2)
    live.sent_data(Instant(START + 5))
    assert steps(live, 60)[-1] == (6.15, LivenessStep.DEAD)


def test_data_that_stopped_makes_the_receiver_probe_then_search_then_fall_silent() -> None:
    live = liveness()
    live.received_data(START)
    search = LivenessStep.SEARCH
    assert steps(live, 600)[1:] == [
        (1.0, LivenessStep.PROBE_QUIET),
        (1.25, search),
        (3.25, search),
        (7.25, search),
        (15.25, search),
    ]


def test_an_answer_to_the_quiet_probe_means_that_the_peer_has_nothing_to_say() -> None:
    live = liveness()
    live.received_data(START)
    steps(live, 1.0)
    live.received()
    assert steps(live, 600) == []


def test_keepalives_for_a_nat_end_with_the_lease() -> None:
    live = liveness(nat_keepalive_s=25.0)
    live.sent_data(START)
    live.received()
    assert [at for at, _ in steps(live, 600)] == [25.0, 50.0]


def test_an_idle_path_has_no_deadline() -> None:
    assert liveness().next_timeout() is None
