"""Path challenges: what an answer proves, and what it does not."""

from __future__ import annotations

from random import Random

from vipnet.core.path import Challenges
from vipnet.policy import CHALLENGE_SIZE
from vipnet.types import Instant, Locator

A, B = Locator("192.0.2.1", 5847), Locator("192.0.2.2", 5847)
START = Instant(1000.0)


def test_an_answer_proves_the_place_that_was_challenged_and_times_it() -> None:
    challenges = Challenges(Random(1).randbytes)
    to_a, to_b = challenges.issue(A, START), challenges.issue(B, START, "192.0.2.9")
    assert len(to_a) == CHALLENGE_SIZE
    answered = challenges.answer(to_b, Instant(START + 0.25))
    assert answered is not None
    assert (answered.locator, answered.source, answered.rtt_s) == (B, "192.0.2.9", 0.25)
    assert challenges.answer(to_a, START) is not None


def test_an_answer_counts_once() -> None:
    challenges = Challenges(Random(1).randbytes)
    data = challenges.issue(A, START)
    assert challenges.answer(data, START) is not None
    assert challenges.answer(data, START) is None


def test_guesses_and_late_answers_prove_nothing() -> None:
    challenges = Challenges(Random(1).randbytes)
    data = challenges.issue(A, START)
    assert challenges.answer(bytes(CHALLENGE_SIZE), START) is None
    assert challenges.answer(data, Instant(START + 60)) is None


def test_few_are_outstanding_and_the_newest_stay() -> None:
    challenges = Challenges(Random(1).randbytes)
    issued = [challenges.issue(A, START) for _ in range(1000)]
    known = [data for data in issued if challenges.answer(data, START) is not None]
    assert 0 < len(known) <= 64
    assert issued[-1] in known
