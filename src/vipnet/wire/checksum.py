"""The Internet checksum (RFC 1071)."""

from __future__ import annotations


def sum16(data: bytes | bytearray | memoryview, begin: int = 0) -> int:
    """The ones' complement sum of 16-bit words, folded, as a checksum field holds it begun."""
    padded = bytes(data) + b"\0" if len(data) & 1 else data
    # 2^16 is 1 modulo 65,535, so a number has the same remainder as the sum of its words.
    total = (int.from_bytes(padded, "big") + begin) % 0xFFFF
    return total or 0xFFFF


def checksum(data: bytes | bytearray | memoryview) -> int:
    """What a checksum field of 0 in DATA is to be replaced by."""
    return ~sum16(data) & 0xFFFF
