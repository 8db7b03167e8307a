"""`vipnet` on a host whose clock is wrong: `clock_program.py FILE run`; FILE has the seconds it is ahead.

Stands for a clock that somebody sets: FILE is read each time. CLOCK_BOOTTIME is nobody's to set.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from vipnet.app import publishing
from vipnet.cli.main import main

_file = Path(sys.argv.pop(1))
_time, _time_ns = time.time, time.time_ns


def _ahead_s() -> int:
    return int(_file.read_text())


time.time = lambda: _time() + _ahead_s()
time.time_ns = lambda: _time_ns() + _ahead_s() * 10**9
publishing.CLOCK_RETRY_S = 1.0  # type: ignore[misc]  # a test does not wait for ten

if __name__ == "__main__":
    main()
