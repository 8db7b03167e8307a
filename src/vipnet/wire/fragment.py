"""IPv4 packets into fragments (RFC 791 section 3.2), for packets that allow it."""

from __future__ import annotations

import struct
from typing import Final

from vipnet.wire.checksum import checksum
from vipnet.wire.inner import IPV4_HEADER_MIN

_DONT_FRAGMENT, _MORE_FRAGMENTS, _OFFSET = 0x4000, 0x2000, 0x1FFF
_END, _NO_OPERATION, _COPIED = 0, 1, 0x80  # options (RFC 791 section 3.1)
_UNIT: Final = 8  # bytes, of which offsets count

_u16 = struct.Struct("!H")


def may_fragment(packet: bytes | memoryview) -> bool:
    return not packet[6] & _DONT_FRAGMENT >> 8


def fragments(packet: bytes | memoryview, size_max: int) -> list[bytes]:
    """PACKET, whole and with its transport checksum complete, in packets of at most SIZE_MAX bytes.

    SIZE_MAX is at least 68 (RFC 791: every link carries that). A fragment may be cut again.
    """
    header_size = (packet[0] & 0x0F) * 4
    (word,) = _u16.unpack_from(packet, 6)
    first_header = bytes(packet[:header_size])
    header, offset, begin = first_header, word & _OFFSET, header_size
    pieces: list[bytes] = []
    while begin < len(packet):
        room = size_max - len(header)
        end = len(packet) if len(packet) - begin <= room else begin + room // _UNIT * _UNIT
        more = _MORE_FRAGMENTS if end < len(packet) else word & _MORE_FRAGMENTS
        pieces.append(_piece(header, offset | more, packet[begin:end]))
        offset += (end - begin) // _UNIT
        header, begin = _later_header(first_header), end
    return pieces


def _piece(header: bytes, word: int, payload: bytes | memoryview) -> bytes:
    piece = bytearray(header) + payload
    _u16.pack_into(piece, 2, len(piece))
    _u16.pack_into(piece, 6, word)
    _u16.pack_into(piece, 10, 0)
    _u16.pack_into(piece, 10, checksum(bytes(piece[: len(header)])))
    return bytes(piece)


def _later_header(header: bytes) -> bytes:
    """Of the options only those that say so are in every fragment."""
    kept = b""
    at = IPV4_HEADER_MIN
    while at < len(header) and header[at] != _END:
        size = 1 if header[at] == _NO_OPERATION else header[at + 1] if at + 1 < len(header) else 0
        if not size or (size == 1 and header[at] != _NO_OPERATION) or at + size > len(header):
            break  # malformed: nobody could read what follows
        if header[at] & _COPIED:
            kept += header[at : at + size]
        at += size
    kept += bytes(-len(kept) % 4)
    return bytes([0x40 | (IPV4_HEADER_MIN + len(kept)) // 4]) + header[1:IPV4_HEADER_MIN] + kept
