"""The short way of a small packet that comes alone, to or from a peer with whom nothing else is under way.

Nearly all that a packet may set off, it does not: no handshake is due, no path on trial, nothing
was lost. A Lane says so, until something else happens to the peer. What does not fit goes the
long way, `outbound` and `inbound`, which do the same and more.

A ping and TCP's acknowledgements are such packets. What the long way costs them is not its work but its size:
after a pause of some milliseconds the processor has to fetch all of it from memory again.
"""

from __future__ import annotations

import struct
from typing import Final

from msgspec import Struct

from vipnet.core.host import Host
from vipnet.core.lane import Lane
from vipnet.core.mapping import lease_expired
from vipnet.core.outputs import Deliver, Fragmentation, Transmit
from vipnet.core.peer import Peer
from vipnet.core.schedule import Schedule
from vipnet.core.session import Session
from vipnet.core.stash import Sent
from vipnet.errors import PeerError
from vipnet.policy import REKEY_AFTER_COUNT, REKEY_AFTER_S
from vipnet.types import Instant, Locator
from vipnet.wire.datagram import KIND_IPV4, KIND_PARTIAL, SEAL_OVERHEAD
from vipnet.wire.inner import addresses_of
from vipnet.wire.offload import Offload, Packet, begun_checksum, is_begun

SMALL: Final = 256  # bytes of a packet: far below what any path carries whole
_unpack_header = struct.Struct("!IQ").unpack_from
_NOBODY: Final = (None, None)


def lane_of(peer: Peer, now: Instant) -> Lane | None:
    """The lane of PEER as it stands; None while anything is under way."""
    session, to, last_heard = peer.sessions.sending(now), peer.mapping.current, peer.mapping.last_heard
    if session is None or to is None or last_heard is None or not peer.host.locators:
        return None
    if lease_expired(last_heard, now, peer.host.policy) or session.wants_rekey(now):
        return None
    if peer.dead or peer.in_outage() or peer.trial.under_way or peer.renewing or not peer.known.active:
        return None
    if peer.replaying or peer.replay_at is not None or len(peer.backlog) or peer.moved_at is not None:
        return None
    until = min(last_heard + peer.host.policy.lease_s, session.begun_at + REKEY_AFTER_S)
    if to not in peer.mapping.locators:  # those are asked now and then
        ask_at = peer.ask_listed_at()
        if ask_at is None or now >= ask_at:
            return None
        until = min(until, ask_at)
    source = peer.source_for(to)
    whole = peer.mtus.path(to, source, peer.host.tun_mtu).whole_max >= SMALL + SEAL_OVERHEAD
    fragmentation = Fragmentation.AVOIDED if whole else Fragmentation.ALLOWED
    return Lane(session, to, source, fragmentation, Instant(until))


class _Passed(Struct, frozen=True):
    """What went the short way and is not noted yet; `sent` is None when it was received."""

    at: Instant
    peer: Peer
    packet: bytes
    offload: Offload | None
    sent: Sent | None = None


class Express:
    """Seals and opens what may go the short way, and notes it when it is gone: nobody waits for that.

    It is noted by settle(), in its order, a moment later and before anything takes the long way.
    """

    def __init__(self, host: Host, schedule: Schedule) -> None:
        self._host, self._schedule = host, schedule
        self._passed: list[_Passed] = []

    def send(self, packet: Packet, now: Instant) -> Transmit | None:
        """PACKET, read from tun0, as a sealed datagram; None, and nothing has happened: take the long way."""
        if len(packet.data) > SMALL:
            return None
        data, offload = bytes(packet.data), packet.offload
        addresses = addresses_of(data)
        if addresses is None:
            return None
        peer = self._host.remote_tokens.get(addresses[4:])
        if peer is None or addresses != peer.outbound_addresses:
            return None
        lane = _lane(peer, now)
        if lane is None or lane.session.sent >= REKEY_AFTER_COUNT:
            return None
        if offload is not None and not is_begun(data, offload):
            return None
        session = lane.session
        counter = session.sent
        datagram = session.seal(data, KIND_IPV4 if offload is None else KIND_PARTIAL)
        sent = Sent(session, counter, datagram, lane.to, now, now)
        self._passed.append(_Passed(now, peer, data, offload, sent))
        return Transmit(datagram, lane.to, lane.source, None, lane.fragmentation)

    def receive(self, datagram: bytes | memoryview, source: Locator, now: Instant) -> Deliver | None:
        """The packet in DATAGRAM; None, and nothing has happened: take the long way."""
        size = len(datagram)
        if not SEAL_OVERHEAD < size <= SMALL + SEAL_OVERHEAD:
            return None
        index, counter = _unpack_header(datagram)
        peer, session = self._host.indexes.get(index, _NOBODY)
        if not isinstance(peer, Peer) or not isinstance(session, Session):
            return None
        lane = _lane(peer, now)
        if lane is None or session is not lane.session or source != lane.to:
            return None
        if counter <= session.window.highest or peer.liveness.overdue(now):
            return None
        try:
            plaintext = session.peek(datagram)
            packet, kind = plaintext[:-1], plaintext[-1]
            if addresses_of(packet) != peer.inbound_addresses or kind not in (KIND_IPV4, KIND_PARTIAL):
                return None
            offload = begun_checksum(packet) if kind == KIND_PARTIAL else None
        except PeerError:
            return None
        session.window.mark(counter)
        self._passed.append(_Passed(now, peer, packet, offload))
        return Deliver(packet, offload)

    def settle(self) -> None:
        """Note what has been sent and received."""
        if not self._passed:
            return
        passed, self._passed = self._passed, []
        for one in passed:
            peer, now, size = one.peer, one.at, len(one.packet) + SEAL_OVERHEAD
            peer.last_traffic = now
            if one.sent is None:
                peer.rx_bytes += size
                peer.mapping.last_heard = peer.current_heard = peer.data_heard = now
                peer.flows.received(one.packet)
                peer.liveness.received()
                peer.liveness.received_data(now)
            else:
                peer.tx_bytes += size
                if peer.host.policy.stores:
                    peer.stash.keep(one.sent)
                    peer.flows.sent(Packet(one.packet, one.offload), one.sent.session, now)
                peer.liveness.sent_data(now)
            self._schedule.ask(peer.name, peer.liveness.next_timeout())


def _lane(peer: Peer, now: Instant) -> Lane | None:
    lane = peer.lane
    if lane is None or now >= lane.until:
        peer.lane = lane = lane_of(peer, now)
    return lane
