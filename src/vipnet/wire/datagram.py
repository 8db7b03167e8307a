"""The sealed datagram, and how it is told from a handshake.

    receiver index u32 | counter u64 | ciphertext | tag 16
    plaintext = body | kind u8

    receiver index u32 | tail size u8 | position u8 | counter u48 | piece | sealed tail | tag 16

The first four bytes decide: 0 is a handshake (`wire.handshake`), all else the
index that the receiver chose for the session. The kind stands last so that the
bodies of one super-packet can be opened one behind the other into one buffer.
The second picture is a piece of a train (`crypto.train`): nobody counts so far that
the first could be taken for it.
"""

from __future__ import annotations

import struct
from typing import Final, Self

from msgspec import Struct

from vipnet.errors import WireError

_HEADER = struct.Struct("!IQ")
_HANDSHAKE_WORD = bytes(4)

HEADER_SIZE: Final = _HEADER.size  # 12 bytes: the nonce of both ciphers (RFC 5116 section 5)
TAG_SIZE: Final = 16  # bytes, both ciphers
KIND_SIZE: Final = 1
SEAL_OVERHEAD: Final = HEADER_SIZE + TAG_SIZE + KIND_SIZE  # bytes a body grows by: 29
TCP_OVERHEAD: Final = SEAL_OVERHEAD + 3  # bytes a TCP packet grows by: its trailer has a counter and a length

# What goes out at once, to be cut by the kernel.
SEGMENTS_MAX: Final = 64  # datagrams; linux/udp.h, UDP_MAX_SEGMENTS before Linux 6.9
BLOCK_MAX: Final = 65_487  # bytes: 65,535 less IPv6 and UDP header

KIND_CONTROL: Final = 0  # a message of wire.control
KIND_IPV4: Final = 1  # an IPv4 packet as it is
KIND_TCP: Final = 2  # TCP payload | inner IPv4 and TCP header | header length u8
KIND_PARTIAL: Final = 3  # an IPv4 packet whose transport checksum is still to be completed
KIND_PROBE: Final = 4  # CHALLENGE_SIZE bytes that a PathResponse repeats, and zeros: does this size arrive?
KIND_TRAIN: Final = 5  # the end of a train: tag of the whole 16 | flags of the last segment u8 | trailer

_TAIL_SIZE_AT: Final = 56  # bits of a piece's number
_POSITION_AT: Final = 48
POSITIONS_MAX: Final = 1 << 8  # pieces of one train
COUNTERS_MAX: Final = 1 << _POSITION_AT  # of a session with trains
NEXT_PIECE: Final = (1 << _POSITION_AT) + 1  # to the next one's number: one position and one counter on
FIRST_NUMBER: Final = 1 << _TAIL_SIZE_AT  # numbers from here on are those of pieces


def piece_number(tail_size: int, position: int, counter: int) -> int:
    """What stands in the header of a piece of a train, in the place of the counter alone."""
    return tail_size << _TAIL_SIZE_AT | position << _POSITION_AT | counter


def tail_size_of(number: int) -> int:
    """Bytes of plaintext that are sealed beside the piece."""
    return number >> _TAIL_SIZE_AT


def piece_size(datagram_size: int, number: int) -> int:
    """Bytes of the whole in a datagram of DATAGRAM_SIZE bytes; below 0 in one that cannot be."""
    return datagram_size - HEADER_SIZE - tail_size_of(number) - TAG_SIZE


def position_of(number: int) -> int:
    """How many pieces of the train come before it."""
    return number >> _POSITION_AT & POSITIONS_MAX - 1


def counter_of(number: int) -> int:
    return number & COUNTERS_MAX - 1


class DataHeader(Struct, frozen=True, gc=False):
    """Header of a sealed datagram, also its AEAD nonce: 12 bytes, big-endian.

    receiver_index  u32  session index the receiver chose, never 0
    counter         u64  datagrams sealed under this key, from 0

    After WireGuard 5.4.6.
    """

    receiver_index: int
    counter: int

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Self:
        """Raise WireError when DATA cannot be a sealed datagram: too short, or index 0."""
        if len(data) < SEAL_OVERHEAD:
            raise WireError(f"sealed datagram: {len(data)} bytes, need {SEAL_OVERHEAD}")
        receiver_index, counter = _HEADER.unpack_from(data)
        if receiver_index == 0:
            raise WireError("sealed datagram: index 0 is a handshake's")
        return cls(receiver_index, counter)

    def encode(self) -> bytes:
        return _HEADER.pack(self.receiver_index, self.counter)


def is_handshake(data: bytes | memoryview) -> bool:
    """Whether the first word is 0. Says nothing of the rest: decode_handshake does."""
    return data[:4] == _HANDSHAKE_WORD
