"""A lab for a test, by the public commands alone: `vipnet lab up`, `exec`, `move`, `status`, `down`."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from tests.support import need_program, need_root

VIPNET: Final = (sys.executable, "-P", "-m", "vipnet")
COMMAND_S: Final = 90.0  # a command that takes longer hangs
WAIT_S: Final = 30.0
LOG_CHARACTERS: Final = 20_000  # of each log, from its end, in the report of a test that failed

Completed = subprocess.CompletedProcess[str]

open_labs: list[Lab] = []
"""Labs that are up in this process, for the report of a test that fails."""


class CommandFailedError(AssertionError):
    """A command's exit status was not 0; the text holds what it said."""


def run(command: list[str], *, check: bool = True, timeout_s: float = COMMAND_S) -> Completed:
    """Run COMMAND to its end. Raise CommandFailedError when it fails and `check` is set."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if check and done.returncode != 0:
        words = " ".join(command)
        raise CommandFailedError(f"exit status {done.returncode}: {words}\n{done.stdout}{done.stderr}")
    return done


def wait_until(true: Callable[[], object], what: str, *, within_s: float = WAIT_S) -> None:
    """Poll until TRUE() is. Fail after `within_s`: a bound against hanging, not a measurement."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.02)


class Lab:
    """A lab that is up. Hosts are labels: a, b, ..., and r, the router."""

    def __init__(self, name: str) -> None:
        self.name = name

    def command(self, verb: str, *arguments: str) -> list[str]:
        """The argument list of `vipnet lab VERB --name ... ARGUMENTS`."""
        return [*VIPNET, "lab", verb, "--name", self.name, *arguments]

    def on(
        self, host: str, *command: str | Path, check: bool = True, timeout_s: float = COMMAND_S
    ) -> Completed:
        """Run COMMAND on HOST to its end. Raise CommandFailedError when it fails and `check` is set."""
        return run(self.command_on(host, *command), check=check, timeout_s=timeout_s)

    def command_on(self, host: str, *command: str | Path) -> list[str]:
        """The argument list that becomes COMMAND on HOST: by exec, so that the process's id is COMMAND's."""
        return self.command("exec", host, "--", *map(str, command))

    def move(self, host: str, *options: str) -> list[dict[str, Any]]:
        """`vipnet lab move HOST`; HOST may be `both`."""
        moves: list[dict[str, Any]] = json.loads(run(self.command("move", host, *options)).stdout)["moves"]
        return moves

    def status(self) -> dict[str, Any]:
        """`vipnet lab status --json`."""
        found: dict[str, Any] = json.loads(run(self.command("status", "--json")).stdout)
        return found

    def host(self, host: str) -> dict[str, Any]:
        """HOST in `lab status`: netns, pid, config, state_dir, address, token, ..."""
        found: dict[str, Any] = self.status()["hosts"][host]
        return found

    def ask(self, host: str, *command: str) -> dict[str, Any]:
        """`vipnet COMMAND --json` on HOST: status, peers, moves, resolve NAME, ..."""
        answer: dict[str, Any] = json.loads(self.on(host, "vipnet", *command, "--json").stdout)
        return answer

    def can_ping(self, host: str, name: str) -> bool:
        return self.on(host, "ping", "-c", "1", "-W", "1", name, check=False).returncode == 0

    def daemon_log(self, host: str) -> Path:
        """Where `vipnet up` lets HOST's daemon write."""
        config = tomllib.loads(Path(self.host(host)["config"]).read_text())
        return Path(config["run_dir"], "vipnet.log")

    def diagnosis(self) -> Iterator[tuple[str, str]]:
        """What a person wants to see when a test has failed: titles and texts."""
        yield f"lab {self.name}", run(self.command("status"), check=False).stdout
        for host, found in self.status()["hosts"].items():
            if found["config"] is None:
                continue
            for command in ("status", "moves"):
                done = self.on(host, "vipnet", command, check=False)
                yield f"{host}: vipnet {command}", done.stdout + done.stderr
            log = self.daemon_log(host)
            text = log.read_text(errors="replace") if log.exists() else "there is none"
            yield f"{host}: {log}", text[-LOG_CHARACTERS:]


@contextmanager
def running_lab(*options: str, dns: str = "bind") -> Iterator[Lab]:
    """A new lab with a name of its own; it goes down whatever happens.

    Skip or fail, as tests.support.need does, without root, ip or (for `bind`) named.
    """
    need_root()
    need_program("ip", *(("named",) if dns == "bind" else ()))
    lab = Lab(f"t-{secrets.token_hex(4)}")
    try:
        run(lab.command("up", "--dns", dns, *options))
        open_labs.append(lab)
        yield lab
    finally:
        if lab in open_labs:
            open_labs.remove(lab)
        with _nothing_left_of(lab):
            run(lab.command("down"))


@contextmanager
def _nothing_left_of(lab: Lab) -> Iterator[None]:
    """Kill what still runs in the lab's namespaces after the block: a server's children after a failure, say.

    A pidfd (pidfd_open(2)) stands for one process, also when its number has come round again.
    """
    left = []
    try:
        for namespace in Path("/run/netns").glob(f"vipnet-{lab.name}-*"):
            for pid in run(["ip", "netns", "pids", namespace.name], check=False).stdout.split():
                with suppress(ProcessLookupError):
                    left.append(os.pidfd_open(int(pid)))
        yield
    finally:
        for process in left:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGKILL)
            os.close(process)
