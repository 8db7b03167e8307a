"""Sealing and opening of datagrams: the hot path.

The header is the nonce, so it is authenticated with every datagram; there is no
further associated data. Who counts is the session: nothing may be sealed twice
under one counter.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from vipnet.crypto.noise import hkdf
from vipnet.crypto.run import Run
from vipnet.errors import CryptoError
from vipnet.wire.datagram import HEADER_SIZE, SEAL_OVERHEAD, TAG_SIZE


class Cipher(IntEnum):
    """Transport ciphers, by their number in handshake payloads. Keys are 32 bytes.

    AES_256_GCM_TRAINS is AES-256-GCM between hosts that know trains (`crypto.train`).
    """

    AES_256_GCM = 1
    CHACHA20_POLY1305 = 2
    AES_256_GCM_TRAINS = 3


_LABEL: Final = {
    Cipher.AES_256_GCM: b"vipnet AES-256-GCM",
    Cipher.CHACHA20_POLY1305: b"vipnet ChaCha20-Poly1305",
    Cipher.AES_256_GCM_TRAINS: b"vipnet AES-256-GCM trains",
}
_pack_header = struct.Struct("!IQ").pack


def preferred_ciphers(has_aes: bool) -> tuple[int, ...]:
    """Return what to offer, best first.

    ChaCha20-Poly1305 is always there. AES only with AES instructions: without them
    it is slow, and its tables tell the key to whoever shares the cache.
    """
    if has_aes:
        return (Cipher.AES_256_GCM_TRAINS, Cipher.AES_256_GCM, Cipher.CHACHA20_POLY1305)
    return (Cipher.CHACHA20_POLY1305,)


def choose_cipher(offered: Sequence[int], has_aes: bool) -> Cipher:
    """Return the first of the initiator's ciphers that we would use. Raise CryptoError when there is none."""
    usable = preferred_ciphers(has_aes)
    for number in offered:
        if number in usable:
            return Cipher(number)
    raise CryptoError(f"no common cipher in {list(offered)}")


def transport_keys(chaining_key: bytes, cipher: Cipher) -> tuple[bytes, bytes]:
    """Return the keys initiator -> responder and responder -> initiator.

    In the place of Noise's Split(), with a label: a key is bound to its cipher.
    """
    to_responder, to_initiator = hkdf(chaining_key, _LABEL[cipher], 2)
    return to_responder, to_initiator


class SealingKey:
    """The key of one direction, at the sender."""

    __slots__ = ("_encrypt", "_encrypt_into")

    def __init__(self, key: bytes, cipher: Cipher) -> None:
        aead = _aead(key, cipher)
        self._encrypt, self._encrypt_into = aead.encrypt, aead.encrypt_into

    def seal(self, receiver_index: int, counter: int, plaintext: bytes | memoryview) -> bytes:
        """Return the whole datagram. The last byte of PLAINTEXT is its kind."""
        header = _pack_header(receiver_index, counter)
        return header + self._encrypt(header, plaintext, None)

    def seal_each(
        self,
        receiver_index: int,
        counter: int,
        plaintexts: Iterable[memoryview],
        out: memoryview,
        stride: int,
    ) -> None:
        """Fill OUT with datagrams of STRIDE bytes, the last perhaps shorter; the first is under COUNTER."""
        encrypt_into, start = self._encrypt_into, 0
        for number, plaintext in enumerate(plaintexts, counter):
            header, body = _pack_header(receiver_index, number), start + HEADER_SIZE
            out[start:body] = header
            start += stride
            encrypt_into(header, plaintext, None, out[body:start])

    def seal_run(self, receiver_index: int, counter: int, run: Run, out: memoryview, stride: int) -> None:
        """Fill OUT with datagrams of STRIDE bytes, the last first; COUNTER is the first one's.

        Each tail is written over what is behind its plaintext. Raise ValueError when OUT does not fit.
        """
        encrypt_into, room, tail, size, tail_size = (
            self._encrypt_into,
            run.room,
            run.tail,
            run.size,
            len(run.tail),
        )
        number = run.count_in(out, stride)
        begin, start = run.position + number * size, number * stride
        for at in range(number - 1, -1, -1):
            tail_at, end, begin, start = begin, start, begin - size, start - stride
            room[tail_at : tail_at + tail_size] = tail
            header, body = _pack_header(receiver_index, counter + at), start + HEADER_SIZE
            out[start:body] = header
            encrypt_into(header, room[begin : tail_at + tail_size], None, out[body:end])


class OpeningKey:
    """The key of one direction, at the receiver."""

    __slots__ = ("_decrypt", "_decrypt_into")

    def __init__(self, key: bytes, cipher: Cipher) -> None:
        aead = _aead(key, cipher)
        self._decrypt, self._decrypt_into = aead.decrypt, aead.decrypt_into

    def open(self, datagram: bytes | memoryview) -> bytes:
        """Return the plaintext, whose last byte is its kind. Raise CryptoError when it does not verify."""
        if len(datagram) < SEAL_OVERHEAD:
            raise CryptoError(f"sealed datagram of {len(datagram)} bytes")
        try:
            return self._decrypt(datagram[:HEADER_SIZE], datagram[HEADER_SIZE:], None)
        except InvalidTag:
            raise CryptoError("sealed datagram does not verify") from None

    def open_into(self, datagram: memoryview, out: memoryview) -> None:
        """Write the plaintext to OUT, which has its size: HEADER_SIZE + TAG_SIZE less than DATAGRAM.

        Raise CryptoError when it does not verify; OUT is then empty of it.
        """
        try:
            self._decrypt_into(datagram[:HEADER_SIZE], datagram[HEADER_SIZE:], None, out)
        except InvalidTag:
            out[:] = bytes(len(out))  # the library leaves what nobody has sealed
            raise CryptoError("sealed datagram does not verify") from None

    def open_run(self, data: memoryview, stride: int, header: tuple[int, int], run: Run, at_most: int) -> int:
        """Open datagrams of STRIDE bytes into RUN, each over the tail of the one before; return how many.

        header   receiver index and counter of the first; the counters of the others follow
        at_most  how many there may be

        The first that is not under its counter or does not end in the tail is not taken: open it
        by itself to know what it is. Raise ValueError when RUN has no room for them.
        """
        decrypt_into, (index, counter) = self._decrypt_into, header
        room, raw, tail, step, position = run.room, run.raw, run.tail, run.size, run.position
        number, size = run.count_of(data, stride, at_most), stride - HEADER_SIZE - TAG_SIZE
        start = at = 0
        try:
            for at in range(number):
                nonce, body, end = _pack_header(index, counter + at), start + HEADER_SIZE, position + size
                if data[start:body] != nonce:
                    return at
                decrypt_into(nonce, data[body : start + stride], None, room[position:end])
                if not raw.endswith(tail, position, end):
                    return at
                start += stride
                position += step
        except InvalidTag:
            room[position : position + size] = bytes(size)  # the library leaves what nobody has sealed
            return at
        return number


def _aead(key: bytes, cipher: Cipher) -> AESGCM | ChaCha20Poly1305:
    return ChaCha20Poly1305(key) if cipher is Cipher.CHACHA20_POLY1305 else AESGCM(key)
