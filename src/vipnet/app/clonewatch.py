"""Another machine has this host's key and name: a copied image. What this one does about it.

Partners say so, and one of them may lie: that alone shows in `status` and the log, no more.
When DNS has an address for the name that this host did not put there, the other machine
updates it as well. Then publishing stops here, or the name would flap between the two; when the
other one is gone, DNS gets this one's address again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import trio

from vipnet.core.outputs import LookupResult

AGAIN_S: Final = 10.0
WHY: Final = (
    "another machine uses this host's name and key: "
    "give one of the two a name of its own, and `vipnet key rotate` there"
)
log = logging.getLogger(__name__)


class Publishing(Protocol):
    """What is needed of PublishLoop."""

    def pause(self, why: str, *, lost: bool = False) -> None: ...

    def resume(self) -> None: ...

    @property
    def address(self) -> str | None: ...


class CloneWatch:
    """Stops publishing while it is fought over.

    ask     the name's own servers for this host's addresses
    cloned  whether somebody said not long ago that there are two machines
    """

    def __init__(
        self,
        publishing: Publishing,
        *,
        ask: Callable[[], Awaitable[LookupResult]],
        cloned: Callable[[], bool],
    ) -> None:
        self._publishing, self._ask, self._cloned = publishing, ask, cloned
        self._noticed = trio.Event()

    def handle_notice(self) -> None:
        """Somebody says that our key is on two machines."""
        self._noticed.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await self._noticed.wait()
            self._noticed = trio.Event()
            if not await self._is_fought_over():
                continue
            log.warning("publish.stopped", extra={"why": WHY})
            while self._cloned():
                self._publishing.pause(WHY, lost=True)
                await trio.sleep(AGAIN_S)
            self._publishing.resume()

    async def _is_fought_over(self) -> bool:
        found, ours = await self._ask(), self._publishing.address
        return bool(found.addresses) and ours is not None and ours not in found.addresses
