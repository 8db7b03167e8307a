"""The task that listens to the kernel (netlink(7)) and says where this host can be reached."""

from __future__ import annotations

import errno
import math
import socket
import time
from typing import Final

import trio

from vipnet.errors import HostError
from vipnet.system.netwatch.messages import (
    DONE,
    ERROR,
    GETADDR,
    GETLINK,
    GETROUTE,
    GROUPS,
    Address,
    Link,
    Message,
    decode,
    dump_request,
)
from vipnet.system.netwatch.network import Cause, Network
from vipnet.system.netwatch.pace import Pace, Underlay

_SETTLE_S: Final = 2.0  # quiet for so long: compare with a fresh dump
_WAKE_CHECK_S: Final = 1.0
_WAKE_GAP_S: Final = 0.5  # asleep for so long: the networks may be others
_DUMP_TRIES: Final = 5
_BUFFER_BYTES: Final = 1 << 20
_SO_RCVBUFFORCE: Final = 33  # asm-generic/socket.h
_READ_MAX: Final = 65_536


async def watch(
    updates: trio.MemorySendChannel[Underlay],
    ignore: frozenset[str],
    only: tuple[str, ...],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Send this host's addresses now and after each change, until cancelled.

    ignore  names of interfaces that never count: our own
    only    patterns of names that count; empty: all that lead to other hosts

    Started when the first value is on its way. Raise HostError when the kernel does not answer.
    """
    with _open(GROUPS) as events, updates:
        # Subscribed first: what changes during the dump is heard after it.
        watcher = _Watcher(events, ignore, only)
        await watcher.dump("start")
        task_status.started()
        while True:
            if news := watcher.pace.handle_timeout(time.monotonic()):
                await updates.send(news)
            with trio.move_on_after(watcher.wait_s()):
                await trio.lowlevel.wait_readable(events)
            watcher.read_events()
            if cause := watcher.dump_cause():
                await watcher.dump(cause)


class _Watcher:
    """The facts, the pace, and when the facts have to be asked for anew."""

    def __init__(self, events: socket.socket, ignore: frozenset[str], only: tuple[str, ...]) -> None:
        self._events, self._ignore, self._only = events, ignore, only
        self._network = Network(ignore, only)
        self.pace = Pace()
        self._settle_at = math.inf
        self._overrun = False
        self._slept_s = _slept_s()

    def wait_s(self) -> float:
        """Seconds until something is to be done even if nothing happens."""
        now = time.monotonic()
        due = self.pace.next_timeout()
        return max(0.0, min(_WAKE_CHECK_S, self._settle_at - now, math.inf if due is None else due - now))

    def read_events(self) -> None:
        """Take over what the kernel has said; never wait."""
        while True:
            try:
                data = _receive(self._events, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                # Some were lost. Read what is left all the same: after the dump it would be old news.
                self._overrun = True
                continue
            for message in decode(data):
                if self._take(message):
                    self._see(_cause(message))

    def _take(self, message: Message) -> bool:
        if message.fact is None:
            return False
        if message.gone:
            return self._network.remove(message.fact)
        return self._network.add(message.fact, replaces=message.replaces)

    def _see(self, cause: Cause) -> None:
        now = time.monotonic()
        self.pace.handle_change(self._network.ranked(), cause, now, self._network.detours())
        self._settle_at = now + _SETTLE_S

    def dump_cause(self) -> Cause | None:
        """Why the facts have to be asked for anew now; None: they have not."""
        slept_s = _slept_s()
        if slept_s - self._slept_s > _WAKE_GAP_S:
            self._slept_s = slept_s
            return "wake"
        self._slept_s = slept_s  # clocks drift
        if self._overrun:
            return "address"
        # Not all that the kernel does to routes is announced.
        return "route" if time.monotonic() >= self._settle_at else None

    async def dump(self, cause: Cause) -> None:
        """Ask the kernel for everything; raise HostError."""
        self._overrun, self._settle_at = False, math.inf
        for _ in range(_DUMP_TRIES):
            network = Network(self._ignore, self._only)
            if await _dump_into(network):
                break
        self._network = network
        self.pace.handle_change(network.ranked(), cause, time.monotonic(), network.detours())


async def _dump_into(network: Network) -> bool:
    """Fill NETWORK; False when it changed meanwhile and may be inconsistent."""
    consistent = True
    with _open(0) as sock:
        for kind in (GETLINK, GETADDR, GETROUTE):
            sock.send(dump_request(kind))
            done = False
            while not done:
                # The kernel makes the answer while it is read: no wait, but perhaps a long table.
                await trio.lowlevel.checkpoint()
                for message in decode(_receive(sock, 0)):
                    if message.kind == ERROR:
                        raise HostError(
                            "the kernel does not list links and routes; is this a sandbox without netlink?"
                        )
                    done = done or message.kind == DONE
                    consistent = consistent and not message.interrupted
                    if message.fact is not None:
                        network.add(message.fact)
    return consistent


def _open(groups: int) -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    sock.bind((0, groups))
    return sock


def _receive(sock: socket.socket, flags: int) -> bytes:
    data, (port, _) = sock.recvfrom(_READ_MAX, flags)
    return data if port == 0 else b""  # other processes can write to us; only the kernel counts


def _cause(message: Message) -> Cause:
    if isinstance(message.fact, Link):
        return "link"
    return "address" if isinstance(message.fact, Address) else "route"


def _slept_s() -> float:
    """Seconds this host has been suspended since it was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
