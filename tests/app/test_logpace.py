"""What keeps floods out of the log, on a clock that stands still unless it is moved."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from vipnet.app.logpace import EVENT_BURST, EVENT_PER_S, SAME_BURST, SAME_PER_S, LogPace


class Log:
    """A log of lines that passed."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pace = LogPace(lambda: self.now)

    def write(self, event: str, **fields: object) -> dict[str, Any] | None:
        """The line's record, None when it was kept out."""
        record = logging.makeLogRecord({"msg": event, **fields})
        return vars(record) if self.pace.filter(record) else None


@pytest.fixture
def log() -> Log:
    return Log()


def test_what_says_the_same_again_and_again_is_said_now_and_then(log: Log) -> None:
    said = [log.write("publish.failed", error="no route") for _ in range(100)]
    assert [line is not None for line in said] == [True] * SAME_BURST + [False] * (100 - SAME_BURST)
    assert log.write("publish.failed", error="refused") is not None
    log.now += 1 / SAME_PER_S
    assert log.write("publish.failed", error="no route") is not None
    assert log.write("publish.failed", error="no route") is None
    assert log.pace.suppressed == 100 - SAME_BURST + 1


def test_the_next_line_says_how_many_are_missing(log: Log) -> None:
    for _ in range(SAME_BURST + 7):
        log.write("peer.located", peer="b")
    line = log.write("peer.located", peer="c")
    assert line is not None
    assert line["suppressed"] == 7
    line = log.write("peer.located", peer="d")
    assert line is not None
    assert "suppressed" not in line


def test_strangers_with_names_of_their_own_choice_do_not_fill_the_disk(log: Log) -> None:
    day_s, per_s = 86_400, 20
    said = 0
    for number in range(per_s * 600):
        log.now += 1 / per_s
        said += log.write("accept.refused", peer=f"{number}.example") is not None
    assert said <= EVENT_BURST + EVENT_PER_S * 600 + 1
    assert said * day_s / 600 < 2 * 10**6  # lines a day, whatever they do


def test_one_event_does_not_silence_another(log: Log) -> None:
    for number in range(10 * EVENT_BURST):
        log.write("accept.refused", peer=f"{number}.example")
    assert log.write("move.begun", move=1) is not None


def test_a_move_with_hundreds_of_partners_is_told_of_all(log: Log) -> None:
    assert all(log.write("peer.located", peer=f"{number}.example") for number in range(EVENT_BURST))
