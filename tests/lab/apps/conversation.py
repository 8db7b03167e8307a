"""Talk to a shell at the other end of something, in numbered lines, and compare every answer."""

from __future__ import annotations

import hashlib
import os
import select
import threading
import time
from typing import Final, Self

from tests.lab.labs import wait_until

_PACE_S: Final = 0.04
_DRAIN_S: Final = 30.0
_READY: Final = b"ready"
_WAKE_S: Final = 0.5


class Conversation:
    """Lines go out at a steady pace, answered or not; a thread compares what comes back.

    Each line makes the shell print its own process id, the line's number and a word
    that depends on the number: nothing can be lost, doubled or changed unseen, in
    either direction, and no other process can answer.
    """

    def __init__(self, to_shell: int, from_shell: int, *, greeting: bytes = b"") -> None:
        """File descriptors; GREETING is sent to make a silent shell say that it is ready."""
        self.asked = 0
        self.answered = 0
        self.heard_ns: list[int] = []  # CLOCK_MONOTONIC, of every answer
        self._to_shell, self._from_shell = to_shell, from_shell
        self._pid = b""
        self._is_ready = False
        self._unparsed = b""
        self._error: str | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._say(greeting)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """The descriptors are about to be closed: let go of them, whatever is unanswered."""
        self._error = self._error or "given up"
        self._thread.join(_DRAIN_S)

    def wait_until_ready(self) -> None:
        def has_answered() -> bool:
            self.check()
            return self.answered > 0

        wait_until(has_answered, "an answer of the shell")

    def check(self) -> None:
        """Fail when an answer was wrong, or the other end went away."""
        assert self._error is None, self._error

    def finish(self) -> None:
        """Ask no more, and wait for all answers."""
        self._ending.set()
        self._thread.join(_DRAIN_S)
        self.check()
        assert self.answered == self.asked, f"{self.asked} lines, {self.answered} answers"

    def _run(self) -> None:
        try:
            next_at = time.monotonic()
            while not (self._ending.is_set() and self.answered == self.asked) and self._error is None:
                readable, _, _ = select.select([self._from_shell], [], [], self._pause(next_at))
                if readable:
                    self._hear(os.read(self._from_shell, 65536))
                if self._is_ready and not self._ending.is_set() and time.monotonic() >= next_at:
                    next_at = time.monotonic() + _PACE_S
                    self.asked += 1
                    self._say(b"echo $$ %s\n" % _sentence(self.asked))
        except OSError as error:
            self._error = f"after {self.answered} answers: {error}"

    def _pause(self, next_at: float) -> float:
        if self._is_ready and not self._ending.is_set():
            return max(0.0, next_at - time.monotonic())
        return _WAKE_S

    def _say(self, line: bytes) -> None:
        while line:
            line = line[os.write(self._to_shell, line) :]

    def _hear(self, data: bytes) -> None:
        if not data:
            self._error = f"the shell went away after {self.answered} answers"
        *lines, self._unparsed = (self._unparsed + data).split(b"\n")
        for line in lines:
            self._compare(line.removesuffix(b"\r"))

    def _compare(self, line: bytes) -> None:
        if not self._is_ready:
            # Before it telnet says where it connects to; telnetd begins with NULs (RFC 854: no operation).
            self._is_ready = line.endswith(_READY)
            return
        pid, _, rest = line.partition(b" ")
        expected = _sentence(self.answered + 1)
        self._pid = self._pid or pid
        if (pid, rest) != (self._pid, expected):
            self._error = f"answer {self.answered + 1}: {line!r} instead of {self._pid + b' ' + expected!r}"
            return
        self.heard_ns.append(time.monotonic_ns())
        self.answered += 1


def _sentence(number: int) -> bytes:
    return f"{number} {hashlib.sha256(str(number).encode()).hexdigest()}".encode()
