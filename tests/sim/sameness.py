"""When two worlds are the same: all that the future of two hosts depends on, and nothing else.

Equal digests have equal futures; `test_search.py` holds that against the nodes
themselves. By default every attribute of every object counts, so a new one makes
the search longer, never blind. What makes states equal that differ in memory:

- instants count from now; the past blurs where no rule looks back so far, and
  beyond the search's horizon the future does;
- random bytes, keys and session indexes have no names but the order in which they
  are met; of timestamps and move numbers only the order counts;
- a counter matters while its datagram is in flight or kept for a replay: then whether
  a window or a report has it, else nothing;
- a challenge or a try that nothing in flight belongs to is over;
- what is only for people (reports of moves, counters of events) does not count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from hashlib import blake2b
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from msgspec import Struct
from tests.sim.barehost import BareHost, Flight
from tests.sim.opencrypto import Draws, OpenOpeningKey, OpenSealingKey
from tests.sim.reading import read_datagram
from tests.sim.twohosts import World

from vipnet.core.backlog import Backlog
from vipnet.core.host import Host
from vipnet.core.initiator import Initiation, Initiator
from vipnet.core.mapping import Mapping
from vipnet.core.moves import MoveLog
from vipnet.core.negotiation import Negotiation
from vipnet.core.node import Node
from vipnet.core.path import Challenges
from vipnet.core.peer import Peer
from vipnet.core.responder import Responder
from vipnet.core.session import Arrival, Session
from vipnet.core.stash import Sent, Stash, StashRoom
from vipnet.crypto.cookie import CookieJar
from vipnet.crypto.replay import ReplayWindow
from vipnet.policy import Policy
from vipnet.types import Locator
from vipnet.wire.control import Report
from vipnet.wire.handshake import HandshakeDatagram

_FAR_S = 20.0  # timers beyond never fire in a search
_PAST_S = {  # how far back a rule looks at an instant; others: the longest of all, 5 s
    "sealed_at": 2.2,
    "last_traffic": 0.0,
    "settled": 0.0,
    "_begun_at": 15.05,
    "path_changed_at": 6.05,
}
# So old, and it is as if it had never been.
_OVER_S = {"settled": 0.0, "listed_answered_at": 1.0, "_grace_at": 1.0, "probed": 1.0, "asked_at": 1.0}
_PAST_DEFAULT_S = 5.05
_INDEXES = {"local_index", "remote_index", "index", "sender", "receiver", "receiver_index", "reported"}
_FOR_NOTHING: dict[type, frozenset[str]] = {
    Host: frozenset({"counters", "indexes", "_plaintexts", "icmp"}),
    Node: frozenset({"_schedule", "_too_big_limit", "express", "people"}),  # the last has nothing of its own
    Mapping: frozenset({"last_heard"}),  # see _outage
    Peer: frozenset(
        {
            "current_heard",
            "outage_from",
            "rx_bytes",
            "tx_bytes",
            "moved_at",
            "data_heard",
            "lane",  # follows from the rest
            "mtus",  # the packets of a search are too small for probes
        }
    ),
    Initiator: frozenset({"unanswered"}),  # counts for hosts that have rotated their key
    Responder: frozenset({"_inits"}),
    BareHost: frozenset({"moves", "sent", "inbound", "delivered", "private_key", "public_key"}),
    Session: frozenset({"sent", "trains", "_train_sealing"}),  # the latter two have the keys of the others
    Initiation: frozenset({"datagram"}),
    OpenSealingKey: frozenset({"_sealed"}),
    Arrival: frozenset({"response"}),
}
_SKIPPED_TYPES: tuple[type, ...] = (MoveLog, Policy, CookieJar, Draws, StashRoom, IPv4Network)
KEPT_S = Policy().outage_s
_STAMP_MIN = 10**14  # timestamps and move numbers are larger, everything else is smaller
_MARK_SIZE = 32


def digest(world: World) -> bytes:
    """16 bytes, equal for worlds with the same future."""
    return blake2b(repr(Portrait(world).draw()).encode(), digest_size=16).digest()


def key_of(half: object) -> bytes:
    assert isinstance(half, OpenSealingKey | OpenOpeningKey)
    return half.key


class Portrait:
    """One pass over a world; what can only be told at the end waits in `_later`."""

    def __init__(self, world: World) -> None:
        self._world, self._now = world, world.now
        self._out: list[object] = []
        self._names: dict[object, int] = {}
        self._objects: dict[int, int] = {}
        self._later: list[tuple[int, Callable[[], object]]] = []
        self._stamps: dict[str, set[int]] = {}
        self._counters: dict[bytes, set[int]] = {}  # that matter, by key
        self._packets: set[bytes] = set()  # of applications, that may still arrive
        self._in_flight: set[object] = set()
        sessions = [session for host in world.hosts.values() for session in host.peer.sessions.all()]
        self._keys = {session.remote_index: key_of(session._sealing) for session in sessions}

    def draw(self) -> list[object]:
        hosts = self._world.hosts.values()
        for host in hosts:
            for flight in host.inbound:
                self._flight(flight)
        self._in_flight = set(self._names)
        self._out.append(self._world.calm and self._world.struck)
        for host in hosts:
            self._walk(host, "")
        for host in hosts:
            arrived = self._packets.intersection(host.delivered)
            self._out.append(sorted(self._name(packet) for packet in arrived))
            self._out.append(self._has_lost(host))
            self._out.append(self._name(self._world.zone[host.name]))
            self._out.append(self._name(host.locator.host))
        self._ranks = {
            kind: {value: rank for rank, value in enumerate(sorted(values))}
            for kind, values in self._stamps.items()
        }
        for place, value in self._later:
            self._out[place] = value()
        return self._out

    def _has_lost(self, host: BareHost) -> bool:
        """Whether a packet can never arrive, and no loss or restart is to blame: told once all is quiet."""
        used = self._world.used
        missing = self._world.other(host).packets_sent() - set(host.delivered) - self._packets
        return not (used.losses or used.restarts) and bool(missing)

    # --- values

    def _walk(self, value: Any, field: str) -> None:  # noqa: C901 - a table of types
        out = self._out
        match value:
            case None | bool() | Enum():
                out.append(value)
            case str():
                out.append(self._name(value) if field == "unpublished" else value)
            case int():
                self._int(value, field)
            case float():
                out.append(self._float(value, field))
            case bytes():
                self._bytes(value)
            case Locator():
                out.append(self._name(value.host))
            case IPv4Address():
                out.append(int(value))
            case list() | tuple() | deque():
                out.append(len(value))
                for element in value:
                    self._walk(element, field)
            case set() | frozenset():
                self._walk(sorted(value), field)
            case dict():
                self._dict(value, field)
            case Session():
                self._session(value)
            case Challenges():
                self._challenges(value)
            case Stash():
                self._walk([one for sent in value if self._matters(sent) for one in sent.each()], "")
            case Sent():
                self._sent(value)
            case Report():
                self._report(value)
            case _ if isinstance(value, _SKIPPED_TYPES) or callable(value):
                pass
            case _:
                self._object(value)

    def _object(self, value: Any) -> None:
        kind = type(value)
        known = self._objects.get(id(value))
        if known is not None:
            self._out.append(known)
            return
        if not isinstance(value, Struct):
            self._objects[id(value)] = len(self._objects)
        self._out.append(kind.__name__)
        ignored = _FOR_NOTHING.get(kind, frozenset())
        if isinstance(value, Initiator) and not value.active:
            ignored |= {"_gap_s", "tries", "_give_up_at"}
        if isinstance(value, Negotiation) and value.next_timeout() is None:
            ignored = frozenset({"_retry_s", "_give_up_at"})
        if isinstance(value, Peer):
            self._outage(value)
        for name in value.__struct_fields__ if isinstance(value, Struct) else vars(value):
            if name not in ignored:
                self._walk(getattr(value, name), name)
        if isinstance(value, Arrival):
            self._datagram(value.response)
        if isinstance(value, Backlog):
            self._packets.update(bytes(packet.data[20:]) for packet in value._packets)
        if isinstance(value, Peer):
            asked, traffic = value.listed_asked_at, value.last_traffic
            self._out.append(asked is not None and traffic is not None and traffic > asked)

    def _int(self, value: int, field: str) -> None:
        if field in _INDEXES:
            self._out.append(self._name(value))
        elif value < _STAMP_MIN:
            self._out.append(int(value))
        else:
            # The two hosts have clocks of their own; moves and handshakes are counted apart.
            kind = f"{value // _STAMP_MIN} {'move' in field}"
            self._stamps.setdefault(kind, set()).add(value)
            self._defer(lambda: self._ranks[kind][value])

    def _float(self, value: float, field: str) -> object:
        if field.endswith("_s") or value > _STAMP_MIN / 1e6:
            return round(value, 6)
        from_now_s = round(value - self._now, 6)
        if from_now_s > _FAR_S:
            return "far"
        if from_now_s <= -_OVER_S.get(field, _FAR_S) and from_now_s < 0:
            return None
        return max(from_now_s, -_PAST_S.get(field, _PAST_DEFAULT_S))

    def _bytes(self, value: bytes) -> None:
        if value.startswith((Draws.MARK, b"E")) or len(value) == _MARK_SIZE:
            self._out.append(self._name(value))
        else:
            self._out.append(value)

    def _dict(self, value: dict[Any, Any], field: str) -> None:
        for key, entry in value.items():
            if field == "_attempts" and key not in self._in_flight:
                continue
            if field == "probed" and self._float(entry, field) is None:
                continue
            self._walk(key, "index" if field == "_attempts" else field)
            self._walk(entry, field)
        self._out.append(None)

    def _name(self, value: object) -> str:
        return f"#{self._names.setdefault(value, len(self._names))}"

    def _defer(self, value: Callable[[], object]) -> None:
        self._later.append((len(self._out), value))
        self._out.append(None)

    # --- datagrams, and who has which counter

    def _flight(self, flight: Flight) -> None:
        self._out += [self._name(flight.source.host), self._name(flight.target.host)]
        self._datagram(flight.payload)

    def _datagram(self, payload: bytes) -> None:
        parts = read_datagram(payload)
        self._out.append(type(parts.content).__name__)
        self._walk(parts.index, "index")
        if parts.key:
            self._counter(parts.key, parts.counter)
        if isinstance(parts.content, bytes):
            self._packets.add(parts.content)
            self._out.append(self._name(parts.content))
            return
        if isinstance(parts.content, HandshakeDatagram):
            self._walk(parts.content.sender, "sender")
            self._walk(parts.payload, "")
            for drawn in parts.drawn:
                self._walk(drawn, "")
        else:
            self._walk(parts.content, "")

    def _outage(self, peer: Peer) -> None:
        """Since when something may be lost: among what is kept that makes a difference, before it none."""
        kept = [*peer.replaying, *filter(self._matters, peer.stash)]
        oldest = min((sent.sealed_at for sent in kept), default=self._now)
        for since in (peer.mapping.last_heard, peer.current_heard, peer.outage_from):
            self._out.append(since if since is None else max(round(since - oldest, 6), 0.0))

    def _matters(self, sent: Sent) -> bool:
        """Not too old for a replay. That it has arrived is no reason: a message may come without a report."""
        return self._now - sent.sealed_at <= KEPT_S

    def _sent(self, sent: Sent) -> None:
        self._datagram(bytes(sent.payload))
        self._out += [self._name(sent.destination.host), sent.waiting]
        self._out += [self._float(sent.sealed_at, ""), self._float(sent.sent_at, "")]

    def _counter(self, key: bytes, counter: int) -> None:
        self._counters.setdefault(key, set()).add(counter)
        self._out.append(self._name(key))
        self._defer(lambda: sorted(self._counters[key]).index(counter))

    def _session(self, session: Session) -> None:
        self._out.append(self._name(key_of(session._sealing)))
        known = self._objects.setdefault(id(session), len(self._objects))
        self._out.append(known)
        if known != len(self._objects) - 1:
            return
        for name in (
            "local_index",
            "remote_index",
            "begun_at",
            "begun_by_us",
            "boot_id",
            "confirmed",
            "arrival",
        ):
            self._walk(getattr(session, name), name)
        window: ReplayWindow = session.window
        self._holds(key_of(session._opening), lambda counter: not window.is_fresh(counter), window.highest)
        self._out.append(len(window.report(64)[2]) >= 8)

    def _report(self, report: Report) -> None:
        self._out.append(self._name(report.index))
        key = self._keys.get(report.index)
        if key is not None:
            gaps = [(report.base + offset, report.base + offset + length) for offset, length in report.gaps]
            self._holds(
                key,
                lambda counter: (
                    counter <= report.highest and not any(first <= counter < after for first, after in gaps)
                ),
                report.highest,
            )

    def _holds(self, key: bytes, has: Callable[[int], bool], highest: int) -> None:
        """Of the counters that matter: which are there, and how they stand to the highest."""
        self._out.append(self._name(key))
        self._defer(
            lambda: [
                (has(counter), (counter > highest) - (counter < highest))
                for counter in sorted(self._counters.get(key, ()))
            ]
        )

    def _challenges(self, challenges: Challenges) -> None:
        for data, (locator, _, sent_at) in challenges._sent.items():
            if data in self._in_flight:
                self._out += [self._name(data), self._name(locator.host), self._float(sent_at, "")]
        self._out.append(None)
