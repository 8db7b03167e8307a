"""The log: an event a line, its name, which never changes, and then its fields.

    standard error   2026-11-24 14:02:03,456 INFO    path.lost peer=b.example.org
    --log-json       {"time": "...", "level": "info", "event": "path.lost", "peer": "b.example.org"}
    systemd          VIPNET_EVENT=path.lost VIPNET_PEER=b.example.org, where the journal hears us

docs/observing.md has all events. What others say of themselves (a name, a reason) is in the fields:
whatever it is, it stays inside its own line.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal, get_args

from msgspec import Struct

from vipnet.app.logpace import LogPace, fields_of
from vipnet.errors import ConfigError
from vipnet.system.journal import Journal, leads_to_journal

Level = Literal["debug", "info", "warning", "error"]  # cli/options.py has it too: importing takes time

_PRIORITIES: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}  # syslog(3)


class LogOptions(Struct, frozen=True):
    """What the command line says of the log."""

    level: Level = "info"
    as_json: bool = False

    def arguments(self) -> list[str]:
        """The same for the command line of another process."""
        return ["--log-level", self.level, *(["--log-json"] if self.as_json else [])]


def set_level(level: str) -> None:
    """Log from LEVEL on, from now on. Raise ConfigError when there is no such level."""
    if level not in get_args(Level):
        raise ConfigError(f"log level {level!r}: must be one of {', '.join(get_args(Level))}")
    logging.getLogger("vipnet").setLevel(level.upper())


def configure_logging(
    options: LogOptions = LogOptions(),  # noqa: B008 - frozen
    environment: Mapping[str, str] = os.environ,
) -> LogPace:
    """Log to standard error, or to the journal when that is where standard error goes.

    Return what keeps floods out of it, which counts them.
    """
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if options.as_json else PlainFormatter())
    if not options.as_json and leads_to_journal(sys.stderr.fileno(), environment):
        handler = JournalHandler(Journal(), handler)
    pace = LogPace()
    handler.addFilter(pace)
    logger = logging.getLogger("vipnet")
    logger.addHandler(handler)
    logger.setLevel(options.level.upper())
    logger.propagate = False
    return pace


class PlainFormatter(logging.Formatter):
    """For people: `path.switched peer=b.example.org gap_ms=3.1`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return " ".join([super().formatMessage(record), *_words(record)])


class JsonFormatter(logging.Formatter):
    """For programs: one object a line; what JSON has no form for is text."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": when.isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class JournalHandler(logging.Handler):
    """An entry of the journal for each event, with its fields; OTHERWISE has what it does not take."""

    def __init__(self, journal: Journal, otherwise: logging.Handler) -> None:
        super().__init__()
        self._journal, self._otherwise = journal, otherwise

    def emit(self, record: logging.LogRecord) -> None:
        message = " ".join([record.getMessage(), *_words(record)])
        if record.exc_info:
            message += "\n" + logging.Formatter().formatException(record.exc_info)
        fields = {
            "MESSAGE": message,
            "PRIORITY": str(_PRIORITIES.get(record.levelno, 3)),
            "SYSLOG_IDENTIFIER": "vipnet",
            "VIPNET_EVENT": record.getMessage(),
        }
        fields |= {f"VIPNET_{name.upper()}": _text(value) for name, value in fields_of(record).items()}
        if not self._journal.send(fields):
            self._otherwise.emit(record)

    def close(self) -> None:
        self._journal.close()
        super().close()


def _words(record: logging.LogRecord) -> list[str]:
    return [f"{key}={_quoted(_text(value))}" for key, value in fields_of(record).items()]


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _quoted(text: str) -> str:
    """TEXT as it is, or as JSON has it where it could be taken for more than one word, or for a line."""
    plain = text and text.isprintable() and not set(text) & set(' "=')
    return text if plain else json.dumps(text)
