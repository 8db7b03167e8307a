"""What a row of RTP headers says about the way they came: gaps, repeats, order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from msgspec import Struct
from tests.lab.apps.silence import longest_silence_ms

_NUMBERS, _STAMPS = 2**16, 2**32  # how many there are, of sequence numbers and of time stamps
_VIDEO_CLOCK_HZ: Final = 90_000


class RtpPacket(Struct, frozen=True):
    """A line of rtp_program.py."""

    arrived_ns: int
    source: str
    version: int
    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int


class Frames(Struct, frozen=True):
    """Pictures of a video: of `sent`, from the first to the last that was seen, `whole` ones came."""

    sent: int
    whole: int

    def __str__(self) -> str:
        return f"{self.whole} of {self.sent} frames whole"


class Arrivals(Struct, frozen=True):
    """Sequence numbers of a stream, counted on beyond 16 bits (RFC 3550 appendix A.1).

    gaps  how many numbers are missing at each place where some are, in order
    """

    received: int
    gaps: tuple[int, ...]
    duplicated: int
    late: int


def read_packets(file: Path) -> list[RtpPacket]:
    """Whole lines only: the last one may just be written."""
    packets = []
    for line in file.read_text().split("\n")[:-1]:
        arrived, source, *numbers = line.split()
        packets.append(RtpPacket(int(arrived), source, *map(int, numbers)))
    return packets


def arrivals(sequences: Sequence[int]) -> Arrivals:
    """Raise ValueError without any."""
    extended = _extended(sequences, _NUMBERS)
    numbers = sorted(set(extended))
    return Arrivals(
        len(extended),
        tuple(after - before - 1 for before, after in pairwise(numbers) if after - before > 1),
        len(extended) - len(numbers),
        sum(after < before for before, after in pairwise(extended)),
    )


def frames(packets: Sequence[RtpPacket], per_second: int = 25) -> Frames:
    """Tell pictures apart by their time stamps (RFC 3550 section 5.1; for video 90 kHz).

    What is missing between two pictures may have been of either: then neither is whole.
    """
    numbers = _extended([packet.sequence for packet in packets], _NUMBERS)
    stamps = _extended([packet.timestamp for packet in packets], _STAMPS)
    damaged = {
        stamp
        for (before, earlier), (after, later) in pairwise(sorted(zip(numbers, stamps, strict=True)))
        if after - before > 1
        for stamp in (earlier, later)
    }
    sent = (max(stamps) - min(stamps)) * per_second // _VIDEO_CLOCK_HZ + 1
    return Frames(sent, len(set(stamps) - damaged))


def _extended(values: Sequence[int], modulus: int) -> list[int]:
    """Count on beyond MODULUS: each value is the one nearest to the value before."""
    extended = [values[0]]
    for value in values[1:]:
        step = (value - extended[-1] + modulus // 2) % modulus - modulus // 2
        extended.append(extended[-1] + step)
    return extended


def summary(packets: Sequence[RtpPacket], payload_type: int = 96) -> str:
    """One stream from one socket, without repeats, or fail; its gaps are reported."""
    assert {(packet.version, packet.payload_type) for packet in packets} == {(2, payload_type)}
    assert len({packet.ssrc for packet in packets}) == 1
    assert len({packet.source for packet in packets}) == 1
    found = arrivals([packet.sequence for packet in packets])
    assert found.duplicated == 0
    silence_ms = longest_silence_ms([packet.arrived_ns for packet in packets])
    return (
        f"{found.received} packets, {sum(found.gaps)} missing in {len(found.gaps)} gaps {found.gaps}, "
        f"{found.late} late, longest silence {silence_ms / 1000:.3f} s"
    )
