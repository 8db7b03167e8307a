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

from vipnet.core.host import Host
from vipnet.core.lane import Lane
from vipnet.core.mapping import lease_expired
from vipnet.core.outputs import Deliver, Fragmentation, Output, Transmit
from vipnet.core.peer import Peer
from vipnet.core.schedule import Schedule
from vipnet.core.session import Session
from vipnet.core.stash import Sent
from vipnet.errors import CryptoError, WireError
from vipnet.policy import REKEY_AFTER_COUNT, REKEY_AFTER_S
from vipnet.types import Instant, Locator
from vipnet.wire.datagram import KIND_IPV4, KIND_PARTIAL, SEAL_OVERHEAD
from vipnet.wire.inner import PROTOCOL_TCP, is_whole
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
        if ask_at is None:
            return None
        until = min(until, ask_at)
    source = peer.source_for(to)
    whole = peer.mtus.path(to, source, peer.host.tun_mtu).whole_max >= SMALL + SEAL_OVERHEAD
    fragmentation = Fragmentation.AVOIDED if whole else Fragmentation.ALLOWED
    return Lane(session, to, source, fragmentation, Instant(until))


class Express:
    """Sends and receives what may go the short way. [] says that it may not, and nothing has happened."""

    def __init__(self, host: Host, schedule: Schedule) -> None:
        self._host, self._schedule = host, schedule

    def send(self, packet: Packet, now: Instant) -> list[Output]:
        """PACKET, read from tun0, as a sealed datagram."""
        data = packet.data
        size = len(data)
        if size > SMALL or not is_whole(data):
            return []
        peer = self._host.remote_tokens.get(bytes(data[16:20]))
        if peer is None or data[12:16] != peer.inbound_addresses[4:]:
            return []
        lane = _lane(peer, now)
        if lane is None or lane.session.sent >= REKEY_AFTER_COUNT:
            return []
        offload = packet.offload
        if offload is not None and not is_begun(data, offload):
            return []
        if peer.host.policy.stores and data[9] == PROTOCOL_TCP:
            peer.flows.sent(packet, lane.session, now)
        room = packet.writable()
        room[size] = KIND_IPV4 if offload is None else KIND_PARTIAL
        counter = lane.session.sent
        datagram = lane.session.seal_plaintext(room[: size + 1])
        if peer.host.policy.stores:
            peer.stash.keep(Sent(lane.session, counter, datagram, lane.to, now, now))
        peer.tx_bytes += len(datagram)
        peer.last_traffic = now
        peer.liveness.sent_data(now)
        self._schedule.ask(peer.name, peer.liveness.next_timeout())
        return [Transmit(datagram, lane.to, lane.source, None, lane.fragmentation)]

    def receive(self, datagram: bytes | memoryview, source: Locator, now: Instant) -> list[Output]:
        """The packet in DATAGRAM."""
        size = len(datagram)
        if not SEAL_OVERHEAD < size <= SMALL + SEAL_OVERHEAD:
            return []
        index, counter = _unpack_header(datagram)
        peer, session = self._host.indexes.get(index, _NOBODY)
        if not isinstance(peer, Peer) or not isinstance(session, Session):
            return []
        lane = _lane(peer, now)
        if lane is None or session is not lane.session or source != lane.to:
            return []
        if counter <= session.window.highest or peer.liveness.overdue(now):
            return []
        try:
            plaintext = session.peek(datagram)
        except CryptoError:
            return []
        packet, kind = plaintext[:-1], plaintext[-1]
        if packet[12:20] != peer.inbound_addresses or not is_whole(packet):
            return []
        offload: Offload | None = None
        if kind == KIND_PARTIAL:
            try:
                offload = begun_checksum(packet)
            except WireError:
                return []
        elif kind != KIND_IPV4:
            return []
        session.window.mark(counter)
        peer.rx_bytes += size
        peer.mapping.last_heard = peer.current_heard = peer.data_heard = peer.last_traffic = now
        peer.flows.received(packet)
        peer.liveness.received()
        peer.liveness.received_data(now)
        self._schedule.ask(peer.name, peer.liveness.next_timeout())
        return [Deliver(packet, offload)]


def _lane(peer: Peer, now: Instant) -> Lane | None:
    lane = peer.lane
    if lane is None or now >= lane.until:
        peer.lane = lane = lane_of(peer, now)
    return lane
