"""Clients that do one small thing after the other, and say when each has come through.

    clients.py database HOST PORT           a row more in one transaction, by psql
    clients.py mount SERVER DIRECTORY OPTION...   a file written, and read back, by sshfs on DIRECTORY
    clients.py mosh HOST PORT               a line typed into mosh, and answered; MOSH_KEY is set

A line of standard output is CLOCK_MONOTONIC, in ns. When standard input ends, they end in good
order, and see that all is there; exit status 1 when something is not as it should be.
"""

from __future__ import annotations

import hashlib
import os
import pty
import select
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

PACE_S = 0.02
STOP_S = 10.0


class Client(Protocol):
    def do(self, number: int) -> None:
        """Exit when it did not come out right."""

    def end(self, count: int) -> str:
        """After COUNT things: see that all are there, and say so."""


def main() -> None:
    kind, *arguments = sys.argv[1:]
    kinds = {"database": Database, "mount": Mount, "mosh": Mosh}
    client: Client = kinds[kind](*arguments)
    number = 0
    while not select.select([sys.stdin], [], [], PACE_S)[0]:
        client.do(number)
        number += 1
        print(time.monotonic_ns(), flush=True)
    print(client.end(number), file=sys.stderr)


class Database:
    """One psql, one backend, one transaction; nothing of it is seen by others before `end`."""

    def __init__(self, host: str, port: str) -> None:
        to = f"host={host} port={port} user=postgres dbname=postgres"
        self._psql = subprocess.Popen(
            ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", to],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._say("CREATE TABLE numbers (number bigint PRIMARY KEY); BEGIN;")
        self._same = self._ask("SELECT pg_backend_pid(), txid_current();")

    def do(self, number: int) -> None:
        self._expect(
            f"INSERT INTO numbers VALUES ({number}) RETURNING pg_backend_pid(), txid_current(), number;",
            f"{self._same}|{number}",
        )

    def end(self, count: int) -> str:
        self._say("COMMIT;")
        self._expect("SELECT count(*), sum(number) FROM numbers;", f"{count}|{count * (count - 1) // 2}")
        self._psql.communicate(timeout=STOP_S)
        return f"{count} rows in one transaction, committed"

    def _expect(self, question: str, expected: str) -> None:
        answer = self._ask(question)
        if answer != expected:
            sys.exit(f"{question} said {answer!r} instead of {expected!r}")

    def _ask(self, question: str) -> str:
        self._say(question)
        assert self._psql.stdout is not None
        return self._psql.stdout.readline().rstrip("\n")

    def _say(self, text: str) -> None:
        assert self._psql.stdin is not None
        self._psql.stdin.write(f"{text}\n")


class Mount:
    """A directory of the other host, by sshfs without caches."""

    SIZE = 32_768  # bytes of a file

    def __init__(self, server: str, directory: str, *options: str) -> None:
        self._directory = Path(directory)
        self._directory.mkdir()
        words = ["sshfs", server, directory, "-f", *options]
        words += ["-o", "dir_cache=no,sync_readdir,direct_io"]
        self._sshfs = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        while not self._directory.is_mount():
            if self._sshfs.poll() is not None:
                sys.exit(f"sshfs ended with {self._sshfs.returncode}")
            time.sleep(PACE_S)

    def do(self, number: int) -> None:
        (self._directory / str(number)).write_bytes(self._content(number))
        self._check(number)

    def end(self, count: int) -> str:
        for number in range(count):
            self._check(number)
        subprocess.run(["fusermount3", "-u", str(self._directory)], check=True)
        self._sshfs.wait(STOP_S)
        return f"{count} files written, and all read again at the end"

    def _check(self, number: int) -> None:
        if (self._directory / str(number)).read_bytes() != self._content(number):
            sys.exit(f"file {number} is not what was written")

    def _content(self, number: int) -> bytes:
        return hashlib.shake_128(str(number).encode()).digest(self.SIZE)


class Mosh:
    """A terminal with mosh in it; whatever it guesses itself is turned off."""

    def __init__(self, host: str, port: str) -> None:
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            termios.tcsetwinsize(0, (24, 80))
            os.environ |= {
                "TERM": "xterm",
                "LC_ALL": "C.UTF-8",
                "MOSH_PREDICTION_DISPLAY": "never",
            }
            os.execvp("mosh-client", ["mosh-client", host, port])

    def do(self, number: int) -> None:
        word = screen_word(number)
        os.write(self._terminal, f"{word}\r".encode())
        seen = b""
        while word.upper().encode() not in seen:
            try:
                seen += os.read(self._terminal, 65536)
            except OSError:
                sys.exit(f"mosh-client ended: {seen.decode(errors='replace')}")

    def end(self, count: int) -> str:
        os.write(self._terminal, b"end\r")
        with suppress(OSError):  # EIO: it has ended
            while os.read(self._terminal, 65536):
                pass
        _, status = os.waitpid(self._pid, 0)
        if os.waitstatus_to_exitcode(status):
            sys.exit(f"mosh-client ended with {os.waitstatus_to_exitcode(status)}")
        return f"{count} lines answered"


def screen_word(number: int) -> str:
    """Mosh writes only what changes on the screen: at no place has this a letter of the 25 words before."""
    return "".join(chr(ord("a") + (7 * number + 5 * place) % 26) for place in range(12))


if __name__ == "__main__":
    main()
