from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.vectors.documented import documented
from tests.wire.values import indices

from vipnet.crypto.transport import (
    Cipher,
    OpeningKey,
    SealingKey,
    choose_cipher,
    preferred_ciphers,
    transport_keys,
)
from vipnet.errors import CryptoError
from vipnet.wire import control
from vipnet.wire.datagram import KIND_CONTROL, SEAL_OVERHEAD, DataHeader, is_handshake

KEY = bytes(range(32))
AES, CHACHA, TRAINS = Cipher.AES_256_GCM, Cipher.CHACHA20_POLY1305, Cipher.AES_256_GCM_TRAINS
both_ciphers = pytest.mark.parametrize("cipher", list(Cipher), ids=lambda c: c.name)


@both_ciphers
@given(indices, st.integers(0, 2**64 - 1), st.binary(min_size=1, max_size=2000))
def test_what_is_sealed_can_be_opened(cipher: Cipher, index: int, counter: int, plaintext: bytes) -> None:
    datagram = SealingKey(KEY, cipher).seal(index, counter, plaintext)
    assert len(datagram) == len(plaintext) + SEAL_OVERHEAD - 1  # the kind is in the plaintext
    assert not is_handshake(datagram)
    assert DataHeader.decode(datagram) == DataHeader(index, counter)
    opening = OpeningKey(KEY, cipher)
    assert opening.open(datagram) == plaintext
    assert opening.open(memoryview(datagram)) == plaintext
    assert SealingKey(KEY, cipher).seal(index, counter, memoryview(plaintext)) == datagram


@both_ciphers
def test_no_bit_may_change(cipher: Cipher) -> None:
    datagram = SealingKey(KEY, cipher).seal(1, 2, b"a packet\1")
    opening = OpeningKey(KEY, cipher)
    for bit in range(8 * len(datagram)):
        changed = bytearray(datagram)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CryptoError):
            opening.open(bytes(changed))
    assert opening.open(datagram) == b"a packet\1"


@both_ciphers
def test_no_byte_may_be_missing(cipher: Cipher) -> None:
    datagram = SealingKey(KEY, cipher).seal(1, 2, b"a packet\1")
    opening = OpeningKey(KEY, cipher)
    for size in range(len(datagram)):
        with pytest.raises(CryptoError):
            opening.open(datagram[:size])


@both_ciphers
def test_a_plaintext_without_kind_is_refused(cipher: Cipher) -> None:
    with pytest.raises(CryptoError, match="28 bytes"):
        OpeningKey(KEY, cipher).open(SealingKey(KEY, cipher).seal(1, 2, b""))


def test_the_other_key_or_cipher_does_not_open() -> None:
    datagram = SealingKey(KEY, AES).seal(1, 2, b"\1")
    for opening in (OpeningKey(bytes(32), AES), OpeningKey(KEY, CHACHA)):
        with pytest.raises(CryptoError):
            opening.open(datagram)


@pytest.mark.parametrize(("number", "cipher"), [("D2", AES), ("D3", CHACHA)])
def test_sealed_datagram_vectors(number: str, cipher: Cipher) -> None:
    """docs/protocol.md, examples D2 and D3: a Keepalive."""
    plaintext = control.encode(control.Keepalive()) + bytes([KIND_CONTROL])
    assert SealingKey(KEY, cipher).seal(42, 7, plaintext) == documented(number)
    assert OpeningKey(KEY, cipher).open(documented(number)) == plaintext


def test_preference() -> None:
    assert preferred_ciphers(has_aes=True) == (TRAINS, AES, CHACHA)
    assert preferred_ciphers(has_aes=False) == (CHACHA,)


@pytest.mark.parametrize(
    ("initiator_has_aes", "responder_has_aes", "expected"),
    [(True, True, TRAINS), (True, False, CHACHA), (False, True, CHACHA), (False, False, CHACHA)],
)
def test_aes_only_where_both_have_instructions(
    initiator_has_aes: bool, responder_has_aes: bool, expected: Cipher
) -> None:
    assert choose_cipher(preferred_ciphers(initiator_has_aes), responder_has_aes) is expected


def test_unknown_ciphers_are_passed_over() -> None:
    assert choose_cipher((99, 2, 1), has_aes=True) is CHACHA
    assert choose_cipher((99, 1, 2), has_aes=True) is AES, "a host of before knows no trains"
    for offered in [(), (99,), (0, 4)]:
        with pytest.raises(CryptoError, match="no common cipher"):
            choose_cipher(offered, has_aes=True)
    with pytest.raises(CryptoError, match="no common cipher"):
        choose_cipher((AES,), has_aes=False)


def test_keys_differ_by_direction_and_cipher() -> None:
    derived = [key for cipher in Cipher for key in transport_keys(bytes(32), cipher)]
    assert len(set(derived)) == 6
    assert {len(key) for key in derived} == {32}
    assert set(derived).isdisjoint(transport_keys(os.urandom(32), AES))
