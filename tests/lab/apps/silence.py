"""How long nothing came through: out of the instants at which something did."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path


def longest_silence_ms(heard_ns: Sequence[int], since_ns: int = 0) -> float:
    """The longest time between two of HEARD_NS of which the later is after SINCE_NS."""
    gaps = (later - earlier for earlier, later in pairwise(heard_ns) if later > since_ns)
    return max(gaps, default=0) / 1e6


def instants(file: Path) -> list[int]:
    """The first words of FILE's whole lines: ns, where a program says when something came through."""
    lines = file.read_bytes().split(b"\n")[:-1]
    return [int(line.split(maxsplit=1)[0]) for line in lines]
