"""core/trial.py: how much goes to a place that has not proved itself."""

from __future__ import annotations

from vipnet.core.trial import Trial
from vipnet.policy import AMPLIFICATION, PARTNER_GRACE_BYTES
from vipnet.types import Instant, Locator

OLD, OLDER = Locator("192.0.2.1", 5847), Locator("192.0.2.2", 5847)
START = Instant(1000.0)


def on_trial() -> Trial:
    trial = Trial()
    trial.begin(OLD, START)
    return trial


def allowance(trial: Trial) -> int:
    """Bytes that it still takes, one by one."""
    return next(size for size in range(PARTNER_GRACE_BYTES + 1) if not trial.takes(1))


def test_without_a_trial_everything_goes_there() -> None:
    trial = Trial()
    assert not trial.under_way
    assert trial.takes(1 << 30)


def test_the_grace_and_no_more() -> None:
    trial = on_trial()
    assert trial.takes(PARTNER_GRACE_BYTES)
    assert not trial.takes(1)
    assert trial.fallback == OLD


def test_what_does_not_fit_does_not_count() -> None:
    trial = on_trial()
    assert not trial.takes(PARTNER_GRACE_BYTES + 1)
    assert trial.takes(PARTNER_GRACE_BYTES)


def test_what_is_received_allows_three_times_as_much() -> None:
    trial = on_trial()
    trial.takes(PARTNER_GRACE_BYTES)
    trial.received(100)
    assert allowance(trial) == AMPLIFICATION * 100 == 300


def test_a_proof_ends_it() -> None:
    trial = on_trial()
    trial.takes(PARTNER_GRACE_BYTES)
    trial.end()
    assert not trial.under_way
    assert trial.takes(1 << 30)
    assert trial.fallback is None


def test_the_next_place_gets_no_grace_of_its_own() -> None:
    trial = on_trial()
    trial.takes(PARTNER_GRACE_BYTES)
    trial.begin(OLDER, Instant(START + 100))
    assert not trial.takes(1)
    assert trial.fallback == OLD, "that one was proved"


def test_after_a_proof_there_is_grace_once_a_second() -> None:
    trial = on_trial()
    trial.end()
    trial.begin(OLD, Instant(START + 0.5))
    assert trial.under_way
    assert not trial.takes(1)
    trial.end()
    trial.begin(OLD, Instant(START + 1.0))
    assert trial.takes(PARTNER_GRACE_BYTES)
