"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from msgspec import Struct

from vipnet import __version__

_ROOT: Final = Path(__file__).parents[1]


class Environment(Struct, frozen=True):
    version: str
    commit: str
    kernel: str
    python: str
    cores: int
    bind: str
    load: float  # processes that wanted to run in the minute before
    at: str
    cpu: str


def environment() -> Environment:
    changed = " with changes" if _says("git", "status", "--porcelain") != "unknown" else ""
    return Environment(
        __version__,
        _says("git", "rev-parse", "HEAD") + changed,
        platform.release(),
        platform.python_version(),
        os.cpu_count() or 1,
        _says("named", "-V").partition(" <")[0],  # then comes an id, mostly an empty one
        os.getloadavg()[0],
        datetime.now(UTC).isoformat(timespec="seconds"),
        cpu(),
    )


def cpu() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return found[1].strip() if found else platform.machine()


def _says(*command: str) -> str:
    """The first line that COMMAND prints."""
    try:
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip().partition("\n")[0] or "unknown"
