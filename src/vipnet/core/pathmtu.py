"""What a path carries, found by probes from end to end (RFC 8899): no router has to be believed.

A size is that of an IP packet, bytes. Below `size` datagrams leave with DF; what routers say
of a path is a hint that chooses what is probed next, and decides nothing.

    BASE       nothing is known: MTU_BASE is assumed, and fragmentation allowed
    SEARCHING  probes are under way; what has been answered so far is used
    COMPLETE   the size is known; it is confirmed while full datagrams go, and raised in time
    ERROR      not even MTU_BASE is answered: all goes whole, and routers may cut it
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from msgspec import Struct

from vipnet.policy import CHALLENGE_SIZE, MTU_BASE, Policy
from vipnet.types import Instant, Locator
from vipnet.wire.datagram import SEAL_OVERHEAD, TCP_OVERHEAD

_UDP_HEADER: Final = 8  # bytes
_IP_HEADER: Final = {False: 20, True: 40}  # bytes, by "is IPv6"
_LEAST: Final = {False: 576, True: 1280}  # bytes that a router may name: RFC 791, RFC 8200 section 5

_GRANULARITY: Final = 8  # bytes; a search is over when it cannot find more than so much
_AT_ONCE: Final = 4  # sizes probed together
_OUTSTANDING_MAX: Final = 32
_PATHS_MAX: Final = 4


class State(Enum):
    """RFC 8899 section 5.2, without DISABLED."""

    BASE = auto()
    SEARCHING = auto()
    COMPLETE = auto()
    ERROR = auto()


class Probe(Struct, frozen=True):
    """A datagram that makes an IP packet of `size` bytes; the answer repeats `data`."""

    size: int
    data: bytes


class Step(Struct, frozen=True):
    """What is due.

    lost_since  full datagrams that left later may not have arrived; None: nothing says so
    """

    probes: tuple[Probe, ...] = ()
    lost_since: Instant | None = None


class PathMtu:
    """One path: to a locator, from one of our addresses.

    size        greatest IP packet that goes whole
    narrow      whether tun0 makes larger ones
    inner_max   greatest inner packet that goes whole
    whole_max   greatest datagram (UDP payload) that leaves with DF
    watch_from  greatest datagram that says nothing of the path, and ...
    watch_at    ... when a greater one is to be noted by watch()
    undecided   no search of this path has had its end: what is too large may yet pass
    told_at     when an application first heard that its packet is too large
    """

    def __init__(
        self,
        path: tuple[Locator, str | None],
        tun_mtu: int,
        policy: Policy,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.path = path
        is_ipv6 = ":" in path[0].host
        self._policy, self._random_bytes = policy, random_bytes
        self._header = _IP_HEADER[is_ipv6] + _UDP_HEADER
        self._least = _LEAST[is_ipv6]
        self._small = self._header + SEAL_OVERHEAD + CHALLENGE_SIZE
        self._max = tun_mtu + TCP_OVERHEAD + self._header
        self._base = min(MTU_BASE, self._max)
        self.watch_from = self._base - self._header
        self.watch_at = Instant(0.0)
        self.told_at: Instant | None = None
        self._rtt_s = 0.0  # of the last probe: queues of bulk traffic count
        self._again_at = Instant(0.0)  # no search begins earlier
        self._raise_s = policy.mtu_raise_s
        self._deaf_until = Instant(0.0)  # routers have been wrong
        self._confirmed_at: Instant | None = None  # the size in use
        self._restart(State.BASE)

    def _restart(self, state: State) -> None:
        self._sent: dict[bytes, tuple[int, Instant]] = {}  # size, and when
        self._confirmed = 0  # greatest size that was answered
        self._ceiling = self._max  # greatest size that may be
        self._hint: int | None = None  # a router's
        self._doubted: int | None = None  # the size in use, when a router said less
        self._round: tuple[int, ...] = ()  # sizes that are being probed
        self._tries = 0
        self._round_from: Instant | None = None
        self._at: Instant | None = None
        self.undecided = True
        self.told_at = None
        self._settle(state)

    def _settle(self, state: State) -> None:
        self.state = state
        self.size = self._max if state is State.ERROR else max(self._confirmed, self._base)
        self.narrow = self.size < self._max
        self.inner_max = self.size - self._header - TCP_OVERHEAD
        self.whole_max = self._confirmed - self._header

    def datagram_size(self, size: int) -> int:
        """UDP payload of an IP packet of SIZE bytes."""
        return size - self._header

    # --- inputs

    def want(self, now: Instant) -> None:
        """Something is too large for `size`: see whether the path carries more."""
        if self.state in (State.BASE, State.COMPLETE) and now >= self._again_at:
            self._ceiling, self._hint = self._max, None
            self._search(now)

    def watch(self, now: Instant) -> None:
        """A datagram above `watch_from` leaves: see that such arrive (RFC 8899 section 4.3)."""
        self.watch_at = Instant(now + self._policy.mtu_confirm_s)
        if self.state is State.COMPLETE and self._at is None:
            self._begin_round((self._confirmed,), now)
        elif self.state is State.ERROR and now >= self._again_at:
            self._restart(State.BASE)
            self._search(now)

    def handle_answer(self, data: bytes, now: Instant) -> bool:
        """The peer has received the probe with DATA; False: it is none of this path's."""
        size, sent_at = self._sent.pop(data, (0, now))
        if not size:
            return False
        self._rtt_s = now - sent_at
        confirms = self.state is State.COMPLETE
        if size >= max(self._confirmed, self._base):
            self._confirmed, self._confirmed_at = size, now
            self._settle(self.state)
        if self._round and (size if confirms else self._confirmed) >= max(self._round):
            if confirms:
                self._end_round()
            else:
                self._next_round(now)
        return True

    def handle_too_big(self, size: int, now: Instant) -> Step:
        """A router says that it passes no more than SIZE. Anyone can forge that: it is probed.

        Until then nothing is lost: what was sent is asked for, what is too large is carried in pieces.
        """
        if size < self._least or now < self._deaf_until:
            return Step()
        hint = max(size, self._base)
        if self.state is State.SEARCHING:
            self._take_hint(hint, now)
        if self.state is not State.COMPLETE or size >= self.size:
            return Step()
        was, lost_since = self._confirmed, self._confirmed_at
        self._restart(State.SEARCHING)
        self._ceiling, self._hint, self._doubted = was, hint, was
        self._begin_round((self._base, hint, was), now)
        return Step(lost_since=lost_since)

    def _take_hint(self, hint: int, now: Instant) -> None:
        """One a search: who forges many must not cause many probes."""
        if self._hint is None and self._confirmed <= hint < self._ceiling:
            self._hint = hint
            if hint > self._confirmed and hint not in self._round:
                self._begin_round((*self._round, hint), now)

    def handle_link(self, size: int, now: Instant) -> None:
        """Our own kernel does not send more than SIZE this way: that is so."""
        if size >= self._ceiling or size < self._base:
            return
        if size < self._confirmed:
            self._restart(State.BASE)
        self._ceiling = size
        if self.state is not State.SEARCHING:
            self._search(now)
        elif self._ceiling - self._confirmed < _GRANULARITY:
            self._complete(now)
        else:
            self._begin_round((*(one for one in self._round if one < size), size), now)

    # --- time

    def next_timeout(self) -> Instant | None:
        return self._at

    def handle_timeout(self, now: Instant, rto_s: float, heard_at: Instant | None) -> Step:
        """What is due. HEARD_AT: of the peer, last; who is silent has another trouble than size."""
        if self._at is None or now < self._at:
            return Step()
        heard = heard_at is not None and self._round_from is not None and heard_at > self._round_from
        if self._tries < self._policy.mtu_probes:
            wait_s = max(rto_s, 2 * self._rtt_s, self._policy.mtu_wait_s)
            self._at = Instant(now + wait_s * 2**self._tries)
            self._tries += 1
            # The second time a small one as well: is the peer there at all?
            sizes = [*self._unanswered(), *([self._small] if self._tries == 2 else [])]
            suspect = self.state is State.COMPLETE and self._tries == self._policy.mtu_probes
            probes = tuple(self._issue(size, now) for size in sizes)
            return Step(probes, self._confirmed_at if suspect else None)
        if not heard:
            self._give_up(now)
            return Step()
        if self.state is State.COMPLETE:
            # A black hole: small ones arrive, full ones do not (RFC 8899 section 4.3).
            lost_since = self._confirmed_at
            self._restart(State.BASE)
            self._search(now)
            return Step(self._first_try(now, rto_s), lost_since)
        self._fail_round(now)
        return Step(self._first_try(now, rto_s))

    # --- rounds

    def _search(self, now: Instant) -> None:
        self._settle(State.SEARCHING)
        first = (
            (self._ceiling,)
            if self._confirmed or self._ceiling <= self._base
            else (self._base, self._ceiling)
        )
        self._begin_round(first, now)

    def _begin_round(self, sizes: tuple[int, ...], now: Instant) -> None:
        self._round, self._tries = tuple(sorted(set(sizes))), 0
        self._round_from = self._at = now

    def _end_round(self) -> None:
        self._round, self._at = (), None

    def _first_try(self, now: Instant, rto_s: float) -> tuple[Probe, ...]:
        """What a round that has just begun sends."""
        return self.handle_timeout(now, rto_s, None).probes

    def _unanswered(self) -> list[int]:
        confirming = self.state is State.COMPLETE
        return [size for size in self._round if confirming or size > self._confirmed]

    def _issue(self, size: int, now: Instant) -> Probe:
        if len(self._sent) >= _OUTSTANDING_MAX:
            del self._sent[next(iter(self._sent))]
        data = self._random_bytes(CHALLENGE_SIZE)
        self._sent[data] = (size, now)
        return Probe(size, data)

    def _next_round(self, now: Instant) -> None:
        """Probe between what is known to pass and what may."""
        low, room = self._confirmed, self._ceiling - self._confirmed
        if room < _GRANULARITY:
            self._complete(now)
            return
        if self._hint is not None and low < self._hint <= self._ceiling:
            self._begin_round((self._hint,), now)
            return
        self._begin_round(tuple(low + room * part // (_AT_ONCE + 1) for part in range(1, _AT_ONCE + 1)), now)

    def _fail_round(self, now: Instant) -> None:
        """The peer is heard, but some sizes are not answered: they do not pass."""
        if not self._confirmed:
            self._put_off(now)
            self.undecided = False
            self._settle(State.ERROR)
            self._end_round()
            return
        if self._confirmed == self._hint:
            self._complete(now)  # a router said so, and so it is
            return
        self._ceiling = min(self._unanswered()) - 1
        self._next_round(now)

    def _complete(self, now: Instant) -> None:
        if self._confirmed >= self._max:
            self._raise_s = self._policy.mtu_raise_s
        else:
            self._put_off(now)
        if self._confirmed == self._doubted:
            self._deaf_until = Instant(now + self._policy.mtu_deaf_s)
        self._hint = self._doubted = None
        self.undecided = False
        self.watch_at = Instant(now + self._policy.mtu_confirm_s)
        self._settle(State.COMPLETE)
        self._end_round()

    def _give_up(self, now: Instant) -> None:
        """Nothing is heard: the path is gone, or about to be. A known size is kept."""
        self._end_round()
        self._again_at = Instant(now + self._policy.mtu_confirm_s)
        if self.state is State.SEARCHING:
            if self.undecided:
                self._restart(State.BASE)
            else:
                self._settle(State.COMPLETE)

    def _put_off(self, now: Instant) -> None:
        """Try again later, each time after twice as long (PMTU_RAISE_TIMER of RFC 8899 section 5.1.1)."""
        self._again_at = Instant(now + self._raise_s)
        self._raise_s = min(2 * self._raise_s, self._policy.mtu_raise_max_s)


class PathMtus:
    """The paths to one peer that are in use; a move starts new ones."""

    def __init__(self, policy: Policy, random_bytes: Callable[[int], bytes]) -> None:
        self._policy, self._random_bytes = policy, random_bytes
        self._paths: dict[tuple[Locator, str | None], PathMtu] = {}
        self._used: PathMtu | None = None  # last

    def path(self, to: Locator, source: str | None, tun_mtu: int) -> PathMtu:
        used, path = self._used, (to, source)
        if used is not None and used.path == path:
            return used
        found = self._paths.get(path)
        if found is None:
            if len(self._paths) >= _PATHS_MAX:
                del self._paths[next(iter(self._paths))]
            found = self._paths[path] = PathMtu(path, tun_mtu, self._policy, self._random_bytes)
        self._used = found
        return found

    def size(self, to: Locator, source: str | None) -> int | None:
        """That of the path; None until a search has had its end."""
        found = self._paths.get((to, source))
        return None if found is None or found.undecided else found.size

    def to_host(self, host: str) -> list[PathMtu]:
        """Paths to HOST that are in use."""
        return [path for path in self._paths.values() if path.path[0].host == host]

    def forget(self) -> None:
        self._paths.clear()
        self._used = None

    def next_timeout(self) -> Instant | None:
        if self._used is None:
            return None
        if len(self._paths) == 1:  # mostly; this is asked after every packet
            return self._used.next_timeout()
        deadlines = [path.next_timeout() for path in self._paths.values()]
        return min((at for at in deadlines if at is not None), default=None)

    def due(self, now: Instant) -> list[PathMtu]:
        paths = self._paths.values()
        return [path for path in paths if (at := path.next_timeout()) is not None and now >= at]

    def handle_answer(self, data: bytes, now: Instant) -> bool:
        """The probe with DATA arrived; False: it was none of ours."""
        return any(path.handle_answer(data, now) for path in self._paths.values())
