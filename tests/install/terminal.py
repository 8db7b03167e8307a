"""A person at a machine: types, reads, answers questions, interrupts."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from tests.install.booted import Booted, wait_until

ANSWER_S: Final = 60.0


def answer(machine: Booted, command: str, answers: Mapping[str, str]) -> str:
    """Run COMMAND at a terminal; each of ANSWERS is typed after the question that begins so. What is seen."""
    near, far = pty.openpty()
    process = subprocess.Popen(machine.command(command), stdin=far, stdout=far, stderr=far)
    os.close(far)
    seen, left = "", dict(answers)
    try:
        while select.select([near], [], [], ANSWER_S)[0]:
            try:
                seen += os.read(near, 65536).decode()
            except OSError:  # EIO: nobody has the other side open any more
                break
            question = seen.rpartition("\n")[2]
            for start in [start for start in left if question.startswith(start) and question.endswith(": ")]:
                os.write(near, left.pop(start).encode() + b"\n")
        status = process.wait(ANSWER_S)
    finally:
        process.kill()
        process.wait()
        os.close(near)
    assert (status, left) == (0, {}), seen
    return seen


class Session:
    """A program on a machine that is typed at, and answers in the file SAID."""

    def __init__(self, machine: Booted, command: str, said: Path) -> None:
        self._machine, self._said, self._read = machine, said, 0
        with said.open("w") as out:
            self._process = subprocess.Popen(
                machine.command(f"exec setsid sh -c {shlex.quote(f'echo $$; exec {command}')}"),
                stdin=subprocess.PIPE,
                stdout=out,
                text=True,
                bufsize=1,
            )
        self._group = self.read(r"\d+$")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def type(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")

    def read(self, pattern: str) -> str:
        """Wait for the next line that PATTERN matches at its start; without its end."""
        found: list[str] = []

        def is_there() -> bool:
            whole, _, _ = self._said.read_text()[self._read :].rpartition("\n")
            for line in whole.splitlines():
                self._read += len(line) + 1
                if re.match(pattern, line):
                    found.append(line)
                    return True
            return False

        wait_until(is_there, f"{pattern!r} in {self._said}")
        return found[0]

    def interrupt(self) -> str:
        """Ctrl-C; all that it has said."""
        self._machine.run(f"kill -s INT -- -{self._group}")
        self._process.wait(60)
        return self._said.read_text()
