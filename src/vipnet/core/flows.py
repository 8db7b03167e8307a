"""The oldest unacknowledged segment of each TCP connection, for when a long outage is over.

TCP sends it again by itself, but only when its back-off says so: after an outage of 20 s
perhaps 20 s later (RFC 6298 section 5.5). Sent again at once, it starts the connection within a round
trip; TCP takes each byte once, so that a copy too many does no harm.

Every packet of a bulk transfer passes here: one look-up and one comparison for each.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterator
from typing import Final

from msgspec import Struct

from vipnet.core.session import Session
from vipnet.core.stash import StashRoom
from vipnet.policy import Policy
from vipnet.types import Instant
from vipnet.wire.inner import PROTOCOL_TCP
from vipnet.wire.offload import Packet
from vipnet.wire.tcp import first_segment

# ports, sequence and acknowledgement number, data offset, flags (RFC 9293 section 3.1)
_OUT = struct.Struct("!IIxxxxBB")  # both ports as one number
_IN = struct.Struct("!HHxxxxIxB")
_IPV4_PLAIN: Final = 0x45  # version 4, no options
_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10
_NUMBERS, _HALF = 0xFFFFFFFF, 0x80000000  # sequence numbers wrap (RFC 1982)


class Held(Struct, gc=False):
    """The segment from which on nothing of its connection is acknowledged.

    first, after  sequence numbers: of its first byte, and of the first byte behind it
    packet        of a super-packet the beginning: first_segment() makes a packet of it
    since         when it became the oldest; copies that TCP sends do not change that
    session, sealed_at  of the last time it was sent
    """

    first: int
    after: int
    packet: Packet
    since: Instant
    session: Session
    sealed_at: Instant


def _beginning(packet: Packet, headers_size: int) -> Packet:
    """A copy of PACKET; of a super-packet as far as first_segment() needs it."""
    if packet.offload is None or not packet.offload.segment_size:
        return packet.kept()
    return Packet(bytes(packet.data[: headers_size + packet.offload.segment_size]), packet.offload)


class Flows:
    """Connections with one peer that have something unacknowledged; bounded in number, size and time.

    A connection is known by its ports. Without anything unacknowledged it is not
    kept, so that its end needs no attention.

    What is held is the first segment sent after the last one held was acknowledged. While more is
    under way that may not be the oldest; but then TCP's first retransmission is, and it
    comes long before `stash_s` is over, which is when this segment is first needed.
    """

    def __init__(self, policy: Policy, room: StashRoom) -> None:
        self._policy, self._room = policy, room
        self._held: dict[int, Held] = {}
        self._size_bytes = 0
        self.dropped = 0  # there was no room

    def __len__(self) -> int:
        return len(self._held)

    def sent(self, sent: Packet, session: Session, now: Instant) -> None:
        """An IPv4 packet leaves under SESSION; of a super-packet the first segment counts."""
        packet = sent.data
        if packet[0] != _IPV4_PLAIN or packet[9] != PROTOCOL_TCP or len(packet) < 40:
            return
        ports, first, offset, flags = _OUT.unpack_from(packet, 20)
        held = self._held.get(ports)
        if held is not None:
            if 0 < (first - held.first) & _NUMBERS < _HALF:
                return  # there is an older one
            since = held.since if first == held.first else now
            self._drop(ports)
        else:
            since = now
        # SYN and FIN are acknowledged like a byte each.
        kept = _beginning(sent, 20 + (offset >> 4) * 4)
        size = len(kept.data) - 20 - (offset >> 4) * 4 + bool(flags & _SYN) + bool(flags & _FIN)
        if size > 0 and not flags & _RST:
            self._hold(ports, Held(first, (first + size) & _NUMBERS, kept, since, session, now))

    def received(self, packet: bytes | memoryview) -> None:
        """PACKET, or its headers, came from the peer: what it acknowledges is no longer held."""
        if not self._held or packet[0] != _IPV4_PLAIN or packet[9] != PROTOCOL_TCP or len(packet) < 40:
            return
        theirs, ours, acknowledged, flags = _IN.unpack_from(packet, 20)
        ports = ours << 16 | theirs
        held = self._held.get(ports)
        if held is None:
            return
        if flags & _RST or (flags & _ACK and (acknowledged - held.after) & _NUMBERS < _HALF):
            self._drop(ports)

    def stalled(self, stash_from: Instant, opens: Container[int] | None) -> Iterator[Packet]:
        """Segments that no replay of sealed datagrams can bring, the longest waiting first.

        stash_from  what was sealed before is not in the stash any more
        opens       indexes of sessions that the peer still opens; None: not known
        """
        waiting = sorted(self._held.values(), key=_since)
        for held in waiting:
            replayed = held.sealed_at >= stash_from and (opens is None or held.session.remote_index in opens)
            if not replayed:
                yield first_segment(held.packet)

    def expire(self, now: Instant) -> None:
        """Forget connections that have waited too long: their ends may not even exist any more."""
        horizon = now - self._policy.flow_s
        for ports in [ports for ports, held in self._held.items() if held.since < horizon]:
            self._drop(ports)

    def clear(self) -> None:
        for ports in list(self._held):
            self._drop(ports)

    def _hold(self, ports: int, held: Held) -> None:
        policy, size = self._policy, len(held.packet.data)
        if (
            len(self._held) >= policy.flows
            or self._size_bytes + size > policy.flows_bytes
            or self._room.free_bytes < size
        ):
            self.dropped += 1
            return
        self._held[ports] = held
        self._size_bytes += size
        self._room.free_bytes -= size

    def _drop(self, ports: int) -> None:
        size = len(self._held.pop(ports).packet.data)
        self._size_bytes -= size
        self._room.free_bytes += size


def _since(held: Held) -> Instant:
    return held.since
