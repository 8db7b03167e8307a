"""Who is to be served next, of many that have a deadline each."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from vipnet.types import Fqdn, Instant


class Schedule:
    """For each name the earliest instant that it has asked for since it was served last.

    A deadline that has become later is not looked for in the heap: its name is served too
    early, which does no harm, and asks anew.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[Instant, int, Fqdn]] = []
        self._earliest: dict[Fqdn, Instant] = {}  # the entry of each name that counts
        self._added = 0  # of two that are due at one instant the one that asked first is served first

    def __len__(self) -> int:
        """Entries in the heap, those included that count no more."""
        return len(self._heap)

    def next_timeout(self) -> Instant | None:
        """When somebody is due; perhaps nobody, if an entry that counts no more is the first."""
        return self._heap[0][0] if self._heap else None

    def ask(self, name: Fqdn, at: Instant | None) -> None:
        """Serve NAME not later than AT; None: it wants nothing."""
        earliest = self._earliest.get(name)
        if at is not None and (earliest is None or at < earliest):
            self._earliest[name] = at
            self._added += 1
            heapq.heappush(self._heap, (at, self._added, name))

    def forget(self, name: Fqdn) -> None:
        """NAME is not there any more, or somebody else has it now."""
        self._earliest.pop(name, None)

    def due(self, now: Instant) -> Iterator[Fqdn]:
        """The names to be served now, also those that ask for it while others are."""
        while self._heap and self._heap[0][0] <= now:
            at, _, name = heapq.heappop(self._heap)
            if self._earliest.get(name) == at:  # else an earlier entry took its place
                del self._earliest[name]
                yield name
