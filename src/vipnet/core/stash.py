"""Sealed datagrams of the last moments, to be sent again where a move has lost them.

The same bytes are sent, under the same counter: the receiver's replay window makes
sure that none is delivered twice. Nothing is sealed anew.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from heapq import merge
from math import inf, nextafter

from msgspec import Struct

from vipnet.core.session import Session
from vipnet.policy import REPLAY_WINDOW, Policy
from vipnet.types import Instant, Locator
from vipnet.wire.control import Report

# Older ones might fall out of the receiver's window while they are under way.
_COUNTERS_MAX = REPLAY_WINDOW * 7 // 8


class Sent(Struct, gc=False):
    """Datagrams as they left together, or tried to; `destination` and `sent_at` are those of the last time.

    counter       of the first; the others follow
    payload       one behind the other
    waiting       they were found missing, and have not been sent again yet
    segment_size  bytes of each but the last; None: it is one
    repeated      a bulk transfer's: TCP sends by itself what is lost of it
    """

    session: Session
    counter: int
    payload: bytes | bytearray | memoryview
    destination: Locator
    sealed_at: Instant
    sent_at: Instant
    waiting: bool = False
    segment_size: int | None = None
    repeated: bool = False

    @property
    def count(self) -> int:
        return 1 if self.segment_size is None else -(-len(self.payload) // self.segment_size)

    def each(self) -> Iterator[Sent]:
        """Every datagram by itself; they share the memory."""
        size = self.segment_size
        if size is None:
            yield self
            return
        view = memoryview(self.payload)
        for number, start in enumerate(range(0, len(view), size)):
            yield Sent(
                self.session,
                self.counter + number,
                view[start : start + size],
                self.destination,
                self.sealed_at,
                self.sent_at,
                self.waiting,
                None,
                self.repeated,
            )


class StashRoom:
    """What all stashes of a host may hold together, bytes."""

    def __init__(self, policy: Policy) -> None:
        self.free_bytes = policy.stash_total_bytes


class Stash:
    """Datagrams to one peer, oldest first; bounded in time and size.

    Where there is no room for all, a bulk transfer's go first: else it would push out within some
    hundredths of a second what nobody but we can send again.

    lost_since  what was sent before is not lost, even if the path turns out to be gone now:
                it needs no more room than `stash_min_bytes`
    in_outage   whether there is reason to believe that the path is gone
    dropped     datagrams that were needed, as far as one could know, and were not kept: there was no
                room, or the outage took too long; those that TCP repeats are not counted
    """

    def __init__(
        self,
        policy: Policy,
        room: StashRoom,
        lost_since: Callable[[Instant], Instant],
        in_outage: Callable[[], bool],
    ) -> None:
        self._policy, self._room = policy, room
        self._lost_since, self._in_outage = lost_since, in_outage
        self._once: deque[Sent] = deque()
        self._repeated: deque[Sent] = deque()
        self._gone_to: Instant | None = None  # when the newest of those that are gone was sealed
        self._size_bytes = 0
        self.dropped = 0

    def keep(self, sent: Sent) -> None:
        now, size = sent.sealed_at, len(sent.payload)
        self.expire(now)
        if self._size_bytes + size > self._policy.stash_min_bytes or self._room.free_bytes < size:
            self._make_room(size, now)
            if self._room.free_bytes < size:
                self._note_gone(sent)
                self.dropped += 0 if sent.repeated else sent.count
                return
        (self._repeated if sent.repeated else self._once).append(sent)
        self._size_bytes += size
        self._room.free_bytes -= size

    def __iter__(self) -> Iterator[Sent]:
        """All that is here, oldest first."""
        return merge(self._once, self._repeated, key=_sealed_at)

    @property
    def oldest(self) -> Instant | None:
        """Whatever was sealed since then is here; None: nothing is."""
        first = next(iter(self), None)
        if first is None or self._gone_to is None or first.sealed_at > self._gone_to:
            return None if first is None else first.sealed_at
        return Instant(nextafter(self._gone_to, inf))

    def missing(
        self,
        reports: Sequence[Report],
        path: Locator,
        since: Instant,
        arriving_since: Instant | None,
        newest: Session | None,
    ) -> list[Sent]:
        """What the peer has not received, oldest first.

        reports         of the peer: one for each of its receiving keys
        path            where datagrams go now
        since           what was sent last before is not this outage's loss
        arriving_since  what has gone to PATH since then may still be under way: a datagram
                        of that instant is known to have arrived. None: nothing is known
        """
        by_index = {report.index: _Received(report) for report in reports}
        self._take_apart(by_index)
        since = min(since, self._stopped_arriving(by_index, path, since))
        missing = []
        for sent in self:
            if sent.sent_at < since and not sent.waiting:
                continue
            if sent.counter < sent.session.sent - _COUNTERS_MAX:
                continue
            received = by_index.get(sent.session.remote_index)
            # Of an older session without a report nothing is known, nor whether its key still opens.
            lost = sent.session is newest if received is None else sent.counter not in received
            if lost and not _is_under_way(sent, path, arriving_since, received):
                missing.append(sent)
        return missing

    def _take_apart(self, by_index: dict[int, _Received]) -> None:
        """Look at each datagram by itself, but where all that left together has arrived."""
        for queue in (self._once, self._repeated):
            whole = list(queue)
            queue.clear()
            for sent in whole:
                received = by_index.get(sent.session.remote_index)
                if received is not None and received.has_all(sent.counter, sent.count):
                    queue.append(sent)
                else:
                    queue.extend(sent.each())

    def _stopped_arriving(self, by_index: dict[int, _Received], path: Locator, otherwise: Instant) -> Instant:
        """When the oldest of those left of which none has arrived, where datagrams went before.

        A path can die one way: the peer is heard all the while, and only its report tells.
        """
        stopped_at = otherwise
        for sent in reversed(list(self)):
            if sent.destination == path:
                continue
            received = by_index.get(sent.session.remote_index)
            if received is None or sent.counter in received:
                break
            stopped_at = sent.sealed_at
        return stopped_at

    def clear(self) -> None:
        self._room.free_bytes += self._size_bytes
        self._once.clear()
        self._repeated.clear()
        self._size_bytes, self._gone_to = 0, None

    def expire(self, now: Instant) -> None:
        """Let go of what no replay will need: not while the path is gone, but for the longest outage."""
        horizon = now - self._policy.stash_s
        queues = [one for one in (self._once, self._repeated) if one and one[0].sealed_at < horizon]
        if not queues:
            return
        in_outage = self._in_outage()
        lost_since = self._lost_since(now) if in_outage else now
        needed_from = now - self._policy.outage_s
        for queue in queues:
            while queue and queue[0].sealed_at < horizon:
                sent = queue[0]
                if (
                    in_outage
                    and sent.sealed_at >= needed_from
                    and (sent.waiting or sent.sent_at >= lost_since)
                ):
                    break
                self._drop_oldest(queue, lost_since)

    def _make_room(self, size: int, now: Instant) -> None:
        """Drop the oldest: gladly what no replay would need, the rest where the bounds say so."""
        policy, lost_since = self._policy, self._lost_since(now)
        while self._once or self._repeated:
            queue = self._repeated or self._once
            if queue[0].sent_at >= lost_since and self._once and self._once[0].sent_at < lost_since:
                queue = self._once
            if (
                self._room.free_bytes >= size
                and self._size_bytes + size <= policy.stash_bytes
                and (self._size_bytes + size <= policy.stash_min_bytes or queue[0].sent_at >= lost_since)
            ):
                break
            self._drop_oldest(queue, lost_since)

    def _drop_oldest(self, queue: deque[Sent], lost_since: Instant) -> None:
        sent = queue.popleft()
        self._note_gone(sent)
        if not sent.repeated and (sent.sent_at >= lost_since or sent.waiting):
            self.dropped += sent.count
        size = len(sent.payload)
        self._size_bytes -= size
        self._room.free_bytes += size

    def _note_gone(self, sent: Sent) -> None:
        if self._gone_to is None or sent.sealed_at > self._gone_to:
            self._gone_to = sent.sealed_at


def _sealed_at(sent: Sent) -> Instant:
    return sent.sealed_at


def _is_under_way(
    sent: Sent, path: Locator, arriving_since: Instant | None, received: _Received | None
) -> bool:
    if sent.waiting or sent.destination != path or arriving_since is None or sent.sent_at < arriving_since:
        return False
    return received is None or sent.counter > received.highest


class _Received:
    """A report as a set of counters; a peer may write nonsense, but it costs no more than sense."""

    def __init__(self, report: Report) -> None:
        self._base, self.highest = report.base, report.highest
        gaps = sorted(report.gaps)
        self._first = [report.base + offset for offset, _ in gaps]
        self._after = [report.base + offset + length for offset, length in gaps]

    def has_all(self, first: int, count: int) -> bool:
        """Whether COUNT counters from FIRST on have all been received."""
        last = first + count - 1
        if last > self.highest:
            return False
        gap = bisect_right(self._first, last) - 1
        return gap < 0 or first >= self._after[gap]

    def __contains__(self, counter: int) -> bool:
        if not self._base <= counter <= self.highest:
            return counter < self._base
        gap = bisect_right(self._first, counter) - 1
        return gap < 0 or counter >= self._after[gap]
