"""Tcpdump on hosts of the lab, while something is measured."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from vipnet.errors import HostError
from vipnet.lab.layout import Layout

_READY_S: Final = 15.0
_POLL_S: Final = 0.01
_LAST_S: Final = 0.1  # tcpdump does not read what has just passed once it is told to end


class Tap(Struct, frozen=True, kw_only=True):
    """`keep_bytes` of each packet go into `file`."""

    host: str
    interface: str
    file: Path
    only: str = ""
    keep_bytes: int = 128
    link: str | None = None


@contextlib.contextmanager
def tcpdump(layout: Layout, *taps: Tap) -> Iterator[None]:
    """All that passes meanwhile is in the files afterwards. Raise HostError when a packet is missing."""
    with contextlib.ExitStack() as stack:
        running = [_start(layout, tap) for tap in taps]
        for process, _ in running:
            stack.callback(_end, process)
        for tap, (process, log) in zip(taps, running, strict=True):
            _wait_ready(tap, process, log)
        yield
        time.sleep(_LAST_S)
    for tap, (_, log) in zip(taps, running, strict=True):
        lost = re.search(r"(\d+) packets dropped by kernel", log.read_text(encoding="utf-8"))
        if lost is None or int(lost[1]):
            raise HostError(f"tcpdump on {tap.host}: {lost[0] if lost else 'it ended early'}")


def _start(layout: Layout, tap: Tap) -> tuple[subprocess.Popen[bytes], Path]:
    log = tap.file.with_suffix(".log")
    words = ["ip", "netns", "exec", layout.netns(tap.host), "tcpdump", "-n", "-p", "-i", tap.interface]
    words += ["-s", str(tap.keep_bytes), "-B", "16384", "--time-stamp-precision=nano", "-Z", "root"]
    words.append("--immediate-mode")  # else packets stay in the kernel for up to a second
    words += ["-y", tap.link] if tap.link else []
    words += ["-w", str(tap.file), *tap.only.split()]
    with log.open("wb") as output:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output), log


def _wait_ready(tap: Tap, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while "listening on" not in (said := log.read_text(encoding="utf-8")):
        if process.poll() is not None or time.monotonic() > deadline:
            raise HostError(f"tcpdump on {tap.host} does not start: {said.strip().splitlines()[-1:]}")
        time.sleep(_POLL_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()
