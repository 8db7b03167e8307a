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
from vipnet.core.opening import HEADROOM, open_whole, whole_train
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
    KIND_IPV4,
    KIND_PARTIAL,
    SEAL_OVERHEAD,
    counter_of,
)
from vipnet.wire.inner import addresses_of
from vipnet.wire.offload import Packet, begun_checksum, is_begun
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

    size     bytes of all its datagrams
    packets  as far as they are looked at
    sent     None: they were received
    """

    at: Instant
    peer: Peer
    size: int
    packets: Sequence[Packet]
    sent: Sent | None = None


class Express:
    """Seals and opens what may go the short way, and notes it when it is gone: nobody waits for that.

    It is noted by settle(), in its order, a moment later and before anything takes the long way.
    Views are valid until the next read, and the next input.
    """

    def __init__(self, host: Host, schedule: Schedule) -> None:
        self._host, self._schedule = host, schedule
        self._passed: list[_Passed] = []

    def send_first(self, packets: Sequence[Packet], now: Instant) -> tuple[list[Transmit], Sequence[Packet]]:
        """As many of PACKETS, from the first on, as may go the short way; and the rest, for the long one."""
        sent: list[Transmit] = []
        if len(packets) > 1:
            packets = filter_acks(packets)
        for packet in packets:
            if len(packet.data) <= SMALL and len(packets) > 1:
                break  # small ones that came together are sealed together
            transmit = self.send(packet, now)
            if transmit is None:
                break
            sent.append(transmit)
        return sent, packets[len(sent) :]

    def send(self, packet: Packet, now: Instant) -> Transmit | None:
        """PACKET, read from tun0, as it is sent; None, and nothing has happened: take the long way."""
        offload = packet.offload
        small = bytes(packet.data) if len(packet.data) <= SMALL else None
        if small is None and (offload is None or not offload.segment_size):
            return None
        addresses = addresses_of(packet.data if small is None else small)
        if addresses is None:
            return None
        peer = self._host.remote_tokens.get(addresses[4:])
        if peer is None or addresses != peer.outbound_addresses:
            return None
        lane = _lane(peer, now)
        if lane is None or lane.session.sent >= REKEY_AFTER_COUNT:
            return None
        if small is None:
            return self._send_train(peer, lane, packet, now)
        if offload is not None and not is_begun(small, offload):
            return None
        session = lane.session
        counter = session.sent
        datagram = session.seal(small, KIND_IPV4 if offload is None else KIND_PARTIAL)
        sent = Sent(session, counter, datagram, lane.to, now, now)
        self._passed.append(_Passed(now, peer, len(datagram), (Packet(small, offload),), sent))
        return Transmit(datagram, lane.to, lane.source, None, lane.fragmentation)

    def _send_train(self, peer: Peer, lane: Lane, packet: Packet, now: Instant) -> Transmit | None:
        """All of PACKET in one train that its path carries."""
        session, path = lane.session, lane.path
        how = None if packet.offload is None else plan_cut(packet.data, packet.offload)
        if how is None or in_train(session, packet.data, how) < how.count:
            return None
        size = how.plain_size + SEAL_OVERHEAD - 1
        if size > path.whole_max or (size > path.watch_from and now >= path.watch_at):
            return None
        block = seal_train(session, packet.data, how, how.count)
        sent = Sent(session, block.counter, block.payload, lane.to, now, now, False, size, block.repeated)
        self._passed.append(_Passed(now, peer, len(block.payload), (packet,), sent))
        self.settle()  # PACKET is looked at
        return Transmit(block.payload, lane.to, lane.source, size, Fragmentation.AVOIDED)

    def receive(
        self, data: bytes | memoryview, segment_size: int, source: Locator, now: Instant
    ) -> list[Deliver]:
        """The packets in DATA, datagrams of SEGMENT_SIZE; [], and nothing has happened: take the long way."""
        if not SEAL_OVERHEAD < segment_size <= len(data):
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
            packets = self._open_small(session, memoryview(data), segment_size, number)
        else:
            packets = self._open_train(session, memoryview(data), segment_size)
        addresses = peer.inbound_addresses
        if not packets or any(addresses_of(packet.data) != addresses for packet in packets):
            return []
        session.window.mark_run(counter_of(number), -(-len(data) // segment_size))
        # Of a view nothing is left when this is looked at.
        headers = [Packet(bytes(packet.data[:HEADERS_MIN])) for packet in packets]
        self._passed.append(_Passed(now, peer, len(data), headers))
        return [Deliver(packet.data, packet.offload) for packet in packets]

    def _open_small(self, session: Session, data: memoryview, stride: int, counter: int) -> list[Packet]:
        if stride > SMALL + SEAL_OVERHEAD or len(data) > _FEW * stride or counter > COUNTERS_MAX - _FEW:
            return []
        packets: list[Packet] = []
        try:
            for at in range(0, len(data), stride):
                datagram = data[at : at + stride]
                if at and _unpack_header(datagram) != (session.local_index, counter + at // stride):
                    return []
                plaintext = session.peek(datagram)
                packet, kind = plaintext[:-1], plaintext[-1]
                if kind not in (KIND_IPV4, KIND_PARTIAL):
                    return []
                packets.append(Packet(packet, begun_checksum(packet) if kind == KIND_PARTIAL else None))
        except PeerError:
            return []
        return packets

    def _open_train(self, session: Session, data: memoryview, stride: int) -> list[Packet]:
        trains = session.trains
        if trains is None or not whole_train(session, data, stride):
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
            peer, now = one.peer, one.at
            peer.last_traffic = now
            if one.sent is None:
                peer.rx_bytes += one.size
                peer.mapping.last_heard = peer.current_heard = peer.data_heard = now
                for packet in one.packets:
                    peer.flows.received(packet.data)
                peer.liveness.received()
                peer.liveness.received_data(now)
            else:
                peer.tx_bytes += one.size
                if peer.host.policy.stores:
                    peer.stash.keep(one.sent)
                    peer.flows.sent(one.packets[0], one.sent.session, now)
                peer.liveness.sent_data(now)
            self._schedule.ask(peer.name, peer.liveness.next_timeout())


def _lane(peer: Peer, now: Instant) -> Lane | None:
    lane = peer.lane
    if lane is None or now >= lane.until:
        peer.lane = lane = lane_of(peer, now)
    return lane
