"""Numbered UDP streams between hosts of a lab: all that is sent arrives, each number once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from tests.lab.apps.program import Program, program
from tests.lab.labs import Lab, wait_until

from vipnet.lab.layout import ZONE

_PROGRAM: Final = Path(__file__).parent / "apps" / "stream_program.py"
EVERY_MS: Final = 10.0
SIZE: Final = 64  # bytes


class Stream(Struct, frozen=True):
    """What went from one host to another; arrivals are (number, CLOCK_MONOTONIC ns), in their order."""

    source: str
    target: str
    sent: int
    arrivals: tuple[tuple[int, int], ...]

    @property
    def name(self) -> str:
        return f"{self.source} to {self.target}"

    @property
    def lost(self) -> set[int]:
        return set(range(self.sent)) - {number for number, _ in self.arrivals}

    @property
    def duplicated(self) -> int:
        return len(self.arrivals) - len({number for number, _ in self.arrivals})


class Streams:
    """Programs that run, one a host; each knows to whom it sends."""

    def __init__(self, programs: Mapping[str, Program], targets: Mapping[str, Iterable[str]]) -> None:
        self._programs = programs
        self._targets = {source: tuple(found) for source, found in targets.items()}

    def go_on(self, when: str) -> None:
        """Return once everyone has heard, from everyone, something that is sent from now on."""
        goals = {source: self._ask(source, "sent") for source in self._targets}

        def all_heard() -> bool:
            heard = {label: self._ask(label, "progress") for label in self._programs}
            return all(
                heard[target].get(source, -1) >= goals[source][target]
                for source, targets in self._targets.items()
                for target in targets
            )

        wait_until(all_heard, f"every stream goes on {when}")

    def finish(self) -> list[Stream]:
        """End the streams; return them once all that will ever come has arrived."""
        for source in self._targets:
            self._ask(source, "stop")
        sent = {source: self._ask(source, "sent") for source in self._targets}
        last = {(source, target): sent[source][target] - 1 for source in sent for target in sent[source]}
        wait_until(
            lambda: all(
                self._ask(target, "progress").get(source, -1) >= number
                for (source, target), number in last.items()
            ),
            "the last number of every stream",
        )
        arrivals = {label: self._ask(label, "report") for label in self._programs}
        return [
            Stream(source, target, sent[source][target], tuple(map(tuple, arrivals[target][source])))
            for source, target in last
        ]

    def _ask(self, label: str, command: str) -> Any:
        running = self._programs[label]
        _say(running, command)
        return _hear(running)


def _say(running: Program, command: str) -> None:
    stdin = running.process.stdin
    assert stdin is not None
    stdin.write(f"{command}\n".encode())
    stdin.flush()


def _hear(running: Program) -> Any:
    stdout = running.process.stdout
    assert stdout is not None
    answer = stdout.readline()
    assert answer, f"{running.err.stem} has ended: {running.said()}"
    return json.loads(answer)


@contextmanager
def streams(
    lab: Lab,
    directory: Path,
    targets: Mapping[str, Iterable[str]],
    *,
    every_ms: float = EVERY_MS,
    size: int = SIZE,
) -> Iterator[Streams]:
    """Let each host send to its targets (labels to labels) while the block runs; SIZE bytes each time."""
    labels = sorted({*targets, *(target for found in targets.values() for target in found)})
    with ExitStack() as stack:
        programs = {}
        for label in labels:
            names = [f"{target}={target}.{ZONE}" for target in targets.get(label, ())]
            command = [sys.executable, str(_PROGRAM), label, str(every_ms), str(size), *names]
            started = program(
                lab,
                label,
                command,
                directory,
                name=f"numbers-{label}",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            programs[label] = stack.enter_context(started)
        for running in programs.values():
            _hear(running)  # it receives
        for running in programs.values():
            _say(running, "begin")
        for running in programs.values():
            _hear(running)  # it knows the addresses
        found = Streams(programs, targets)
        found.go_on("at the start")
        yield found


def check_nothing_lost(found: Iterable[Stream]) -> str:
    """Fail when a number is missing or came twice; return what was sent, in words."""
    count = 0
    for stream in found:
        assert stream.sent > 0, stream.name
        assert not stream.lost, f"{stream.name}: lost {sorted(stream.lost)} of {stream.sent}"
        assert not stream.duplicated, f"{stream.name}: {stream.duplicated} came twice"
        count += stream.sent
    return f"{count} datagrams, none lost, none twice"
