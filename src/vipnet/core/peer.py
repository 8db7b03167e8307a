"""One peer: everything this host knows of it and has under way with it.

The state lives here; what happens to it stands in `outbound`, `moving`,
`handshakes` and `inbound`. A part that wants something done at once arms its
timer for `now`: the node serves what is due before it returns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from msgspec import structs

from vipnet.core.backlog import Backlog
from vipnet.core.clones import Runs
from vipnet.core.fitting import fit
from vipnet.core.flows import Flows
from vipnet.core.hints import HintSender
from vipnet.core.host import Host, OwnKey
from vipnet.core.initiator import Initiator
from vipnet.core.lane import Lane
from vipnet.core.liveness import Liveness
from vipnet.core.mapping import Mapping
from vipnet.core.moves import MoveLog
from vipnet.core.negotiation import Negotiation
from vipnet.core.outputs import (
    Fragmentation,
    LogEvent,
    Output,
    StoreBinding,
    StorePeer,
    Transmit,
    TrustLevel,
)
from vipnet.core.path import Challenges, Insistence
from vipnet.core.pathmtu import PathMtus
from vipnet.core.rtt import RttEstimator
from vipnet.core.sealing import seal
from vipnet.core.session import Session, Sessions
from vipnet.core.stash import Sent, Stash
from vipnet.core.trial import Trial
from vipnet.policy import DEFAULT_PORT
from vipnet.types import Fqdn, Instant, Locator, PublicKey
from vipnet.wire import control
from vipnet.wire.control import Report
from vipnet.wire.datagram import KIND_CONTROL
from vipnet.wire.offload import Packet

# Of the newest session and of each older one: 1,200 bytes have room for these and 8 locators.
_MANY_GAPS, _FEW_GAPS, _REPORTS_MAX = 64, 8, 4
_WHOLE, _IN_PIECES = Fragmentation.AVOIDED, Fragmentation.ALLOWED
_ASK_LISTED_S = 5.0


class Peer:
    """A host that we speak to, or did, or were told of.

    known         what is stored of it; key and trust included
    own           our key that it knows us by
    negotiation   of the two tokens; roles follow from who has the lower key
    hints         the hint of our last move, until it is acknowledged
    last_traffic  when a packet last went to it or came from it (the paper's Active Partner List)
    """

    def __init__(
        self,
        host: Host,
        moves: MoveLog,
        known: StorePeer,
        binding: StoreBinding | None,
        psk: bytes = bytes(32),
    ) -> None:
        self.host, self.moves, self.known, self.psk = host, moves, known, psk
        if known.own_key is None:
            self.known = structs.replace(known, own_key=host.public_key)
        self.own = host.own_key(known.own_key)
        we_are_lower = self.own.public < known.key
        self.rtt = RttEstimator(host.policy)
        self.negotiation = Negotiation(host.name, known.name, we_are_lower, host.space, host.policy, binding)
        self.mapping = Mapping(known.locators, known.move_number)
        self.sessions = Sessions(we_are_lower=we_are_lower)
        self.initiator = Initiator(host, known.name, self.rtt)
        self.challenges = Challenges(host.random_bytes)
        self.mtus = PathMtus(host.policy, host.random_bytes)
        self.trial = Trial()
        self.insistence: Insistence | None = None
        self.liveness = Liveness(self.rtt, host.policy)
        self.backlog = Backlog(host.policy)
        self.stash = Stash(host.policy, host.stash_room, self.lost_since, self.in_outage)
        self.flows = Flows(host.policy, host.stash_room)
        self.replaying: deque[Sent] = deque()  # what a move lost and is still to be sent again
        self.replay_at: Instant | None = None  # the next step of a replay, or of what waited
        self.reported: frozenset[int] | None = None  # sessions of the report that is being answered
        self.hints: HintSender | None = None
        self.port = known.locators[0].port if known.locators else DEFAULT_PORT
        self.boot_id: bytes | None = None
        self.runs = Runs()
        self.inbound_addresses = b""  # source and destination of every packet from the peer
        self.outbound_addresses = b""  # and of every packet to it

        self.last_traffic: Instant | None = None
        self.wanted_until: Instant | None = None  # an application waits for the token
        self.lookup_under_way = False
        self.other_key: PublicKey | None = None  # that DNS has, and was warned of
        self.refused_key: PublicKey | None = None  # that somebody showed last in the peer's name
        self.greeted_at: Instant | None = None  # by a previous key of the peer
        self.announce_at: Instant | None = None  # our new key, again
        self.announce_gap_s = 0.0
        self.renewing = False  # the lease ran out and DNS was asked once
        self.moved_at: Instant | None = None  # our move, until data of the peer arrives again
        self.path_changed_at: Instant | None = None  # what waited for a path has gone since
        self.data_heard: Instant | None = None  # last packet of an application of the peer
        self.current_heard: Instant | None = None  # last datagram from where ours go
        self.outage_from: Instant | None = None  # last sign of life before the path was lost
        self.source: str | None = None  # our address that was found to work, None: the best one
        self.dead = False  # nothing gets through: packets wait, unsealed
        self.probed: dict[Locator, Instant] = {}  # unlisted sources that were challenged, and when
        self.listed_answered_at: Instant | None = None
        self.listed_asked_at: Instant | None = None  # last, while the peer is at another locator
        self.asked_at: Instant | None = None  # when it was last challenged
        self.own_tried_at: Instant | None = None  # our addresses, as the peer seemed not to hear us
        self.settled: Instant | None = None  # challenges of this instant have had their first answer
        self.save_at: Instant | None = None  # when what has changed of `known` is stored at the latest
        self.lane: Lane | None = None  # the short way, until something else than packets happens
        self.rx_bytes = self.tx_bytes = 0
        self._dropped_before = 0

    @property
    def name(self) -> Fqdn:
        return self.known.name

    @property
    def key(self) -> PublicKey:
        return self.known.key

    @property
    def binding(self) -> StoreBinding | None:
        """The pair of tokens that applications may see."""
        return self.negotiation.binding

    def active(self, now: Instant) -> bool:
        """Whether there was traffic during the last T seconds (paper section 3.2)."""
        return self.last_traffic is not None and now - self.last_traffic < self.host.policy.lease_s

    def located(self) -> list[Output]:
        """Say who is behind the token, and where: applications' logs show only the token."""
        if self.binding is None or self.mapping.last_heard is None:
            return []
        fields = {
            "peer": self.name,
            "token": str(self.binding.remote_token),
            "locator": str(self.mapping.current),
        }
        return [LogEvent("peer.located", fields)]

    # --- keys

    def change_key(self, key: PublicKey, trust: TrustLevel) -> StorePeer:
        """The peer has another key, from whomever we know it; sessions under the old one go on."""
        previous = (*self.known.previous_keys, self.key)[-self.host.policy.previous_keys :]
        changed = self.remember(key=key, trust=trust, previous_keys=previous)
        self.host.forget_indexes(self.initiator.stop())
        self.other_key = self.refused_key = None
        self._take_roles()
        return changed

    @property
    def offered_key(self) -> PublicKey | None:
        """Another key that was shown in the peer's name, or is in DNS, and is not trusted."""
        return self.refused_key or self.other_key

    def use_own_key(self, own: OwnKey) -> list[Output]:
        """The peer has shown that it knows us by OWN."""
        if own == self.own:
            return []
        self.own = own
        self._take_roles()
        return [self.remember(own_key=own.public)]

    def _take_roles(self) -> None:
        """Who chooses tokens, and whose handshake counts of two that cross, follows from the two keys."""
        we_are_lower = self.own.public < self.key
        if we_are_lower != self.sessions.we_are_lower:
            self.sessions.we_are_lower = we_are_lower
            host = self.host
            self.negotiation = Negotiation(host.name, self.name, we_are_lower, host.space, host.policy)

    # --- outages

    def doubt_path(self, since: Instant | None = None) -> None:
        """There is reason to believe that datagrams no longer arrive: note since when, or as of SINCE."""
        self.lane = None
        if self.outage_from is None:
            self.outage_from = self.mapping.last_heard if since is None else since

    def lose_path(self, now: Instant) -> list[Output]:
        """Nothing gets through: packets wait from now on, unsealed."""
        if self.dead:
            return []
        self.dead = True
        silent_s = round(now - self.last_sign_of_life(now), 1)
        fields = {"peer": self.name, "locator": str(self.mapping.current), "silent_s": silent_s}
        return [LogEvent("path.lost", fields, "warning")]

    def find_path(self) -> list[Output]:
        """The peer is there again."""
        if not self.dead:
            return []
        self.dead = False
        return [LogEvent("path.found", {"peer": self.name})]

    def newly_dropped(self) -> int:
        """What the stores had no room for since this was asked last."""
        dropped = self.stash.dropped + self.backlog.refused + self.flows.dropped
        new, self._dropped_before = dropped - self._dropped_before, dropped
        return new

    def in_outage(self) -> bool:
        return self.outage_from is not None

    def lost_since(self, now: Instant) -> Instant:
        """What was sent earlier had arrived before the path was lost: a round trip before it was last heard.

        Jitter counts: what was lost may have been on its way for long.
        """
        round_trip_s = max(2 * self.rtt.rtt_s, self.rtt.rto_s, self.host.policy.replay_margin_s)
        return Instant(self.last_sign_of_life(now) - round_trip_s)

    def last_sign_of_life(self, now: Instant) -> Instant:
        """When the path was last known to be there; now, if nothing is known."""
        outage_from, heard = self.outage_from, self.current_heard
        if outage_from is None:
            return now if heard is None else heard
        return outage_from if heard is None else min(outage_from, heard)

    def remember(self, **changes: object) -> StorePeer:
        """Change what is stored of the peer; the output has to be carried out."""
        self.known = structs.replace(self.known, **changes)
        self.save_at = None
        return self.known

    def remember_soon(self, now: Instant, **changes: object) -> None:
        """The same for what a restart can do without: a peer that moves often must not keep the disk busy."""
        self.known = structs.replace(self.known, **changes)
        if self.save_at is None:
            self.save_at = Instant(now + self.host.policy.save_after_s)

    # --- sealing

    def seal(self, message: control.ControlMessage, to: Locator, now: Instant) -> list[Output]:
        """MESSAGE under the current session, [] when there is none."""
        session = self.sessions.sending(now)
        if session is None:
            return []
        return [self.transmit(session, control.encode(message), KIND_CONTROL, to)]

    def seal_from_everywhere(
        self, message: control.ControlMessage, to: Locator, now: Instant
    ) -> list[Output]:
        """MESSAGE from each of our addresses, the one in use first; each time sealed anew."""
        session = self.sessions.sending(now)
        if session is None:
            return []
        body, best = control.encode(message), self.source_for(to)
        others = [own for own in self.host.sources(to) if own != best] if best is not None else []
        return [
            structs.replace(self.transmit(session, body, KIND_CONTROL, to), source=source)
            for source in (best, *others)
        ]

    def seal_to_current(self, message: control.ControlMessage, now: Instant) -> list[Output]:
        current = self.mapping.current
        return [] if current is None else self.seal(message, current, now)

    def path(self, size_bytes: int) -> Locator | None:
        """Where a datagram of SIZE_BYTES goes now: one that leaves, on a trial it counts."""
        return self.mapping.current if self.trial.takes(size_bytes) else self.trial.fallback

    @property
    def path_mtu(self) -> int | None:
        """Bytes of an IP packet that go whole to the peer; None while nobody has needed to know."""
        to = self.mapping.current
        return None if to is None else self.mtus.size(to, self.source_for(to))

    def wait(self, packets: Sequence[Packet]) -> None:
        """PACKETS have no key or no path now."""
        for packet in packets:
            self.backlog.append(packet)

    def transmit_packets(
        self, session: Session, packets: Sequence[Packet], to: Locator, now: Instant
    ) -> list[Output]:
        """Seal PACKETS, and keep the datagrams for the case that a move loses them."""
        outputs: list[Output] = []
        source, stores = self.source_for(to), self.host.policy.stores
        path = self.mtus.path(to, source, self.host.tun_mtu)
        # A place on trial gets little, and no probes: what is too large goes in fragments.
        if path.narrow and not self.trial.under_way:
            packets, outputs = fit(path, packets, self.host.icmp, self.host.policy, now)
        if stores:
            for packet in packets:
                self.flows.sent(packet, session, now)
        for block in seal(session, packets):
            payload, segment_size = block.payload, block.segment_size
            self.tx_bytes += len(payload)
            several = segment_size if len(payload) > segment_size else None
            if stores:
                self.stash.keep(
                    Sent(session, block.counter, payload, to, now, now, False, several, block.repeated)
                )
            if segment_size > path.watch_from and now >= path.watch_at:
                path.watch(now)
            whole = segment_size <= path.whole_max
            outputs.append(Transmit(payload, to, source, several, _WHOLE if whole else _IN_PIECES))
        return outputs

    def reports(self) -> tuple[Report, ...]:
        """What we have received, newest session first; small enough for one message."""
        if not self.host.policy.stores:
            return ()
        reports: list[Report] = []
        for session in self.sessions.receiving()[:_REPORTS_MAX]:
            base, highest, gaps = session.window.report(_FEW_GAPS if reports else _MANY_GAPS)
            reports.append(Report(session.local_index, base, highest, gaps))
        return tuple(reports)

    def transmit(self, session: Session, body: bytes, kind: int, to: Locator) -> Transmit:
        datagram = session.seal(body, kind)
        self.tx_bytes += len(datagram)
        return Transmit(datagram, to, self.source_for(to))

    def source_for(self, to: Locator) -> str | None:
        """Our address for datagrams to TO; None where there is no choice."""
        usable = self.host.sources(to)
        if self.source in usable:
            return self.source
        return usable[0] if len(usable) > 1 else None

    def challenge(self, locators: list[Locator], now: Instant, *, everywhere: bool = False) -> list[Output]:
        """Ask each of LOCATORS whether the peer is there; EVERYWHERE: from each address of ours."""
        outputs: list[Output] = []
        session = self.sessions.sending(now)
        if session is None:
            return outputs
        if locators:
            self.asked_at = now
        for locator in locators:
            best = self.source_for(locator)
            sources = self.host.sources(locator) if everywhere and best is not None else [best]
            for source in sources:
                challenge = control.PathChallenge(self.challenges.issue(locator, now, source), locator)
                transmit = self.transmit(session, control.encode(challenge), KIND_CONTROL, locator)
                outputs.append(structs.replace(transmit, source=source))
        return outputs

    def insist(self, locator: Locator, now: Instant) -> None:
        """LOCATOR has been challenged, and has to answer: ask again until it does, or we go elsewhere."""
        self.insistence = Insistence(locator, self.rtt.rto_s, now)

    # --- time

    def want_handshake(self, now: Instant) -> None:
        if not self.initiator.active:
            self.initiator.begin(now)

    def active_ends(self) -> Instant | None:
        """When the peer leaves the Active Partner List, if it is stored as being on it."""
        if not self.known.active or self.last_traffic is None:
            return None
        return Instant(self.last_traffic + self.host.policy.lease_s)

    def ask_listed_at(self) -> Instant | None:
        """When to challenge what the peer says of itself, while its datagrams come from elsewhere.

        A NAT is left some day, and so is one who relays; without traffic nothing is asked.
        """
        listed, current, asked_at = self.mapping.locators, self.mapping.current, self.listed_asked_at
        if self.last_traffic is None or current is None or not listed or current in listed:
            return None
        if asked_at is None:
            return self.last_traffic
        return Instant(asked_at + _ASK_LISTED_S) if self.last_traffic > asked_at else None

    def next_timeout(self) -> Instant | None:
        deadlines = (
            self.initiator.next_timeout(),
            self.liveness.next_timeout(),
            self.sessions.next_timeout(),
            self.negotiation.next_timeout(),
            None if self.hints is None else self.hints.next_timeout(),
            self.wanted_until,
            self.active_ends(),
            self.replay_at,
            self.save_at,
            self.ask_listed_at(),
            self.announce_at,
            self.mtus.next_timeout(),
            None if self.insistence is None else self.insistence.at,
        )
        return min((at for at in deadlines if at is not None), default=None)
