"""Plaintexts that share memory, so that many are sealed or opened without a copy."""

from __future__ import annotations

from msgspec import Struct

from vipnet.wire.datagram import HEADER_SIZE, TAG_SIZE


class Run(Struct, frozen=True, gc=False):
    """Each plaintext is `size` bytes of `room` and then `tail`, which reaches into the next one.

    room      all of a bytearray
    position  where the first one begins
    """

    room: memoryview
    position: int
    size: int
    tail: bytes

    @property
    def raw(self) -> bytearray:
        """The bytearray that `room` is a view of."""
        raw = self.room.obj
        assert isinstance(raw, bytearray)  # noqa: S101 - whoever made the room
        return raw

    def count_in(self, out: memoryview, stride: int) -> int:
        """How many datagrams of STRIDE bytes fill OUT. Raise ValueError unless they are those of this run."""
        count, rest = divmod(len(out), stride)
        self._check(count, stride)
        if rest:
            raise ValueError(f"{len(out)} bytes are no datagrams of {stride}")
        return count

    def count_of(self, data: memoryview, stride: int, at_most: int) -> int:
        """How many datagrams of STRIDE bytes to open from DATA. Raise ValueError when there is no room."""
        count = min(len(data) // stride, at_most)
        self._check(count, stride)
        return count

    def _check(self, count: int, stride: int) -> None:
        """Nothing crosses a buffer."""
        if self.size + len(self.tail) + HEADER_SIZE + TAG_SIZE != stride:
            raise ValueError(f"datagrams of {stride} bytes do not hold {self.size} and {len(self.tail)}")
        if self.position < 0 or self.position + count * self.size + len(self.tail) > len(self.room):
            raise ValueError(f"{count} times {self.size} bytes at {self.position} of {len(self.room)}")
