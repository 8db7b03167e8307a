from __future__ import annotations

from ipaddress import IPv4Address

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.values import handshake_datagrams, indices, init_payloads, response_payloads

from vipnet.errors import WireError
from vipnet.policy import INIT_SIZE, LOCATORS_MAX, OFFER_PAGE, PROTOCOL_VERSION
from vipnet.types import NAME_MAX, Fqdn, Locator, Token
from vipnet.wire.control import Choose, Offer, TokenPair
from vipnet.wire.handshake import (
    INIT_PAYLOAD_SIZE,
    RESPONSE_PAYLOAD_MAX,
    CookieReply,
    HandshakeDatagram,
    HandshakeType,
    InitPayload,
    ResponsePayload,
    StalePayload,
    decode_handshake,
    decode_init_payload,
    decode_response_payload,
    encode_payload,
)

INIT = HandshakeDatagram(HandshakeType.IK_INIT, 7, 0, bytes(96 + INIT_PAYLOAD_SIZE), b"1" * 16, b"2" * 16)
RESPONSE = HandshakeDatagram(HandshakeType.IK_RESPONSE, 8, 7, b"n" * 48)
XX_1 = HandshakeDatagram(HandshakeType.XX_1, 7, 0, b"e" * 32)
XX_2 = HandshakeDatagram(HandshakeType.XX_2, 8, 7, b"n" * 96)
XX_3 = HandshakeDatagram(HandshakeType.XX_3, 7, 8, b"n" * 64)

PAYLOAD = InitPayload(
    name=Fqdn("a.vipip.net"),
    timestamp=1,
    boot_id=b"bootboot",
    ciphers=(1, 2),
    locators=(Locator("192.0.2.1", 5847),),
    move_number=2,
    observed=None,
)


# --- datagrams


@given(handshake_datagrams())
def test_datagrams_round_trip(datagram: HandshakeDatagram) -> None:
    raw = datagram.encode()
    assert decode_handshake(raw) == datagram
    assert raw == datagram.head() + datagram.mac1 + datagram.mac2


@given(indices, st.binary(min_size=24, max_size=24), st.binary(min_size=32, max_size=32))
def test_cookie_replies_round_trip(receiver: int, nonce: bytes, sealed: bytes) -> None:
    reply = CookieReply(receiver, nonce, sealed)
    assert decode_handshake(reply.encode()) == reply


def test_layout() -> None:
    assert INIT.encode()[:10] == bytes.fromhex("00000000 01 01 00000007")
    assert RESPONSE.encode()[:14] == bytes.fromhex("00000000 01 02 00000008 00000007")
    assert INIT.encode()[-32:] == b"1" * 16 + b"2" * 16
    assert CookieReply(7, b"n" * 24, b"s" * 32).encode() == (
        bytes.fromhex("00000000 01 06 00000007") + b"n" * 24 + b"s" * 32
    )


def test_no_answer_is_longer_than_its_question() -> None:
    longest = HandshakeDatagram(HandshakeType.IK_RESPONSE, 1, 1, bytes(48 + RESPONSE_PAYLOAD_MAX))
    assert len(INIT.encode()) == len(longest.encode()) == INIT_SIZE
    assert len(XX_1.encode()) == len(XX_2.encode()) == 142
    cookie = CookieReply(1, bytes(24), bytes(32))
    assert all(len(cookie.encode()) <= len(d.encode()) for d in (INIT, RESPONSE, XX_1, XX_2, XX_3))


@pytest.mark.parametrize("datagram", [INIT, RESPONSE, XX_1, XX_2, XX_3, CookieReply(1, bytes(24), bytes(32))])
def test_shorter_by_any_number_of_bytes_is_refused(datagram: HandshakeDatagram | CookieReply) -> None:
    raw = datagram.encode()
    assert decode_handshake(raw) == datagram
    for size in range(len(raw)):
        with pytest.raises(WireError):
            decode_handshake(raw[:size])


@pytest.mark.parametrize("datagram", [INIT, XX_1, CookieReply(1, bytes(24), bytes(32))])
def test_a_size_that_is_fixed_may_not_be_exceeded(datagram: HandshakeDatagram | CookieReply) -> None:
    with pytest.raises(WireError):
        decode_handshake(datagram.encode() + b"\0")


def changed(datagram: HandshakeDatagram, at: int, value: bytes) -> bytes:
    raw = datagram.encode()
    return raw[:at] + value + raw[at + len(value) :]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (changed(RESPONSE, 3, b"\1"), "first word"),
        (changed(RESPONSE, 4, bytes([PROTOCOL_VERSION + 1])), "version 2, we speak 1"),
        (changed(RESPONSE, 5, b"\0"), "unknown type 0"),
        (changed(RESPONSE, 5, b"\7"), "unknown type 7"),
        (changed(RESPONSE, 6, bytes(4)), "index 0"),
        (changed(RESPONSE, 10, bytes(4)), "index 0"),
        (changed(INIT, 6, bytes(4)), "index 0"),
        (changed(XX_1, 42, b"\1"), "zeros"),
        (changed(XX_1, 109, b"\1"), "zeros"),
        (CookieReply(0, bytes(24), bytes(32)).encode(), "index 0"),
        (RESPONSE.encode().ljust(INIT_SIZE + 1, b"\0"), "allowed are"),
    ],
)
def test_refused_datagrams(raw: bytes, said: str) -> None:
    with pytest.raises(WireError, match=said):
        decode_handshake(raw)


# --- payloads


@given(init_payloads)
def test_init_payloads_round_trip(payload: InitPayload) -> None:
    assert decode_init_payload(encode_payload(payload)) == payload
    raw = encode_payload(payload, 2000)
    assert len(raw) == 2000
    assert decode_init_payload(raw) == payload


@given(response_payloads)
def test_response_payloads_round_trip(payload: ResponsePayload | StalePayload) -> None:
    assert decode_response_payload(encode_payload(payload)) == payload
    assert decode_response_payload(encode_payload(payload, 2000)) == payload


LONGEST_NAME = Fqdn(".".join(["n" * 60] * 4)[:NAME_MAX])
LONGEST_LOCATOR = Locator("2001:db8:1111:2222:3333:4444:5555:6666", 65535)
PAIR = TokenPair(Token(IPv4Address("240.1.2.3")), Token(IPv4Address("240.4.5.6")))
LONGEST_OFFER = Offer(PAIR, (PAIR.chooser,) * OFFER_PAGE, (PAIR.other,) * OFFER_PAGE, 31)


def test_the_longest_init_we_build_fits() -> None:
    payload = InitPayload(
        name=LONGEST_NAME,
        timestamp=2**63 - 1,
        boot_id=bytes(8),
        ciphers=(1, 2),
        locators=(LONGEST_LOCATOR,) * LOCATORS_MAX,
        move_number=2**63 - 1,
        observed=LONGEST_LOCATOR,
        tokens=(LONGEST_OFFER, Choose(PAIR, 2**32 - 1)),
    )
    assert decode_init_payload(encode_payload(payload, INIT_PAYLOAD_SIZE)) == payload


def test_the_longest_response_we_build_fits() -> None:
    payload = ResponsePayload(
        name=LONGEST_NAME,
        boot_id=bytes(8),
        cipher=255,
        locators=(LONGEST_LOCATOR,) * LOCATORS_MAX,
        move_number=2**63 - 1,
        observed=LONGEST_LOCATOR,
        tokens=(LONGEST_OFFER, Choose(PAIR, 2**32 - 1)),
    )
    assert decode_response_payload(encode_payload(payload, RESPONSE_PAYLOAD_MAX)) == payload


def test_a_payload_that_does_not_fit_is_our_mistake() -> None:
    exact = len(encode_payload(PAYLOAD))
    assert encode_payload(PAYLOAD, exact) == encode_payload(PAYLOAD)
    with pytest.raises(ValueError, match="does not fit"):
        encode_payload(PAYLOAD, exact - 1)


def test_later_versions_may_add_fields() -> None:
    fields = [*msgspec.msgpack.decode(encode_payload(PAYLOAD)[2:]), "something new", 5]
    body = msgspec.msgpack.encode(fields)
    assert decode_init_payload(len(body).to_bytes(2, "big") + body) == PAYLOAD


def framed(**changes: object) -> bytes:
    """PAYLOAD with fields replaced by what its type would not let through."""
    body = msgspec.msgpack.encode(list({**msgspec.structs.asdict(PAYLOAD), **changes}.values()))
    return len(body).to_bytes(2, "big") + body


def test_framed_is_a_payload_when_nothing_is_changed() -> None:
    assert decode_init_payload(framed()) == PAYLOAD


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "A.vipip.net"},
        {"name": "a.vipip.net."},
        {"name": "single"},
        {"name": ""},
        {"name": "a..net"},
        {"name": "a.\u0431.net"},
        {"name": "a.vipip.net\n"},
        {"name": "x" * 64 + ".net"},
        {"name": ".".join(["n" * 60] * 5)},
        {"name": b"a.vipip.net"},
        {"timestamp": -1},
        {"timestamp": 2**63},
        {"timestamp": 1.5},
        {"boot_id": bytes(7)},
        {"ciphers": []},
        {"ciphers": [1] * 9},
        {"locators": [["192.0.2.1", 1]] * (LOCATORS_MAX + 1)},
        {"locators": [["192.0.2.1", 0]]},
        {"locators": [["192.0.2.01", 1]]},
        {"locators": [["2001:DB8::1", 1]]},
        {"locators": [["host.example", 1]]},
        {"observed": ["192.0.2.1", 65536]},
        {"tokens": [[99]]},
        {"tokens": [[9]]},  # a Keepalive is a control message, but no token message
        {"tokens": [[3, [b"123", b"1234"], 1]]},
    ],
)
def test_refused_init_payloads(changes: dict[str, object]) -> None:
    with pytest.raises(WireError):
        decode_init_payload(framed(**changes))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no length"),
        (b"\0", "no length"),
        (b"\0\1", "says it has 3"),
        (b"\0\0", "payload"),
        (encode_payload(PAYLOAD) + b"\0\1", "padding"),
        (encode_payload(PAYLOAD)[:-1], "says it has"),
    ],
)
def test_refused_framing(data: bytes, said: str) -> None:
    with pytest.raises(WireError, match=said):
        decode_init_payload(data)


def test_a_response_needs_a_canonical_name_too() -> None:
    response = ResponsePayload(Fqdn("B.vipip.net"), bytes(8), 1, (), 0, None)
    with pytest.raises(WireError, match="canonical"):
        decode_response_payload(encode_payload(response))


def test_init_and_response_are_not_taken_for_each_other() -> None:
    with pytest.raises(WireError):
        decode_response_payload(encode_payload(PAYLOAD))
    with pytest.raises(WireError):
        decode_init_payload(encode_payload(StalePayload(1)))
