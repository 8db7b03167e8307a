"""Packets from applications that wait for a key or a path."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from vipnet.policy import Policy
from vipnet.wire.offload import Packet

_BULK_SHARE: Final = 0.75  # of the room; the rest is for what nobody sends again


class Backlog:
    """Unsealed packets in their order, bounded; what does not fit is refused and counted.

    Super-packets do not take all of the room: a bulk transfer would, at once, and TCP sends its own again.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._packets: deque[Packet] = deque()
        self._size_bytes = 0
        self.refused = 0

    def __len__(self) -> int:
        return len(self._packets)

    def append(self, packet: Packet) -> None:
        size, room = len(packet.data), self._policy.queue_bytes
        if _is_super(packet):
            room = int(room * _BULK_SHARE)
        if len(self._packets) >= self._policy.queue_packets or self._size_bytes + size > room:
            self.refused += 1
            return
        self._packets.append(packet.kept())
        self._size_bytes += size

    def take_all(self) -> list[Packet]:
        packets = list(self._packets)
        self._packets.clear()
        self._size_bytes = 0
        return packets

    def take(self, count: int, *, past_bulk: bool = False) -> list[Packet]:
        """The oldest packets, at most COUNT; PAST_BULK: the oldest but for super-packets, which stay."""
        if past_bulk:
            packets: list[Packet] = []
            left: deque[Packet] = deque()
            for packet in self._packets:
                (left if _is_super(packet) or len(packets) == count else packets).append(packet)
            self._packets = left
        else:
            packets = [self._packets.popleft() for _ in range(min(count, len(self._packets)))]
        self._size_bytes -= sum(len(packet.data) for packet in packets)
        return packets

    def give_up(self) -> None:
        """They have waited in vain."""
        self.refused += len(self.take_all())

    def put_back(self, packets: Sequence[Packet]) -> None:
        """The first of those taken could not leave after all."""
        self._packets.extendleft(reversed(packets))
        self._size_bytes += sum(len(packet.data) for packet in packets)


def _is_super(packet: Packet) -> bool:
    return packet.offload is not None and packet.offload.segment_size > 0
