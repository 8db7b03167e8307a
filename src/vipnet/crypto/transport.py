"""Sealing and opening of datagrams: the hot path.

The header is the nonce, so it is authenticated with every datagram; there is no
further associated data. Who counts is the session: nothing may be sealed twice
under one counter.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from vipnet.crypto.noise import hkdf
from vipnet.errors import CryptoError
from vipnet.wire.datagram import HEADER_SIZE, SEAL_OVERHEAD


class Cipher(IntEnum):
    """Transport ciphers, by their number in handshake payloads. Keys are 32 bytes."""

    AES_256_GCM = 1
    CHACHA20_POLY1305 = 2


_LABEL: Final = {
    Cipher.AES_256_GCM: b"vipnet AES-256-GCM",
    Cipher.CHACHA20_POLY1305: b"vipnet ChaCha20-Poly1305",
}
_pack_header = struct.Struct("!IQ").pack


def preferred_ciphers(has_aes: bool) -> tuple[int, ...]:
    """Return what to offer, best first.

    ChaCha20-Poly1305 is always there. AES only with AES instructions: without them
    it is slow, and its tables tell the key to whoever shares the cache.
    """
    if has_aes:
        return (Cipher.AES_256_GCM, Cipher.CHACHA20_POLY1305)
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

    __slots__ = ("_encrypt",)

    def __init__(self, key: bytes, cipher: Cipher) -> None:
        self._encrypt = _aead(key, cipher).encrypt

    def seal(self, receiver_index: int, counter: int, plaintext: bytes | memoryview) -> bytes:
        """Return the whole datagram. The last byte of PLAINTEXT is its kind."""
        header = _pack_header(receiver_index, counter)
        return header + self._encrypt(header, plaintext, None)


class OpeningKey:
    """The key of one direction, at the receiver."""

    __slots__ = ("_decrypt",)

    def __init__(self, key: bytes, cipher: Cipher) -> None:
        self._decrypt = _aead(key, cipher).decrypt

    def open(self, datagram: bytes | memoryview) -> bytes:
        """Return the plaintext, whose last byte is its kind. Raise CryptoError when it does not verify."""
        if len(datagram) < SEAL_OVERHEAD:
            raise CryptoError(f"sealed datagram of {len(datagram)} bytes")
        try:
            return self._decrypt(datagram[:HEADER_SIZE], datagram[HEADER_SIZE:], None)
        except InvalidTag:
            raise CryptoError("sealed datagram does not verify") from None


def _aead(key: bytes, cipher: Cipher) -> AESGCM | ChaCha20Poly1305:
    return AESGCM(key) if cipher is Cipher.AES_256_GCM else ChaCha20Poly1305(key)
