"""Trains: the payload of a super-packet sealed once as a whole, and in pieces of which each opens by itself.

Almost always all datagrams of a super-packet arrive, together and in order. So one call
of the AEAD opens their payload: the pieces, joined, are one ciphertext, whose tag is in the
last datagram, the end. When something is missing each piece is verified by itself, as it
is associated data of a sealed tail of its own, and decrypted by its place in the key stream.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from itertools import repeat
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from vipnet.crypto.noise import hkdf
from vipnet.errors import CryptoError
from vipnet.wire.datagram import (
    COUNTERS_MAX,
    HEADER_SIZE,
    NEXT_PIECE,
    POSITIONS_MAX,
    TAG_SIZE,
    counter_of,
    piece_number,
    piece_size,
    position_of,
    tail_size_of,
)

_LABEL: Final = b"vipnet train"
_BLOCK: Final = 16  # bytes, AES
_FIRST_BLOCK: Final = 2  # of the key stream in GCM: 1 is the tag's (NIST SP 800-38D, 7.1)
_header = struct.Struct("!IQ")
_pack_header, _unpack_header = _header.pack, _header.unpack_from


def train_key(key: bytes) -> bytes:
    """The key of the whole, from that of one direction's datagrams: under two keys no nonce is used twice."""
    return hkdf(key, _LABEL, 1)[0]


@lru_cache(64)
def _places(first: int, stride: int, size: int, count: int) -> tuple[slice, ...]:
    """Where COUNT pieces of SIZE bytes are, the first at FIRST, each other STRIDE behind the one before."""
    return tuple(slice(start, start + size) for start in range(first, first + count * stride, stride))


class TrainSealing:
    """One direction of a session, at the sender."""

    __slots__ = ("_encrypt", "_encrypt_whole")

    def __init__(self, key: bytes) -> None:
        self._encrypt, self._encrypt_whole = AESGCM(key).encrypt, AESGCM(train_key(key)).encrypt

    def seal(
        self,
        receiver_index: int,
        counter: int,
        payload: memoryview,
        size: int,
        tails: tuple[bytes, bytes],
        end: bytes,
    ) -> bytes:
        """PAYLOAD in datagrams with SIZE bytes of it each, under COUNTER and those behind it, and the end.

        payload  a whole number of pieces
        tails    what is sealed beside each piece, and beside the last: as many bytes
        end      what is sealed in the end, behind the tag of the whole
        """
        tail, last_tail = tails
        count, first = len(payload) // size, piece_number(len(tail), 0, counter)
        numbers = range(first, first + count * NEXT_PIECE, NEXT_PIECE)
        headers = list(map(_pack_header, repeat(receiver_index, count), numbers))
        sealed = self._encrypt_whole(headers[0], payload, None)
        pieces = list(map(memoryview(sealed).__getitem__, _places(0, size, size, count)))
        parts: list[bytes | memoryview] = [b""] * (3 * count)
        # By columns, which is a sixth faster than one datagram behind the other.
        parts[::3], parts[1::3] = headers, pieces
        parts[2::3] = map(self._encrypt, headers, (*repeat(tail, count - 1), last_tail), pieces)
        header = _pack_header(receiver_index, counter + count)
        parts += header, self._encrypt(header, sealed[-TAG_SIZE:] + end, None)
        return b"".join(parts)


class TrainOpening:
    """One direction of a session, at the receiver."""

    __slots__ = ("_decrypt", "_decrypt_whole", "_whole_key")

    def __init__(self, key: bytes) -> None:
        whole_key = train_key(key)
        self._whole_key = AES256(whole_key)
        self._decrypt, self._decrypt_whole = AESGCM(key).decrypt, AESGCM(whole_key).decrypt_into

    def open_whole(self, data: memoryview, stride: int, tag: bytes, out: memoryview) -> None:
        """Write the payload to OUT, which has its size.

        data  all datagrams of STRIDE bytes but the end, in their order. Their headers and tails count for
              nothing here: what is behind them is what was sealed, or it does not verify
        tag   of the whole, from the end

        Raise CryptoError when it does not verify; OUT is then empty of it.
        """
        (_, number) = _unpack_header(data)
        size = piece_size(stride, number)
        pieces = map(data.__getitem__, _places(HEADER_SIZE, stride, size, len(data) // stride))
        try:
            self._decrypt_whole(data[:HEADER_SIZE], b"".join((*pieces, tag)), None, out)
        except InvalidTag:
            out[:] = bytes(len(out))  # the library leaves what nobody has sealed
            raise CryptoError("train does not verify") from None

    def open_pieces(self, data: memoryview, stride: int) -> tuple[bytes, list[bytes]]:
        """The payload of as many datagrams of STRIDE bytes as follow one another, and the tail of each.

        Raise CryptoError when not even the first verifies.
        """
        index, first = _unpack_header(data)
        size, tail_at = piece_size(stride, first), stride - TAG_SIZE - tail_size_of(first)
        position, counter = position_of(first), counter_of(first)
        if size < 0 or position > counter:
            raise CryptoError("piece of a train: its header is none")
        pieces: list[memoryview] = []
        tails: list[bytes] = []
        try:
            for at in range(min(len(data) // stride, POSITIONS_MAX - position, COUNTERS_MAX - counter)):
                header, start = _pack_header(index, first + at * NEXT_PIECE), at * stride
                if data[start : start + HEADER_SIZE] != header:
                    break
                piece = data[start + HEADER_SIZE : start + tail_at]
                tails.append(self._decrypt(header, data[start + tail_at : start + stride], piece))
                pieces.append(piece)
        except InvalidTag:
            if not pieces:
                raise CryptoError("piece of a train does not verify") from None
        return self._decrypt_from(index, first, size, b"".join(pieces)), tails

    def _decrypt_from(self, index: int, number: int, size: int, data: bytes) -> bytes:
        """DATA, whose first piece is that of NUMBER: its seal must have been verified."""
        position = position_of(number)
        block, ahead = divmod(position * size, _BLOCK)
        nonce = _pack_header(index, number - position * NEXT_PIECE)
        counter_block = nonce + (_FIRST_BLOCK + block).to_bytes(_BLOCK - HEADER_SIZE)
        return (
            BlockCipher(self._whole_key, CTR(counter_block)).decryptor().update(bytes(ahead) + data)[ahead:]
        )
