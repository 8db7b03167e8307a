"""Three forms of the log; none lets a field become a line, or a word of another."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.test_journal import decode

from vipnet.app import logs
from vipnet.app.logs import JsonFormatter, LogOptions, PlainFormatter, configure_logging
from vipnet.errors import ConfigError
from vipnet.system.journal import Journal

HOSTILE = 'no\n2026-11-24 00:00:00,000 INFO    peer.located peer=root "\x1b[2J'


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    """The package's logger, as it was before when the test is over."""
    logger = logging.getLogger("vipnet")
    before = logger.handlers[:], logger.level, logger.propagate
    yield logging.getLogger("vipnet.test")
    for handler in logger.handlers:
        if handler not in before[0]:
            handler.close()
    logger.handlers, logger.level, logger.propagate = before


def written(monkeypatch: pytest.MonkeyPatch, options: LogOptions) -> io.TextIOWrapper:
    """Standard error, and the log on it."""
    stream = io.TextIOWrapper(io.BytesIO(), write_through=True)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(stream, "fileno", lambda: 2, raising=False)
    configure_logging(options, {})
    return stream


def lines(stream: io.TextIOWrapper) -> list[str]:
    stream.seek(0)
    return stream.read().splitlines()


def test_a_line_is_the_event_and_its_fields(log: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = written(monkeypatch, LogOptions())
    log.info("path.switched", extra={"peer": "b.example.org", "gap_ms": 3.1, "new": ["1.2.3.4:5847", "x"]})
    (line,) = lines(stream)
    assert line[23:] == " INFO    path.switched peer=b.example.org gap_ms=3.1 new=1.2.3.4:5847,x"


def test_what_others_say_stays_in_its_field(log: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = written(monkeypatch, LogOptions())
    log.info("session.closed", extra={"peer": "b", "reason": HOSTILE, "empty": ""})
    (line,) = lines(stream)
    assert line.isprintable()
    _, _, said = line.partition("reason=")
    assert json.JSONDecoder().raw_decode(said)[0] == HOSTILE
    assert line.endswith(' empty=""')


def test_json_is_one_object_a_line(log: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = written(monkeypatch, LogOptions(as_json=True))
    log.warning("session.closed", extra={"peer": "b", "reason": HOSTILE, "path": Path("/x"), "n": 1})
    (line,) = lines(stream)
    said = json.loads(line)
    assert said.pop("time").endswith("+00:00")
    assert said == {
        "level": "warning", "event": "session.closed", "peer": "b", "reason": HOSTILE, "path": "/x", "n": 1,
    }  # fmt: skip


@pytest.mark.parametrize(("level", "said"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_is_the_least_that_is_logged(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch, level: logs.Level, said: int
) -> None:
    stream = written(monkeypatch, LogOptions(level))
    for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        log.log(number, "some.event", extra={"number": number})
    assert len(lines(stream)) == said


@pytest.mark.parametrize("formatter", [PlainFormatter(), JsonFormatter()])
def test_a_fault_of_ours_has_its_traceback(formatter: logging.Formatter) -> None:
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        record = logging.makeLogRecord({"msg": "control.failed", "exc_info": sys.exc_info()})
    assert "ZeroDivisionError" in formatter.format(record)


def test_where_standard_error_is_the_journal_fields_are_its(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="vipnet-test-") as directory:
        path = Path(directory, "socket")
        monkeypatch.setattr(logs, "Journal", lambda: Journal(path))
        stream = io.TextIOWrapper(io.BytesIO(), write_through=True)
        monkeypatch.setattr(sys, "stderr", stream)
        with Path(directory, "stream").open("w") as really:
            monkeypatch.setattr(stream, "fileno", really.fileno, raising=False)
            status = os.fstat(really.fileno())
            configure_logging(LogOptions(), {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        log.info("nobody.listens", extra={"peer": "b"})
        assert [line[23:] for line in lines(stream)] == [" INFO    nobody.listens peer=b"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
            journald.bind(str(path))
            log.warning("session.closed", extra={"peer": "b", "reason": HOSTILE, "new": ["x", "y"]})
            entry = decode(journald.recv(65536))
    assert entry.pop("MESSAGE").startswith("session.closed peer=b reason=")
    assert entry == {
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "vipnet",
        "VIPNET_EVENT": "session.closed",
        "VIPNET_PEER": "b",
        "VIPNET_REASON": HOSTILE,
        "VIPNET_NEW": "x,y",
    }
    assert len(lines(stream)) == 1


def test_options_are_handed_on_to_another_process() -> None:
    assert LogOptions("debug", True).arguments() == ["--log-level", "debug", "--log-json"]
    assert LogOptions().arguments() == ["--log-level", "info"]


def test_another_level_in_a_running_daemon(log: logging.Logger) -> None:
    logs.set_level("debug")
    assert log.isEnabledFor(logging.DEBUG)
    logs.set_level("warning")
    assert not log.isEnabledFor(logging.INFO)
    with pytest.raises(ConfigError, match=r"log level 'loud': must be one of debug, info, warning, error"):
        logs.set_level("loud")
