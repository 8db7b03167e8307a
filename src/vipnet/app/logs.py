"""The log on standard error: one line an event, its name and then its fields."""

from __future__ import annotations

import logging
import sys
from typing import Final

_PLAIN_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def configure_logging(level: int = logging.INFO) -> None:
    """One line an event on standard error: its name, then its fields."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_EventFormatter("%(asctime)s %(levelname)-7s %(message)s"))
    logger = logging.getLogger("vipnet")
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False


class _EventFormatter(logging.Formatter):
    """`path.switched peer=b.example.org gap_ms=3.1`: names never change, whatever varies is a field."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {key: value for key, value in vars(record).items() if key not in _PLAIN_FIELDS}
        return " ".join([super().format(record), *(f"{key}={value}" for key, value in fields.items())])
