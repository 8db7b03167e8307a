"""Two machines with one key: an image that was copied, with the key in it.

Each run of a daemon has a random id, which no later run has again. So a handshake by an
earlier run after one by a later run is two machines; an old init cannot look like that,
because its timestamp is refused.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from vipnet.types import Instant

_RUNS_MAX: Final = 8  # that are remembered
RETURNS: Final = 3  # so often to an earlier run ...
WITHIN_S: Final = 60.0  # ... in so long: the later one is refused ...
REFUSED_S: Final = 600.0  # ... for so long


class Runs:
    """The runs of a peer's daemon that completed a handshake, in the order in which they appeared."""

    def __init__(self) -> None:
        self._runs: list[bytes] = []
        self._latest: bytes | None = None
        self._returns: deque[Instant] = deque(maxlen=RETURNS)
        self._refused: tuple[bytes, Instant] | None = None
        self.seen_at: Instant | None = None  # when there were last two at once

    def saw(self, boot_id: bytes, now: Instant) -> bool:
        """A handshake with BOOT_ID is complete; return whether it shows that there are two machines."""
        before, self._latest = self._latest, boot_id
        if boot_id == before:
            return False
        if boot_id not in self._runs:
            self._runs = [*self._runs, boot_id][-_RUNS_MAX:]
            return False
        self.seen_at = now
        self._returns.append(now)
        if before is not None and len(self._returns) == RETURNS and now - self._returns[0] < WITHIN_S:
            self._returns.clear()
            later = max(before, boot_id, key=self._runs.index)
            self._refused = later, Instant(now + REFUSED_S)
        return True

    def refuses(self, boot_id: bytes, now: Instant) -> bool:
        """Whether BOOT_ID is the later of two that took turns."""
        return self._refused is not None and self._refused[0] == boot_id and now < self._refused[1]

    def are_two(self, now: Instant) -> bool:
        """Whether two machines were seen not long ago."""
        return self.seen_at is not None and now - self.seen_at < REFUSED_S
