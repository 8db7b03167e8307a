"""The short way of a few small packets, or of a train, while the peer has nothing else under way.

Nearly all that a packet may set off, it does not: no handshake is due, no path on trial, nothing
was lost. A Lane says so, until something else happens to the peer. What does not fit goes the
long way, `outbound` and `inbound`, which do the same and more.

A ping and TCP's acknowledgements are small. What the long way costs them is not its work but its size: after
a pause of some milliseconds the processor has to fetch all of it from memory again. Trains come by the
thousand in a second, and what is asked for each of them costs as much as to open it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from vipnet.core.host import Host
from vipnet.core.lane import Lane
from vipnet.core.mapping import lease_expired
from vipnet.core.opening import HEADROOM, may_be_whole, open_whole
from vipnet.core.outputs import Deliver, Fragmentation, Transmit
from vipnet.core.peer import Peer
from vipnet.core.schedule import Schedule
from vipnet.core.sealing import in_train, seal_train
from vipnet.core.session import Session
from vipnet.core.stash import Sent
from vipnet.errors import PeerError
from vipnet.policy import REKEY_AFTER_COUNT, REKEY_AFTER_S
from vipnet.types import Instant, Locator
from vipnet.wire.ackfilter import filter_acks
from vipnet.wire.datagram import (
    COUNTERS_MAX,
    FIRST_NUMBER,
    HEADER_SIZE,
    KIND_IPV4,
    KIND_PARTIAL,
    SEAL_OVERHEAD,
    TAG_SIZE,
    counter_of,
)
from vipnet.wire.inner import addresses_of
from vipnet.wire.offload import Offload, Packet, begun_checksum, is_begun
from vipnet.wire.tcp import HEADERS_MIN, plan_cut

SMALL: Final = 256  # bytes of a packet: far below what any path carries whole
_unpack_header = struct.Struct("!IQ").unpack_from
_FEW: Final = 8  # small datagrams that came together: the long way opens more of them faster
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
    path = peer.mtus.path(to, source, peer.host.tun_mtu)
    whole = path.whole_max >= SMALL + SEAL_OVERHEAD
    fragmentation = Fragmentation.AVOIDED if whole else Fragmentation.ALLOWED
    return Lane(session, to, source, fragmentation, path, Instant(until))


class _Passed(Struct, frozen=True):
    """What went the short way and is not noted yet.

    packet  as far as it is looked at
    sent    None: it was received
    size    bytes of the train it came or went in; None: PACKET is whole, in a datagram of its own
    """

    at: Instant
    peer: Peer
    packet: bytes | memoryview
    offload: Offload | None
    sent: Sent | None = None
    size: int | None = None


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
        if not session.window.highest < counter < session.counters_max or peer.liveness.overdue(now):
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

    # --- what does not come alone: a function of its own for each, or pings would wait for more code

    def send_several(
        self, packets: Sequence[Packet], now: Instant
    ) -> tuple[list[Transmit], Sequence[Packet]]:
        """What goes of PACKETS, from the first on, in trains; and the rest, for the long way.

        Acknowledgements that are superseded are in neither; one that is left goes as by send().
        """
        sent: list[Transmit] = []
        if len(packets) > 1:
            packets = filter_acks(packets)
            if len(packets) == 1 and (alone := self.send(packets[0], now)):
                return [alone], ()
        for packet in packets:
            transmit = self._send_train(packet, now)
            if transmit is None:
                break
            sent.append(transmit)
        return sent, packets[len(sent) :]

    def _send_train(self, packet: Packet, now: Instant) -> Transmit | None:
        """All of PACKET in one train that its path carries."""
        if packet.offload is None or not packet.offload.segment_size:
            return None
        addresses = addresses_of(packet.data)
        peer = None if addresses is None else self._host.remote_tokens.get(addresses[4:])
        if peer is None or addresses != peer.outbound_addresses:
            return None
        lane = _lane(peer, now)
        if lane is None or lane.session.sent >= REKEY_AFTER_COUNT:
            return None
        session, path = lane.session, lane.path
        how = plan_cut(packet.data, packet.offload)
        if how is None or in_train(session, packet.data, how) < how.count:
            return None
        size = how.plain_size + HEADER_SIZE + TAG_SIZE
        if size > path.whole_max or (size > path.watch_from and now >= path.watch_at):
            return None
        block = seal_train(session, packet.data, how, how.count)
        sent = Sent(session, block.counter, block.payload, lane.to, now, now, False, size, block.repeated)
        self._passed.append(_Passed(now, peer, packet.data, packet.offload, sent, len(block.payload)))
        self.settle()  # while there is what PACKET views
        return Transmit(block.payload, lane.to, lane.source, size, Fragmentation.AVOIDED)

    def receive_several(
        self, data: bytes | memoryview, segment_size: int, source: Locator, now: Instant
    ) -> list[Deliver]:
        """What is in DATA, a train or a few small datagrams; [], and nothing has happened: take the long way.

        The views are valid until the next input.
        """
        if not SEAL_OVERHEAD < segment_size < len(data):
            return []
        index, number = _unpack_header(data)
        peer, session = self._host.indexes.get(index, _NOBODY)
        if not isinstance(peer, Peer) or not isinstance(session, Session):
            return []
        lane = _lane(peer, now)
        if lane is None or session is not lane.session or source != lane.to or peer.liveness.overdue(now):
            return []
        if counter_of(number) <= session.window.highest:
            return []
        if number < FIRST_NUMBER:
            packets = self._open_few(session, memoryview(data), segment_size, number)
        else:
            packets = self._open_train(session, memoryview(data), segment_size)
        if not packets or any(addresses_of(packet.data) != peer.inbound_addresses for packet in packets):
            return []
        session.window.mark_run(counter_of(number), -(-len(data) // segment_size))
        for packet in packets:
            if number < FIRST_NUMBER:
                passed = _Passed(now, peer, packet.data, packet.offload)
            else:
                # Of a view nothing is left when this is looked at.
                passed = _Passed(now, peer, bytes(packet.data[:HEADERS_MIN]), None, None, len(data))
            self._passed.append(passed)
        return [Deliver(packet.data, packet.offload) for packet in packets]

    def _open_few(self, session: Session, data: memoryview, stride: int, counter: int) -> list[Packet]:
        if stride > SMALL + SEAL_OVERHEAD or len(data) > _FEW * stride or counter > COUNTERS_MAX - _FEW:
            return []
        packets: list[Packet] = []
        try:
            for at in range(0, len(data), stride):
                datagram = data[at : at + stride]
                if len(datagram) <= SEAL_OVERHEAD:
                    return []
                if _unpack_header(datagram) != (session.local_index, counter + at // stride):
                    return []
                plaintext = session.peek(datagram)
                packet, kind = plaintext[:-1], plaintext[-1]
                if kind not in (KIND_IPV4, KIND_PARTIAL) or addresses_of(packet) is None:
                    return []
                packets.append(Packet(packet, begun_checksum(packet) if kind == KIND_PARTIAL else None))
        except PeerError:
            return []
        return packets

    def _open_train(self, session: Session, data: memoryview, stride: int) -> list[Packet]:
        trains = session.trains
        if trains is None or not may_be_whole(session, data, stride):
            return []
        buffer = self._host.plaintexts(len(data), stride)
        run = open_whole(session, trains, data, stride, buffer[HEADROOM:])
        return [] if run is None else [run.finish(buffer, HEADROOM)]

    def settle(self) -> None:
        """Note what has been sent and received."""
        if not self._passed:
            return
        passed, self._passed = self._passed, []
        for one in passed:
            peer, now, size = one.peer, one.at, one.size
            if size is None:
                size = len(one.packet) + SEAL_OVERHEAD
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
