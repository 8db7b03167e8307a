"""A host's patient: plants faults on it and has the doctor look, without starting Python each time.

Reads lines of JSON, {"script": "...", "clock_s": 0}: a shell script to run first, and by how much
this process's clock is to be wrong. Answers each with the report of `vipnet doctor --json`, or
{"error": "..."}. The configuration is that of VIPNET_CONFIG. Mounts stay in this process's own
mount namespace.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from vipnet.app.doctor.examine import examine

real_time = time.time


def wrong_by(offset_s: float) -> Callable[[], float]:
    return lambda: real_time() + offset_s


def look(script: str, clock_s: float) -> object:
    done = subprocess.run(
        ["sh", "-e", "-c", script], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    if done.returncode:
        return {"error": f"{script}: {done.stdout}{done.stderr}"}
    time.time = wrong_by(clock_s) if clock_s else real_time
    try:
        return examine(Path(os.environ["VIPNET_CONFIG"]))
    finally:
        time.time = real_time


for line in sys.stdin:
    print(json.dumps(look(**json.loads(line))), flush=True)
