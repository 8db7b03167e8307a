"""Sealed datagrams of the last moments, to be sent again where a move has lost them.

The same bytes are sent, under the same counter: the receiver's replay window makes
sure that none is delivered twice. Nothing is sealed anew.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

from msgspec import Struct

from vipnet.core.session import Session
from vipnet.policy import REPLAY_WINDOW, Policy
from vipnet.types import Instant, Locator
from vipnet.wire.control import Report

# Older ones might fall out of the receiver's window while they are under way.
_COUNTERS_MAX = REPLAY_WINDOW * 7 // 8


class Sent(Struct, frozen=True, gc=False):
    """A datagram as it left, or tried to."""

    session: Session
    counter: int
    datagram: bytes
    destination: Locator
    sealed_at: Instant


class StashRoom:
    """What all stashes of a host may hold together, bytes."""

    def __init__(self, policy: Policy) -> None:
        self.free_bytes = policy.stash_total_bytes


class Stash:
    """Datagrams to one peer, oldest first; bounded in time and size, excess is counted."""

    def __init__(self, policy: Policy, room: StashRoom) -> None:
        self._policy, self._room = policy, room
        self._sent: deque[Sent] = deque()
        self._size_bytes = 0
        self.pushed_out = 0  # before their time: there was no room

    def keep(self, sent: Sent) -> None:
        self.expire(sent.sealed_at)
        size = len(sent.datagram)
        policy, room = self._policy, self._room
        while self._sent and (self._size_bytes + size > policy.stash_bytes or room.free_bytes < size):
            self._drop_oldest()
            self.pushed_out += 1
        if room.free_bytes < size:
            self.pushed_out += 1
            return
        self._sent.append(sent)
        self._size_bytes += size
        room.free_bytes -= size

    def missing(
        self, reports: Sequence[Report], path: Locator, since: Instant, now: Instant, newest: Session | None
    ) -> list[Sent]:
        """What the peer has not received, oldest first.

        reports  of the peer: one for each of its receiving keys
        path     where datagrams go now: what went there lately may still be under way
        since    what was sealed earlier is not this move's loss
        """
        self.expire(now)
        by_index = {report.index: _Received(report) for report in reports}
        since = min(since, self._stopped_arriving(by_index, path, since))
        missing = []
        for sent in self._sent:
            if sent.sealed_at < since or sent.counter < sent.session.sent - _COUNTERS_MAX:
                continue
            received = by_index.get(sent.session.remote_index)
            if received is None:
                # Nothing of the newest session has arrived; of older ones we are not told.
                if sent.session is newest and sent.destination != path:
                    missing.append(sent)
            elif sent.counter not in received and (
                sent.counter < received.highest or sent.destination != path
            ):
                missing.append(sent)
        return missing

    def _stopped_arriving(self, by_index: dict[int, _Received], path: Locator, otherwise: Instant) -> Instant:
        """When the oldest of those left of which none has arrived, where datagrams went before.

        A path can die one way: the peer is heard all the while, and only its report tells.
        """
        stopped_at = otherwise
        for sent in reversed(self._sent):
            if sent.destination == path:
                continue
            received = by_index.get(sent.session.remote_index)
            if received is None or sent.counter in received:
                break
            stopped_at = sent.sealed_at
        return stopped_at

    def clear(self) -> None:
        while self._sent:
            self._drop_oldest()

    def expire(self, now: Instant) -> None:
        """Let go of what is too old for a replay."""
        horizon = now - self._policy.stash_s
        while self._sent and self._sent[0].sealed_at < horizon:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        size = len(self._sent.popleft().datagram)
        self._size_bytes -= size
        self._room.free_bytes += size


class _Received:
    """A report as a set of counters; a peer may write nonsense, but it costs no more than sense."""

    def __init__(self, report: Report) -> None:
        self._base, self.highest = report.base, report.highest
        gaps = sorted(report.gaps)
        self._first = [report.base + offset for offset, _ in gaps]
        self._after = [report.base + offset + length for offset, length in gaps]

    def __contains__(self, counter: int) -> bool:
        if not self._base <= counter <= self.highest:
            return counter < self._base
        gap = bisect_right(self._first, counter) - 1
        return gap < 0 or counter >= self._after[gap]
