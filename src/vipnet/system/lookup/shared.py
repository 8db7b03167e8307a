"""Overlapping calls for the same thing, made once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import trio

from vipnet.errors import VipnetError

T = TypeVar("T")


class SharedCalls(Generic[T]):
    """Calls with one key that overlap in time are made once, and end alike for all callers."""

    def __init__(self) -> None:
        self._running: dict[Hashable, _Call[T]] = {}

    async def share(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """Return what WORK returns, or raise the VipnetError it raises."""
        while (running := self._running.get(key)) is not None:
            await running.ended.wait()
            if running.error is not None:
                raise running.error
            if running.result is not None:
                return running.result[0]
            # Whoever ran it was cancelled: one of those who waited takes over.
        call = self._running[key] = _Call()
        try:
            result = await work()
            call.result = (result,)
        except VipnetError as error:
            call.error = error
            raise
        finally:
            del self._running[key]
            call.ended.set()
        return result


class _Call(Generic[T]):
    def __init__(self) -> None:
        self.ended = trio.Event()
        self.result: tuple[T] | None = None
        self.error: VipnetError | None = None
