"""Path challenges under way to one peer (RFC 9000 section 8.2)."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from vipnet.policy import CHALLENGE_SIZE
from vipnet.types import Instant, Locator

_OUTSTANDING_MAX = 32
_REPEATS_MAX = 5  # with an RTO of 20 ms this is over after 1.3 s, when liveness looks after the path
_VALID_S = 5.0  # an answer that takes longer proves nothing of the path now


class Answered(Struct, frozen=True):
    """LOCATOR was challenged at `sent_at` from our address `source` and answered after `rtt_s` seconds."""

    locator: Locator
    source: str | None
    sent_at: Instant
    rtt_s: float


class Insistence:
    """A locator whose answer is needed: its challenge is repeated, after an RTO, doubling, and not for ever.

    Who is on trial there gets little until it answers; a session that we began is in force at
    the other side only when a datagram under it arrives.
    """

    def __init__(self, locator: Locator, rto_s: float, now: Instant) -> None:
        self.locator = locator
        self._gap_s, self._left = rto_s, _REPEATS_MAX
        self.at: Instant | None = Instant(now + rto_s)

    def repeat(self, now: Instant) -> None:
        """It was challenged once more."""
        self._gap_s, self._left = 2 * self._gap_s, self._left - 1
        self.at = Instant(now + self._gap_s) if self._left else None


class Challenges:
    """Which random bytes were sent where and when; bounded, the oldest are forgotten."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        self._sent: dict[bytes, tuple[Locator, str | None, Instant]] = {}

    def issue(self, locator: Locator, now: Instant, source: str | None = None) -> bytes:
        if len(self._sent) >= _OUTSTANDING_MAX:
            del self._sent[next(iter(self._sent))]
        data = self._random_bytes(CHALLENGE_SIZE)
        self._sent[data] = (locator, source, now)
        return data

    def answer(self, data: bytes, now: Instant) -> Answered | None:
        """The challenge that DATA answers; None when it is unknown, late or answered before."""
        locator, source, sent_at = self._sent.pop(data, (None, None, now))
        if locator is None or now - sent_at > _VALID_S:
            return None
        return Answered(locator, source, sent_at, now - sent_at)
