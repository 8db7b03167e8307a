"""Packets are served in trio's waits, and nothing that trio does suffers from it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.testing

from vipnet.system import packetsfirst
from vipnet.system.packetsfirst import PacketsFirst
from vipnet.types import Instant

LONG_S = 30  # far more than anything here takes


class Mailbox:
    """A descriptor that is readable while something is in it; `serve` takes it out."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.served: list[bool] = []  # whether we had slept before
        self.leave = 0  # so often it stays readable
        self._wanted, self._enough = 0, trio.Event()

    def put(self) -> None:
        os.eventfd_write(self.fd, 1)

    def serve(self, now: Instant, slept: bool) -> bool:
        self.served.append(slept)
        if self.leave:
            self.leave -= 1
        else:
            os.eventfd_read(self.fd)
        if len(self.served) != self._wanted:
            return False
        self._enough.set()
        return True

    async def has_served(self, times: int) -> None:
        self._wanted, self._enough = times, trio.Event()
        if len(self.served) < times:
            await self._enough.wait()

    def close(self) -> None:
        os.close(self.fd)


def nothing() -> bool:
    return False


def now() -> Instant:
    return Instant(time.monotonic())


def served(*boxes: Mailbox) -> PacketsFirst:
    """What serves BOXES."""
    return PacketsFirst({box.fd: box.serve for box in boxes}, settle=nothing, clock=now)


@asynccontextmanager
async def serving(*boxes: Mailbox, by: PacketsFirst | None = None) -> AsyncIterator[PacketsFirst]:
    """The boxes are served; a test that hangs fails."""
    first = by or served(*boxes)
    try:
        with trio.fail_after(LONG_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(first.run)
                await trio.testing.wait_all_tasks_blocked()
                yield first
                nursery.cancel_scope.cancel()
    finally:
        for box in boxes:
            box.close()


def test_this_trio_can_be_waited_for() -> None:
    async def main() -> bool:
        return packetsfirst.available()

    assert trio.run(main), "trio has moved its epoll: packets would be served by tasks, at twice the time"


def test_what_is_there_is_served_and_others_have_their_turn() -> None:
    async def main() -> None:
        box = Mailbox()
        async with serving(box):
            for number in range(1, 4):
                # A thread comes back in between: trio is woken as well.
                await trio.to_thread.run_sync(box.put)
                await box.has_served(number)

    trio.run(main)


def test_who_finds_more_at_once_has_not_slept() -> None:
    async def main() -> None:
        box = Mailbox()
        box.leave = 200
        async with serving(box):
            await trio.sleep(0.01)
            await trio.to_thread.run_sync(box.put)
            await box.has_served(201)
            assert box.served.count(False) > 100

    trio.run(main)


def test_a_flood_does_not_keep_tasks_from_running() -> None:
    async def main() -> None:
        box = Mailbox()
        box.leave = 10**9
        box.put()
        async with serving(box):
            left, right = trio.socket.socketpair()
            with left, right:
                for _ in range(5):
                    await trio.sleep(0.001)
                    await left.send(b"x")
                    assert await right.recv(1) == b"x"
            assert box.served

    trio.run(main)


def test_a_task_that_is_woken_runs_at_once() -> None:
    async def main() -> None:
        box, news = Mailbox(), trio.Event()

        def serve(now: Instant, slept: bool) -> bool:
            box.serve(now, slept)
            news.set()
            return True

        first = PacketsFirst({box.fd: serve}, settle=nothing, clock=now)
        with trio.fail_after(LONG_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(first.run)
                # Nothing else would wake trio before.
                with trio.move_on_after(LONG_S / 2) as waiting:
                    box.put()
                    await news.wait()
                nursery.cancel_scope.cancel()
        box.close()
        assert not waiting.cancel_called, "it ran when its time was over"

    trio.run(main)


def test_a_deadline_that_is_set_meanwhile_is_kept() -> None:
    async def main() -> None:
        box, timer = Mailbox(), trio.CancelScope()

        def serve(now: Instant, slept: bool) -> bool:
            box.serve(now, slept)
            timer.deadline = trio.current_time() + 0.01
            return True

        first = PacketsFirst({box.fd: serve}, settle=nothing, clock=now)
        with trio.fail_after(LONG_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(first.run)
                box.put()
                with timer:
                    await trio.sleep_forever()
                nursery.cancel_scope.cancel()
        box.close()
        assert timer.cancelled_caught

    trio.run(main)


class Accounts:
    """What is put off: served, and not settled yet."""

    def __init__(self) -> None:
        self.open = 0
        self.settled: list[int] = []  # so many at once
        self.may_wake = trio.Event()

    def serve(self, now: Instant, slept: bool) -> bool:
        self.open += 1
        return False

    def settle(self) -> bool:
        settled, self.open = self.open, 0
        if settled:
            self.settled.append(settled)
            self.may_wake.set()
        return settled > 0


def test_accounts_are_settled_when_nothing_else_comes() -> None:
    async def main() -> None:
        box, accounts = Mailbox(), Accounts()

        def serve(now: Instant, slept: bool) -> bool:
            box.serve(now, slept)
            return accounts.serve(now, slept)

        first = PacketsFirst({box.fd: serve}, settle=accounts.settle, clock=now)
        async with serving(box, by=first):
            box.put()
            # Nothing else would wake trio before.
            with trio.move_on_after(LONG_S / 2) as waiting:
                await accounts.may_wake.wait()
        assert not waiting.cancel_called, "it ran when its time was over"
        assert accounts.settled == [1]

    trio.run(main)


def test_accounts_do_not_wait_for_a_pause_that_never_comes() -> None:
    async def main() -> None:
        box, accounts = Mailbox(), Accounts()
        box.leave = 10**9
        first = PacketsFirst({box.fd: accounts.serve}, settle=accounts.settle, clock=now)
        async with serving(box, by=first):
            box.put()
            with trio.move_on_after(LONG_S / 2) as waiting:
                await accounts.may_wake.wait()
        assert not waiting.cancel_called
        assert accounts.settled[0] > 1

    trio.run(main)


def test_no_task_sees_accounts_that_are_open() -> None:
    async def main() -> None:
        box, accounts, seen = Mailbox(), Accounts(), []
        box.leave = 10**9
        first = PacketsFirst({box.fd: accounts.serve}, settle=accounts.settle, clock=now)
        async with serving(box, by=first):
            box.put()
            for _ in range(200):
                await trio.to_thread.run_sync(lambda: None)
                seen.append(accounts.open)
        assert accounts.settled
        assert set(seen) == {0}

    trio.run(main)


def test_accounts_are_settled_although_a_deadline_passes_while_something_is_served() -> None:
    async def main() -> None:
        box, accounts = Mailbox(), Accounts()

        def serve(at: Instant, slept: bool) -> bool:
            while now() < late:
                pass
            box.serve(at, slept)
            return accounts.serve(at, slept)

        first = PacketsFirst({box.fd: serve}, settle=accounts.settle, clock=now)
        async with serving(box, by=first):
            late = now() + 0.02
            box.put()
            await trio.sleep(0.01)
            assert (accounts.open, accounts.settled) == (0, [1])

    trio.run(main)


def test_what_is_served_is_told_the_time() -> None:
    async def main() -> None:
        box, told = Mailbox(), []

        def serve(at: Instant, slept: bool) -> bool:
            told.append((at, now()))
            return box.serve(at, slept)

        first = PacketsFirst({box.fd: serve}, settle=nothing, clock=now)
        async with serving(box, by=first):
            before = now()
            await trio.to_thread.run_sync(box.put)
            await box.has_served(1)
        ((at, then),) = told
        assert before <= at <= then

    trio.run(main)


def test_what_waits_is_left_alone() -> None:
    async def main() -> None:
        paused, other = Mailbox(), Mailbox()
        async with serving(paused, other) as first:
            first.pause(paused.fd)
            paused.put()
            other.put()
            await other.has_served(1)
            assert not paused.served
            first.resume(paused.fd)
            await paused.has_served(1)

    trio.run(main)


def test_what_is_to_wait_may_be_said_at_any_time() -> None:
    """A socket may be full before packets are served, and when the last farewells are sent."""

    async def main() -> None:
        early, late = Mailbox(), Mailbox()
        first = served(early, late)
        first.pause(early.fd)
        early.put()
        with trio.fail_after(LONG_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(first.run)
                late.put()
                await late.has_served(1)
                assert not early.served
                first.resume(early.fd)
                await early.has_served(1)
                nursery.cancel_scope.cancel()
        first.pause(late.fd)
        first.resume(late.fd)
        early.close()
        late.close()

    trio.run(main)


def test_a_task_that_is_woken_runs_although_what_else_woke_trio_is_over() -> None:
    """A socket has room, which a task waits for, and is full again by what is served first."""

    async def main() -> None:
        box, news = Mailbox(), trio.Event()
        left, right = socket.socketpair()
        left.setblocking(False)

        def fill() -> None:
            with suppress(BlockingIOError):
                while left.send(bytes(4096)):
                    pass

        def serve(now: Instant, slept: bool) -> bool:
            box.serve(now, slept)
            fill()
            news.set()
            return True

        first = PacketsFirst({box.fd: serve}, settle=nothing, clock=now)
        with left, right, trio.fail_after(LONG_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(first.run)
                fill()
                nursery.start_soon(trio.lowlevel.wait_writable, left)
                await trio.testing.wait_all_tasks_blocked()
                right.setblocking(False)
                with suppress(BlockingIOError):
                    while right.recv(1 << 20):
                        pass
                box.put()
                with trio.move_on_after(LONG_S / 2) as waiting:
                    await news.wait()
                nursery.cancel_scope.cancel()
        box.close()
        assert not waiting.cancel_called, "it ran when its time was over"

    trio.run(main)


def test_a_fault_ends_the_task_that_serves() -> None:
    async def main() -> None:
        box = Mailbox()

        def serve(now: Instant, slept: bool) -> bool:
            raise OSError("tun0 is gone")

        first = PacketsFirst({box.fd: serve}, settle=nothing, clock=now)
        box.put()
        try:
            with trio.fail_after(LONG_S), pytest.raises(OSError, match="tun0 is gone"):
                await first.run()
            await trio.sleep(0.001)  # and trio goes on
        finally:
            box.close()

    trio.run(main)


def test_a_trio_that_hides_its_epoll_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packetsfirst, "_epoll_of_trio", lambda: None)

    async def main() -> None:
        box = Mailbox()
        try:
            assert not packetsfirst.available()
            with pytest.raises(RuntimeError, match="epoll"):
                await served(box).run()
        finally:
            box.close()

    trio.run(main)
