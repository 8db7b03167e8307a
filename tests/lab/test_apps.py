"""The applications' own judgement: what is lost, doubled or changed does not go unseen."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.lab.apps.clients import screen_word
from tests.lab.apps.conversation import Conversation
from tests.lab.apps.rtp import Arrivals, Frames, RtpPacket, arrivals, frames, summary
from tests.lab.apps.silence import longest_silence_ms
from tests.lab.labs import wait_until


@contextmanager
def talking_through(*command: str) -> Iterator[Conversation]:
    """A conversation with a shell of this machine; COMMAND filters its answers."""
    with (
        subprocess.Popen(["sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell,
        subprocess.Popen(command, stdin=shell.stdout, stdout=subprocess.PIPE) as answers,
    ):
        assert shell.stdin is not None
        assert answers.stdout is not None
        try:
            with Conversation(
                shell.stdin.fileno(), answers.stdout.fileno(), greeting=b"echo ready\n"
            ) as talk:
                yield talk
        finally:
            shell.kill()


def test_right_answers_are_counted() -> None:
    with talking_through("cat") as talk:
        talk.wait_until_ready()
        wait_until(lambda: talk.answered >= 3, "three answers")
        talk.finish()
        assert talk.asked == talk.answered >= 3


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("4d", "answer 3"),  # sed's line 1 says ready
        ("4p", "answer 4"),
        ("4s/.$/-/", "answer 3"),
        ("4s/^/1/", "answer 3"),
        ("4q", "went away after 3 answers"),
    ],
    ids=["lost", "doubled", "changed", "another-process", "ended"],
)
def test_damage_is_seen(damage: str, complaint: str) -> None:
    with (
        talking_through("sed", "-u", damage) as talk,
        pytest.raises(AssertionError, match=complaint),
    ):
        wait_until(partial(_is_over, talk), "a complaint")


def _is_over(talk: Conversation) -> bool:
    talk.check()
    return False


@given(st.lists(st.booleans(), min_size=1, max_size=200), st.integers(0, 2**16 - 1))
def test_gaps_are_what_did_not_arrive(came: list[bool], first: int) -> None:
    numbers = [(first + offset) % 2**16 for offset, here in enumerate([True, *came, True]) if here]
    found = arrivals(numbers)
    assert found.received == len(numbers)
    assert sum(found.gaps) == came.count(False)
    assert (found.duplicated, found.late) == (0, 0)


def test_arrivals_across_the_end_of_16_bits() -> None:
    assert arrivals([65534, 65535, 1, 0, 1, 5]) == Arrivals(received=6, gaps=(3,), duplicated=1, late=1)


def packet(sequence: int, timestamp: int) -> RtpPacket:
    return RtpPacket(sequence, "240.0.0.1:5004", 2, 96, sequence % 2**16, timestamp % 2**32, 99)


# Three packets a frame, 25 frames a second; numbers and stamps begin shortly before their ends.
_VIDEO = [packet(65_530 + place, 2**32 - 9_000 + place // 3 * 3_600) for place in range(30)]


def test_frames_are_whole_when_nothing_is_missing() -> None:
    assert frames(_VIDEO) == Frames(sent=10, whole=10)


@pytest.mark.parametrize(
    ("missing", "whole"),
    [
        ({4}, 9),  # in the middle of the second
        ({3}, 8),  # at its beginning: it might have been the first one's end
        ({3, 4, 5}, 7),  # all of it: and nobody knows how long its neighbours were
        ({4, 7}, 8),
    ],
)
def test_frames_that_lack_something_are_not(missing: set[int], whole: int) -> None:
    came = [one for place, one in enumerate(_VIDEO) if place not in missing]
    assert frames(came) == Frames(sent=10, whole=whole)


def test_the_longest_silence_since_an_instant() -> None:
    heard_ns = [0, 50_000_000, 60_000_000, 90_000_000]
    assert longest_silence_ms(heard_ns) == 50
    assert longest_silence_ms(heard_ns, since_ns=55_000_000) == 30
    assert longest_silence_ms(heard_ns, since_ns=10_000_000) == 50  # it lasts on
    assert longest_silence_ms([]) == 0


def test_a_second_stream_or_source_is_no_survival() -> None:
    one = RtpPacket(1, "240.0.0.1:5004", 2, 96, 7, 0, 99)
    good = [one, RtpPacket(2, one.source, 2, 96, 8, 0, one.ssrc)]
    assert summary(good).startswith("2 packets, 0 missing")
    for other in (
        RtpPacket(3, one.source, 2, 96, 9, 0, 98),
        RtpPacket(3, "10.201.1.10:5004", 2, 96, 9, 0, one.ssrc),
        RtpPacket(3, one.source, 2, 96, 8, 0, one.ssrc),
    ):
        with pytest.raises(AssertionError):
            summary([*good, other])


def test_mosh_must_write_every_letter_of_an_answer() -> None:
    """Whichever of the screen's 24 rows an answer replaces."""
    for number in range(100):
        for other in range(number + 1, number + 26):
            assert all(a != b for a, b in zip(screen_word(number), screen_word(other), strict=True))
