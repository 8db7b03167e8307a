"""Packets are served where trio would go to sleep, so that no task is scheduled for them.

A turn of trio's scheduler takes 15 µs when it is warm and several times that after a pause, when the
processor's caches have forgotten it. So the run loop's wait is done here, for trio's own events and
the packets together: those are served in place, until trio has something to do.

What is to be done about a packet when it has left is put off: whoever the packet has woken wants
the processor now, and mostly it is this one.

trio tells of the moment (`before_io_wait`, an instrument's), but not what it waits with: that is taken from
its inside. Where it is not found, `available` says so, and packets are served by tasks as anything else.
"""

from __future__ import annotations

import math
import select
from collections.abc import Callable, Mapping
from typing import Final

import trio

from vipnet.types import Instant

Serve = Callable[[Instant, bool], bool]

_SETTLE_S: Final = 0.001  # the shortest that epoll can wait
_NAP_S: Final = 20e-6  # who waited longer has slept: one packet will have come, and not a queue


class PacketsFirst(trio.abc.Instrument):
    """Calls a function when its descriptor is readable and all tasks wait for something.

    serve   by descriptor. Told the time, and whether we have slept before; returns whether tasks, or trio's
            deadlines, may have been touched. It must not block, and may do what a callback of trio's may
    settle  called a millisecond after something was served, or before any task runs; returns the same
    clock   what `serve` is told, seconds
    """

    def __init__(
        self, serve: Mapping[int, Serve], *, settle: Callable[[], bool], clock: Callable[[], Instant]
    ) -> None:
        self._serve, self._settle, self._clock = dict(serve), settle, clock
        self._events = dict.fromkeys(serve, select.EPOLLIN)  # by descriptor: what is waited for
        self._epoll = select.epoll()
        self._trio_fd = -1  # none while nobody waits here
        self._token = trio.lowlevel.current_trio_token()
        self._error: BaseException | None = None
        self._over = trio.Event()

    async def run(self) -> None:
        """Serve until cancelled. Raise what a serving function raises, RuntimeError unless `available`."""
        waits_with = _epoll_of_trio()
        if waits_with is None:
            raise RuntimeError("trio's epoll is not where it was")
        self._trio_fd = waits_with.fileno()
        with self._epoll:
            self._epoll.register(self._trio_fd, select.EPOLLIN)
            for fd, events in self._events.items():
                self._epoll.register(fd, events)
            trio.lowlevel.add_instrument(self)
            try:
                await self._over.wait()
            finally:
                self._trio_fd = -1
                trio.lowlevel.remove_instrument(self)
        if self._error is not None:
            raise self._error

    def pause(self, fd: int) -> None:
        """What is there for FD stays there; to be said before, during and after run()."""
        self._wait_for(fd, 0)

    def resume(self, fd: int) -> None:
        self._wait_for(fd, select.EPOLLIN)

    def _wait_for(self, fd: int, events: int) -> None:
        self._events[fd] = events
        if self._trio_fd >= 0:
            self._epoll.modify(fd, events)

    def before_io_wait(self, timeout: float) -> None:
        """Sleep in trio's place, for TIMEOUT seconds at most."""
        try:
            mine = self._serve_for(timeout)
        except BaseException as error:  # noqa: BLE001 - trio logs what an instrument raises, and takes it out
            self._error = error
            self._over.set()
            mine = True
        if mine:
            # trio is about to sleep, for as long as it meant to before this was called.
            self._token.run_sync_soon(_nothing, idempotent=True)

    def _serve_for(self, timeout: float) -> bool:
        """Return whether trio has something to do that it does not know of."""
        poll, serve, trio_fd, clock = self._epoll.poll, self._serve, self._trio_fd, self._clock
        knows = timeout <= 0
        now = clock()
        until, settle_at, at_most = now + timeout, math.inf, len(serve) + 1
        while True:
            asleep_at, touched = now, False
            ready = poll(max(min(until, settle_at) - now, 0), at_most)
            now = clock()
            slept = now - asleep_at > _NAP_S
            for fd, _ in ready:
                if fd == trio_fd:
                    knows = True
                    continue
                if serve[fd](now, slept):
                    touched = True
                elif settle_at == math.inf:
                    settle_at = now + _SETTLE_S
                now = clock()
            if touched or knows or now >= min(until, settle_at):
                touched, settle_at = self._settle() or touched, math.inf
            if knows:
                # What trio was to hear of may be over: room in a socket that has been filled again here.
                return touched and timeout > 0
            if touched:
                state = trio.lowlevel.current_statistics()
                until = min(until, now + state.seconds_to_next_deadline)
                if state.tasks_runnable:
                    return True
                now = clock()  # what that took is no sleep
            if now >= until:
                return True


def available() -> bool:
    """Whether this trio can be waited for from outside. To be asked inside of its run."""
    return _epoll_of_trio() is not None


def _epoll_of_trio() -> select.epoll | None:
    try:
        found = trio._core._run.GLOBAL_RUN_CONTEXT.runner.io_manager._epoll  # noqa: SLF001 - see above
    except AttributeError:
        return None
    return found if isinstance(found, select.epoll) else None


def _nothing() -> None:
    """Called by trio, which is awake then."""
