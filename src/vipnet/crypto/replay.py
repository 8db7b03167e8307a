"""Which counters have been received: no datagram is taken twice, and the sender learns what is missing."""

from __future__ import annotations

from vipnet.policy import REPLAY_WINDOW

Gaps = tuple[tuple[int, int], ...]  # (offset from base, length) in counters, ascending


class ReplayWindow:
    """A sliding window of `size` counters (RFC 6479).

    Bits in a ring of bytes, one byte longer than the window, so that moving on
    clears whole bytes and shifts nothing. First is_fresh, then open, then mark:
    a forger must not be able to move the window.
    """

    __slots__ = ("_blocks", "_ring", "_size", "highest")

    def __init__(self, size: int = REPLAY_WINDOW) -> None:
        """Raise ValueError when SIZE is not a positive multiple of 8."""
        if size <= 0 or size % 8:
            raise ValueError(f"window of {size} counters: not a positive multiple of 8")
        self._size = size
        self._blocks = size // 8 + 1
        self._ring = bytearray(self._blocks)
        self.highest = -1  # greatest counter received; -1: none yet

    def is_fresh(self, counter: int) -> bool:
        """Whether COUNTER has not been received and is not below the window."""
        highest = self.highest
        if counter > highest:
            return True
        if highest - counter >= self._size:
            return False
        return not self._ring[(counter >> 3) % self._blocks] >> (counter & 7) & 1

    def mark(self, counter: int) -> None:
        """Count COUNTER, whose datagram has been opened, as received.

        Raise ValueError when it is below the window: is_fresh had said no.
        """
        highest = self.highest
        if counter > highest:
            if counter >> 3 != highest >> 3:
                self._clear((highest >> 3) + 1, counter >> 3)
            self.highest = counter
        elif highest - counter >= self._size:
            raise ValueError(f"counter {counter} is below the window")
        self._ring[(counter >> 3) % self._blocks] |= 1 << (counter & 7)

    def mark_run(self, first: int, count: int) -> None:
        """mark() each of COUNT counters from FIRST on, at once."""
        last = first + count - 1
        highest = self.highest
        if last > highest:
            self._clear((highest >> 3) + 1, last >> 3)
            self.highest = last
        if self.highest - first >= self._size:
            raise ValueError(f"counter {first} is below the window")
        bits = ((1 << count) - 1) << (first & 7)
        ring, blocks, block = self._ring, self._blocks, first >> 3
        for byte in bits.to_bytes((bits.bit_length() + 7) >> 3, "little"):
            ring[block % blocks] |= byte
            block += 1

    def _clear(self, first: int, last: int) -> None:
        """Empty the blocks that the window moves on to."""
        if last - first >= self._blocks:
            self._ring = bytearray(self._blocks)
            return
        for block in range(first, last + 1):
            self._ring[block % self._blocks] = 0

    def report(self, max_gaps: int) -> tuple[int, int, Gaps]:
        """Return (base, highest, gaps): what is missing among the counters from base to highest.

        Base is where the first gap begins, or highest without gaps. Of more than
        `max_gaps` the oldest are reported as one: what is received among them is sent again for nothing,
        but nothing missing is ever called received. Below the window everything counts
        as received. Before the first datagram the report says that counter 0 is missing.
        """
        if self.highest < 0:
            return 0, 0, ((0, 1),)
        received = self._newest_first()
        if received is None:
            return self.highest, self.highest, ()
        runs: list[tuple[int, int]] = []  # (first counter, length), newest first
        start = received.find("0")
        while start >= 0 and len(runs) < max_gaps:
            end = received.find("1", start)
            end = len(received) if end < 0 else end
            runs.append((self.highest - end + 1, end - start))
            start = received.find("0", end)
        if start >= 0:
            oldest, (newer, length) = self.highest - received.rfind("0"), runs[-1]
            runs[-1] = (oldest, newer + length - oldest)
        base = runs[-1][0] if runs else self.highest
        return base, self.highest, tuple((first - base, length) for first, length in reversed(runs))

    def _newest_first(self) -> str | None:
        """The window as text of 0 and 1, from the highest counter down; None when nothing is missing."""
        number = min(self._size, self.highest + 1)
        last = self.highest >> 3
        newest = last % self._blocks
        # A young session has used the ring's beginning only.
        oldest_first = self._ring[: newest + 1]
        if last >= self._blocks:
            oldest_first = self._ring[newest + 1 :] + oldest_first
        bits = int.from_bytes(oldest_first, "little")
        # The highest counter is received, so its bit is the number's first digit.
        excess = bits.bit_length() - number
        bits >>= excess
        return None if bits == (1 << number) - 1 else f"{bits:b}"
