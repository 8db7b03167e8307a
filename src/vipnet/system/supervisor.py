"""What started us hears how we are: sd_notify(3), and the beat of systemd's watchdog.

One datagram a message, a form that systemd promises to keep; libraries for it have had no
release in years. Without $NOTIFY_SOCKET nothing is sent.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from typing import Final

import trio

_BEATS: Final = 3  # in the watchdog's time: one may be late, one may be lost
_STATUS_S: Final = 10.0  # between looks at the status where there is no watchdog


class Supervisor:
    """The service manager that ENVIRONMENT names, if any: systemd, or whatever speaks its protocol.

    watchdog_s  seconds without a beat after which we are killed and started again, None: never
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        # A child inherits the variables; they are meant for one process (sd_watchdog_enabled(3)).
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        limit_us = environment.get("WATCHDOG_USEC", "") if ours else ""
        self.watchdog_s = int(limit_us) / 1e6 if limit_us.isdecimal() and int(limit_us) else None

    def tell(self, *assignments: str) -> None:
        """Send ASSIGNMENTS (`READY=1`). What a supervisor does not hear must not stop us: it then acts."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto("\n".join(assignments).encode(), address)

    async def attend(self, status: Callable[[], str]) -> None:
        """Say that we are ready, then beat for as long as the event loop turns; STATUS is one line."""
        if not self._address:
            await trio.sleep_forever()
        said = status()
        self.tell("READY=1", f"STATUS={said}")
        while True:
            await trio.sleep(self.watchdog_s / _BEATS if self.watchdog_s else _STATUS_S)
            changed = said != (said := status())
            self.tell("WATCHDOG=1", *([f"STATUS={said}"] if changed else []))
