from __future__ import annotations

from hashlib import blake2s

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.wire.values import handshake_datagrams, locators

from vipnet.crypto.cookie import (
    COOKIE_LIFE_S,
    CookieJar,
    add_macs,
    mac1,
    open_reply,
    verify_mac1,
)
from vipnet.crypto.noise import public_key
from vipnet.errors import CryptoError
from vipnet.types import Instant, Locator, PublicKey
from vipnet.wire.handshake import NO_MAC, HandshakeDatagram, HandshakeType, decode_handshake

RESPONDER = public_key(bytes([1] * 32))
OTHER = public_key(bytes([2] * 32))
DATAGRAM = HandshakeDatagram(HandshakeType.XX_1, 7, 0, b"e" * 32)
HOME, AWAY = Locator("192.0.2.1", 5847), Locator("2001:db8::1", 5847)
JAR = CookieJar(b"s" * 32)
NONCE = bytes(24)
NOW = Instant(1000.0)

receiver_keys = st.sampled_from([RESPONDER, OTHER, None])


@given(handshake_datagrams(), receiver_keys)
def test_mac1_survives_the_wire(datagram: HandshakeDatagram, key: PublicKey | None) -> None:
    sent = add_macs(datagram, key)
    received = decode_handshake(sent.encode())
    assert isinstance(received, HandshakeDatagram)
    assert received.mac2 == NO_MAC
    assert verify_mac1(key, received)
    assert not verify_mac1(public_key(bytes([3] * 32)), received)


def test_mac1_covers_every_byte_before_it() -> None:
    head = DATAGRAM.head()
    macs = {mac1(RESPONDER, head[:at] + b"\xff" + head[at + 1 :]) for at in range(len(head))}
    assert len(macs | {mac1(RESPONDER, head)}) == len(head) + 1


def test_mac1_by_its_definition() -> None:
    """docs/protocol.md, "Handshake and keys"."""
    key = blake2s(b"vipnet mac1" + RESPONDER).digest()
    assert mac1(RESPONDER, b"head") == blake2s(b"head", key=key, digest_size=16).digest()
    assert mac1(None, b"head") == mac1(PublicKey(bytes(32)), b"head")


@given(handshake_datagrams(), receiver_keys, locators, st.binary(min_size=24, max_size=24))
def test_a_cookie_opens_the_door(
    datagram: HandshakeDatagram, key: PublicKey | None, source: Locator, nonce: bytes
) -> None:
    first = add_macs(datagram, key)
    assert not JAR.verify_mac2(first, source, NOW)
    reply = JAR.seal_reply(first, source, key, nonce, NOW)
    received = decode_handshake(reply.encode())
    assert received == reply
    assert reply.receiver == datagram.sender
    cookie = open_reply(reply, key, first.mac1)
    assert cookie == JAR.cookie_for(source, NOW)

    second = add_macs(replace(datagram, sender=datagram.sender % (2**32 - 1) + 1), key, cookie)
    assert verify_mac1(key, second)
    assert JAR.verify_mac2(second, source, NOW)
    elsewhere = Locator(source.host, source.port % 65535 + 1)
    assert not JAR.verify_mac2(second, elsewhere, NOW)
    assert not CookieJar(b"t" * 32).verify_mac2(second, source, NOW)


def test_mac2_covers_mac1() -> None:
    sent = add_macs(DATAGRAM, RESPONDER, JAR.cookie_for(HOME, NOW))
    assert JAR.verify_mac2(sent, HOME, NOW)
    assert not JAR.verify_mac2(replace(sent, mac1=bytes(16)), HOME, NOW)
    assert not JAR.verify_mac2(replace(sent, sender=8), HOME, NOW)


@given(st.floats(-1e4, 1e9), st.floats(0, 2 * COOKIE_LIFE_S))
def test_a_cookie_is_good_for_its_life_and_at_most_twice_that(made_at: float, age: float) -> None:
    sent = add_macs(DATAGRAM, None, JAR.cookie_for(HOME, Instant(made_at)))
    now = Instant(made_at + age)
    if age <= COOKIE_LIFE_S * 0.999:
        assert JAR.verify_mac2(sent, HOME, now)
    assert not JAR.verify_mac2(sent, HOME, Instant(made_at + 2 * COOKIE_LIFE_S))


def test_cookies_differ_by_source_and_period() -> None:
    later = Instant(NOW + COOKIE_LIFE_S)
    cookies = {JAR.cookie_for(source, now) for source in (HOME, AWAY) for now in (NOW, later)}
    assert len(cookies) == 4
    assert {len(cookie) for cookie in cookies} == {16}


def test_a_reply_answers_one_message_under_one_key() -> None:
    sent = add_macs(DATAGRAM, RESPONDER)
    reply = JAR.seal_reply(sent, HOME, RESPONDER, NONCE, NOW)
    assert open_reply(reply, RESPONDER, sent.mac1) == JAR.cookie_for(HOME, NOW)
    for key, answered in [(OTHER, sent.mac1), (None, sent.mac1), (RESPONDER, bytes(16))]:
        with pytest.raises(CryptoError, match="does not verify"):
            open_reply(reply, key, answered)
    for at in range(len(reply.sealed)):
        changed = reply.sealed[:at] + bytes([reply.sealed[at] ^ 1]) + reply.sealed[at + 1 :]
        with pytest.raises(CryptoError):
            open_reply(replace(reply, sealed=changed), RESPONDER, sent.mac1)
    with pytest.raises(CryptoError):
        open_reply(replace(reply, nonce=b"\1" * 24), RESPONDER, sent.mac1)
