"""A program of the user's, for every provider that is not here.

It gets one JSON object on standard input and nothing else:

    {"action": "publish" | "withdraw", "name": "laptop.example.org", "ipv4": ["192.0.2.1"],
     "ipv6": [], "ttl_s": 5, "txt": {"_vip.laptop.example.org": "v=vip1 k=... p=5847"}}

and says by its exit status (sysexits.h) how it went: 0 done; 77 (EX_NOPERM) and 78 (EX_CONFIG)
refused for good; anything else may pass. The last line on standard error is shown to the user.
`txt` is empty when the record shall stay. Withdrawing, it names what shall go, with null, and the
addresses are empty: they stay.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec
import trio

from vipnet.errors import PublishError
from vipnet.names.desired import Desired
from vipnet.names.records import capability_name
from vipnet.publish.web import quoted

PERMANENT: Final = frozenset({77, 78})
_ERRORS_MAX: Final = 8192  # bytes of standard error that are looked at
# Not what the daemon was started with: that may name credentials.
_KEPT: Final = ("PATH", "LANG", "HOME", "TZ")


class Hook:
    """Runs COMMAND for each update, for TIMEOUT_S seconds at most; then it and its children are killed."""

    provider = "hook"
    refresh_s = math.inf
    writes_record = True
    echoes = False

    def __init__(self, command: Sequence[str], *, timeout_s: float = 30.0, interval_s: float = 0.0) -> None:
        self._command, self._timeout_s, self.interval_s = tuple(command), timeout_s, interval_s

    async def publish(self, desired: Desired) -> tuple[str, ...]:
        """See Publisher."""
        record = {capability_name(desired.name): str(desired.record)} if desired.record else {}
        await self._run("publish", desired, record)
        return desired.addresses

    async def withdraw(self, desired: Desired) -> None:
        """See Publisher."""
        await self._run("withdraw", desired, {capability_name(desired.name): None})

    async def _run(self, action: str, desired: Desired, txt: dict[str, str] | dict[str, None]) -> None:
        order = {
            "action": action,
            "name": desired.name,
            "ipv4": desired.ipv4,
            "ipv6": desired.ipv6,
            "ttl_s": desired.ttl_s,
            "txt": txt,
        }
        status, errors = await self._execute(msgspec.json.encode(order) + b"\n")
        if status == 0:
            return
        lines = errors.decode("utf-8", "replace").strip().splitlines()
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        words = quoted(lines[-1]) if lines else ""
        raise PublishError(f"{self._command[0]} ended {how}{words}", permanent=status in PERMANENT)

    async def _execute(self, order: bytes) -> tuple[int, bytes]:
        """Return exit status and the end of standard error."""
        try:
            process = await trio.lowlevel.open_process(
                list(self._command),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={key: os.environ[key] for key in _KEPT if key in os.environ},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise PublishError(f"{self._command[0]}: {error.strerror}", permanent=True) from None
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stderr is not None  # noqa: S101
        errors = bytearray()
        async with process.stdin, process.stderr:
            try:
                with trio.move_on_after(self._timeout_s):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(_feed, process.stdin, order)
                        nursery.start_soon(_read, process.stderr, errors)
                    return await process.wait(), bytes(errors)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)  # its session is its own: its children too
                    with trio.CancelScope(shield=True):
                        await process.wait()
        raise PublishError(f"{self._command[0]} was still running after {self._timeout_s:g} s")


async def _feed(stdin: trio.abc.SendStream, order: bytes) -> None:
    async with stdin:
        with suppress(trio.BrokenResourceError):  # it need not read
            await stdin.send_all(order)


async def _read(stderr: trio.abc.ReceiveStream, errors: bytearray) -> None:
    """Until its end; the last of it is kept."""
    while chunk := await stderr.receive_some(_ERRORS_MAX):
        errors += chunk
        del errors[:-_ERRORS_MAX]
