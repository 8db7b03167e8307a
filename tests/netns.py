"""Network namespaces for tests: made with a random name, always deleted, entered by threads."""

from __future__ import annotations

import ctypes
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from tests.support import need_program, need_root
from trio._core._thread_cache import clear_worker_threads

Result = TypeVar("Result")

_CLONE_NEWNET: Final = 0x40000000  # linux/sched.h
_LIBC = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """One network namespace."""

    def __init__(self, name: str) -> None:
        self.name = name

    def call(self, function: Callable[[], Result]) -> Result:
        """What FUNCTION returns in a thread of its own inside; sockets it opens stay inside."""

        def enter() -> Result:
            with Path(f"/run/netns/{self.name}").open() as file:
                if _LIBC.setns(file.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"setns {self.name}")
            # Threads are inside where they were begun, and trio keeps idle ones for whoever comes next.
            clear_worker_threads()
            try:
                return function()
            finally:
                clear_worker_threads()

        with ThreadPoolExecutor(max_workers=1) as executor:
            return executor.submit(enter).result()

    def run(self, *command: str) -> str:
        """The output of COMMAND inside; raise CalledProcessError when it fails."""
        return _run("ip", "netns", "exec", self.name, *command)

    def ip(self, lines: str) -> None:
        """Have `ip` do LINES, one command a line, at once."""
        subprocess.run(
            ["ip", "-netns", self.name, "-batch", "-"], input=lines, text=True, check=True, timeout=20
        )


@contextmanager
def namespace() -> Iterator[Namespace]:
    """A new namespace with lo up; skip or fail the test without root."""
    need_root()
    need_program("ip")
    name = f"vipnet-test-{os.getpid()}-{secrets.token_hex(3)}"
    _run("ip", "netns", "add", name)
    try:
        space = Namespace(name)
        space.ip("link set lo up")
        yield space
    finally:
        _run("ip", "netns", "delete", name)


def veth(one: Namespace, name: str, other: Namespace, other_name: str) -> None:
    """A cable between two namespaces, or two interfaces of one; both ends down."""
    _run(
        *("ip", "link", "add", name, "netns", one.name, "type", "veth"),
        *("peer", "name", other_name, "netns", other.name),
    )


def macvlan(space: Namespace, name: str, parent: str) -> None:
    """An interface with an address of its own on the cable of PARENT: it opens without delay."""
    space.ip(f"link add {name} link {parent} type macvlan mode bridge")


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout
