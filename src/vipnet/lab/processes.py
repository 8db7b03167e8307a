"""Processes that outlive the command that started them, found again without a mistake.

A process is its number *and* its start time: numbers come round again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from vipnet.errors import HostError

_STOP_S: Final = 3.0  # then SIGKILL
_POLL_S: Final = 0.01


class Process(Struct, frozen=True):
    """`started` is in clock ticks since boot, field 22 of /proc/PID/stat (proc(5))."""

    pid: int
    started: int


def running(pid: int) -> Process | None:
    """Return the process that has PID now; None when there is none, or only its exit status."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return None if state in "ZX" else Process(pid, int(fields[18]))


def alive(process: Process) -> bool:
    return running(process.pid) == process


def start(command: list[str], log: Path, record: Path) -> subprocess.Popen[bytes]:
    """Start COMMAND in the background, its output in LOG; RECORD says later which process it is."""
    with log.open("ab") as output:
        popen = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    process = running(popen.pid)
    if process is None:
        raise HostError(f"{command[0]} ended at once: {last_line(log)}; see {log}")
    record.write_bytes(msgspec.json.encode(process))
    return popen


def recorded(record: Path) -> Process | None:
    """Return the process that RECORD names, if it still runs."""
    try:
        process = msgspec.json.decode(record.read_bytes(), type=Process)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return process if alive(process) else None


def with_arguments(tail: tuple[str, ...]) -> list[Process]:
    """Processes whose argument list ends with TAIL."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
        except OSError:  # it has just ended
            continue
        process = running(int(entry.name)) if tuple(arguments[-len(tail) :]) == tail else None
        if process is not None:
            found.append(process)
    return found


def in_namespaces(netns: Sequence[Path]) -> list[Process]:
    """Processes whose network namespace is one of those at NETNS, but for this one."""
    wanted = set()
    for path in netns:
        with contextlib.suppress(OSError):
            wanted.add(path.stat().st_ino)
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # it has just ended
            process = running(int(entry.name)) if (entry / "ns/net").stat().st_ino in wanted else None
            if process is not None:
                found.append(process)
    return found


def stop(*processes: Process) -> None:
    """SIGTERM, and SIGKILL when that is not obeyed; return when all are gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in filter(alive, processes):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)
        deadline = time.monotonic() + _STOP_S
        while any(map(alive, processes)) and time.monotonic() < deadline:
            time.sleep(_POLL_S)


def last_line(log: Path) -> str:
    """What a program said last: mostly why it ended."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except FileNotFoundError:
        lines = []
    return lines[-1] if lines else "without a word"
