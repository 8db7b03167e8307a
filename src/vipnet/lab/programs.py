"""The traffic programs of one measurement, led from here.

One `vipnet.lab.traffic` on each host that sends or receives; this side starts them,
gives them lines, and puts together what they answer.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self, TypeVar

import msgspec

from vipnet.errors import HostError
from vipnet.lab.flows import INTERVAL_MS, LATE_S, Flow, Phase, Progress, Settings, TrafficReport
from vipnet.lab.hosts import command_on
from vipnet.lab.layout import Layout

_POLL_S: Final = 0.02
_BEGIN_S: Final = 10.0
_DRAIN_S: Final = 3.0  # for what TCP has not delivered yet
_ANSWER_S: Final = 15.0  # a traffic program that says nothing for so long has failed

_T = TypeVar("_T")


class Traffic:
    """Traffic programs on the hosts that SETTINGS names; as a context, they end with it."""

    def __init__(self, layout: Layout, settings: Mapping[str, Settings]) -> None:
        self._layout, self._settings = layout, settings
        self._programs: dict[str, _Program] = {}
        self._flows = {one.flow for settings_of in settings.values() for one in settings_of.send}
        self._start_ns = 0

    def __enter__(self) -> Self:
        try:
            for label, settings in self._settings.items():
                self._programs[label] = _Program(self._layout, label, settings)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for program in self._programs.values():
            program.close()

    def begin(self) -> None:
        """Open all connections by name and let them flow. Raise HostError when they do not."""
        for program in self._programs.values():
            program.ask("progress", Progress)  # its ports are open
        for label, settings in self._settings.items():
            if settings.send:
                self._programs[label].ask("connect")
        self._start_ns = time.monotonic_ns() + 20_000_000
        self._all(f"start {self._start_ns}")
        if errors := self.wait_flowing(self._start_ns, _BEGIN_S):
            raise HostError(f"no traffic in the lab before anything moved: {'; '.join(errors)}; try again")

    def enter(self, phase: Phase) -> None:
        self._all(f"phase {phase}")

    def thin_out(self, step: int) -> None:
        """Of UDP send only each STEP-th message from now on: little load, where nothing is measured yet."""
        self._all(f"every {step}")

    def wait_flowing(self, since_ns: int, within_s: float) -> list[str]:
        """Return when of every stream something has arrived that was sent after SINCE_NS.

        After WITHIN_S return what has not.
        """
        deadline = time.monotonic() + within_s
        while lagging := self._lagging(since_ns):
            if time.monotonic() > deadline:
                return [f"{flow.name} has stopped" for flow in lagging]
            time.sleep(_POLL_S)
        return []

    def end(self) -> list[TrafficReport]:
        """Stop sending, wait for what is under way, and collect."""
        self._all("stop")
        time.sleep(LATE_S)
        deadline = time.monotonic() + _DRAIN_S
        while time.monotonic() < deadline and not self._drained():
            time.sleep(_POLL_S)
        return [program.ask("report", TrafficReport) for program in self._programs.values()]

    def _all(self, line: str) -> None:
        for program in self._programs.values():
            program.ask(line)

    def _lagging(self, since_ns: int) -> list[Flow]:
        newest: dict[int, int] = {}
        for program in self._programs.values():
            newest |= program.ask("progress", Progress).newest
        since_ms = (since_ns - self._start_ns) / 1e6
        return [flow for flow in sorted(self._flows) if newest.get(flow, -1) * INTERVAL_MS[flow] <= since_ms]

    def _drained(self) -> bool:
        return all(program.ask("progress", Progress).tcp_ended for program in self._programs.values())


class _Program:
    """A traffic program, led by lines (see traffic.py)."""

    def __init__(self, layout: Layout, label: str, settings: Settings) -> None:
        self._label = label
        self._log = layout.host_directory(label) / "traffic.log"
        text = msgspec.json.encode(settings).decode()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command_on(layout, label, [sys.executable, "-P", "-m", "vipnet.lab.traffic", text]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
            )
        self._pending = b""

    def ask(self, line: str, kind: type[_T] = dict[str, object]) -> _T:  # type: ignore[assignment]
        """Send LINE, return the answer. Raise HostError when there is none."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe, by construction
        with contextlib.suppress(BrokenPipeError):  # why it ended is said below
            self._process.stdin.write(line.encode() + b"\n")
        return msgspec.json.decode(self._answer(), type=kind)

    def _answer(self) -> bytes:
        assert self._process.stdout is not None  # noqa: S101 - a pipe, by construction
        output = self._process.stdout.fileno()
        parts = [self._pending]
        deadline = time.monotonic() + _ANSWER_S
        while b"\n" not in parts[-1]:
            left_s = deadline - time.monotonic()
            readable = left_s > 0 and select.select([output], [], [], left_s)[0]
            data = os.read(output, 2**20) if readable else b""
            if not data:
                raise HostError(
                    f"the traffic program on {self._label} failed: {self._last_words()}; try again"
                )
            parts.append(data)
        answer, _, self._pending = b"".join(parts).partition(b"\n")
        return answer

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it does not answer"

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
