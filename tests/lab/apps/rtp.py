"""What a row of RTP headers says about the way they came: gaps, repeats, order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from msgspec import Struct

_MODULUS: Final = 2**16  # of sequence numbers


class RtpPacket(Struct, frozen=True):
    """A line of rtp_receiver.py."""

    arrived_ns: int
    source: str
    version: int
    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int


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
    extended = [sequences[0]]
    for sequence in sequences[1:]:
        step = (sequence - extended[-1] + _MODULUS // 2) % _MODULUS - _MODULUS // 2
        extended.append(extended[-1] + step)
    numbers = sorted(set(extended))
    return Arrivals(
        len(extended),
        tuple(after - before - 1 for before, after in pairwise(numbers) if after - before > 1),
        len(extended) - len(numbers),
        sum(after < before for before, after in pairwise(extended)),
    )


def summary(packets: Sequence[RtpPacket]) -> str:
    """One stream from one socket, without repeats, or fail; its gaps are reported."""
    assert {(packet.version, packet.payload_type) for packet in packets} == {(2, 96)}
    assert len({packet.ssrc for packet in packets}) == 1
    assert len({packet.source for packet in packets}) == 1
    found = arrivals([packet.sequence for packet in packets])
    assert found.duplicated == 0
    silence_ns = max(after.arrived_ns - before.arrived_ns for before, after in pairwise(packets))
    return (
        f"{found.received} packets, {sum(found.gaps)} missing in {len(found.gaps)} gaps {found.gaps}, "
        f"{found.late} late, longest silence {silence_ns / 1e9:.3f} s"
    )
