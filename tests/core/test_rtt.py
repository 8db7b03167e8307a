"""Round-trip time as RFC 6298 has it, and the time-outs made of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnet.core.rtt import RttEstimator
from vipnet.policy import Policy, paper_policy


def test_the_first_sample_counts_wholly() -> None:
    """RFC 6298 section 2.2."""
    rtt = RttEstimator(Policy())
    assert rtt.rtt_s == Policy().initial_rtt_s
    rtt.sample(0.2)
    assert rtt.srtt_s == 0.2
    assert rtt.rto_s == pytest.approx(0.2 + 4 * 0.1)


def test_later_samples_are_smoothed() -> None:
    """RFC 6298 section 2.3."""
    rtt = RttEstimator(Policy())
    rtt.sample(0.2)
    rtt.sample(0.1)
    assert rtt.srtt_s == pytest.approx(7 / 8 * 0.2 + 1 / 8 * 0.1)
    assert rtt.rto_s == pytest.approx(rtt.rtt_s + 4 * (3 / 4 * 0.1 + 1 / 4 * 0.1))


def test_a_rough_sample_holds_until_a_clean_one_comes() -> None:
    """The responder of a handshake may ask DNS before it answers."""
    rtt = RttEstimator(Policy())
    rtt.rough_sample(0.5)
    assert rtt.rtt_s == 0.5
    rtt.rough_sample(60.0)
    assert rtt.rtt_s == 1.0  # not for so long that a dead path would go unnoticed
    rtt.sample(0.02)
    assert rtt.rtt_s == 0.02
    rtt.rough_sample(1.5)
    assert rtt.rtt_s == 0.02


def test_an_answer_out_of_a_crowd_shows_only_that_the_path_is_no_longer() -> None:
    rtt = RttEstimator(Policy())
    rtt.sample(0.2, crowded=True)
    assert rtt.rtt_s == 0.2  # better than nothing
    rtt.sample(0.3, crowded=True)
    assert rtt.rtt_s == 0.2
    rtt.sample(0.1, crowded=True)
    assert 0.1 < rtt.rtt_s < 0.2
    rtt.sample(0.3)
    assert rtt.rtt_s > 0.2


@given(st.lists(st.floats(0, 100), max_size=20))
def test_time_outs_keep_their_bounds(samples: list[float]) -> None:
    policy = Policy()
    rtt, paper = RttEstimator(policy), RttEstimator(paper_policy())
    for sample_s in samples:
        rtt.sample(sample_s)
        paper.sample(sample_s)
    assert rtt.rto_s >= policy.rto_min_s
    assert rtt.rto_s >= rtt.rtt_s
    assert policy.hint_timeout_min_s <= rtt.hint_timeout_s <= policy.hint_timeout_s
    assert paper.hint_timeout_s == 0.5  # paper section 4, whatever was measured
