"""The longer examples of docs/protocol.md, made again by the code.

The keys are as simple as can be, so that another implementation can use them too.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from tests.vectors.documented import documented
from tests.wire.test_tcp import ACK, PSH, cut_up, join, offload_of, tcp

from vipnet.crypto.cookie import CookieJar, add_macs, mac2, open_reply, verify_mac1
from vipnet.crypto.noise import IKPSK2, XX, NoiseHandshake, Pattern, prologue, public_key
from vipnet.crypto.replay import ReplayWindow
from vipnet.crypto.train import TrainOpening, TrainSealing
from vipnet.crypto.transport import Cipher, transport_keys
from vipnet.types import Fqdn, Instant, Locator, Token
from vipnet.wire import control
from vipnet.wire.control import Hint, Offer, Report
from vipnet.wire.datagram import HEADER_SIZE, TAG_SIZE
from vipnet.wire.handshake import (
    INIT_PAYLOAD_SIZE,
    CookieReply,
    HandshakeDatagram,
    HandshakeType,
    InitPayload,
    ResponsePayload,
    decode_handshake,
    decode_init_payload,
    decode_response_payload,
    encode_payload,
)
from vipnet.wire.tcp import plan_cut, train_end, train_trailers

INITIATOR, INITIATOR_EPHEMERAL, RESPONDER, RESPONDER_EPHEMERAL = (bytes([n]) * 32 for n in (1, 2, 3, 4))
RESPONDER_KEY, INITIATOR_KEY = public_key(RESPONDER), public_key(INITIATOR)
INITIATOR_INDEX, RESPONDER_INDEX = 0x11111111, 0x22222222
HOME, AWAY = Locator("10.201.1.10", 5847), Locator("10.201.2.20", 5847)

INIT = InitPayload(
    name=Fqdn("a.vipip.net"),
    timestamp=1_700_000_000_000_000,
    boot_id=b"aaaaaaaa",
    ciphers=(1, 2),
    locators=(HOME,),
    move_number=1_700_000_000_000_001,
    observed=AWAY,
    tokens=(Offer(None, (Token(IPv4Address("240.0.0.1")),), (Token(IPv4Address("240.0.0.2")),)),),
)
RESPONSE = ResponsePayload(
    name=Fqdn("b.vipip.net"),
    boot_id=b"bbbbbbbb",
    cipher=1,
    locators=(AWAY,),
    move_number=1_700_000_000_000_002,
    observed=HOME,
)


def test_d13_a_super_packet_of_three_segments() -> None:
    packet = tcp(b"abcdefghijkl", flags=ACK | PSH)
    assert b"".join(cut_up(packet, 5, 7)) == documented("D13")
    (joined,) = join(cut_up(packet, 5))
    assert joined.data == packet


def test_d14_a_train_of_six_segments() -> None:
    payload, key = b"abcdefghijklmnopqr" * 6, bytes(range(32))
    packet = tcp(payload, flags=ACK | PSH)
    how = plan_cut(packet, offload_of(packet, 18))
    assert how is not None
    trailers = train_trailers(packet[:40], how, 7, 6)
    train = TrainSealing(key).seal(42, 7, memoryview(payload), 18, trailers, train_end(*trailers))
    assert train == documented("D14")
    stride = HEADER_SIZE + 18 + 44 + TAG_SIZE
    opened, tails = TrainOpening(key).open_pieces(memoryview(train)[: 6 * stride], stride)
    assert opened == payload
    assert [opened[at * 18 : at * 18 + 18] + tail for at, tail in enumerate(tails)] == cut_up(packet, 18, 7)


def pair(pattern: Pattern) -> tuple[NoiseHandshake, NoiseHandshake]:
    initiator = NoiseHandshake(
        pattern,
        initiator=True,
        static=INITIATOR,
        ephemeral=INITIATOR_EPHEMERAL,
        prologue=prologue(pattern),
        remote_static=RESPONDER_KEY if pattern.responder_known else None,
    )
    responder = NoiseHandshake(
        pattern,
        initiator=False,
        static=RESPONDER,
        ephemeral=RESPONDER_EPHEMERAL,
        prologue=prologue(pattern),
    )
    return initiator, responder


def received(number: str) -> HandshakeDatagram:
    datagram = decode_handshake(documented(number))
    assert isinstance(datagram, HandshakeDatagram)
    return datagram


def test_ik() -> None:
    """D5 to D9."""
    initiator, responder = pair(IKPSK2)
    plain = encode_payload(INIT)
    assert plain == documented("D5")

    message = initiator.write(encode_payload(INIT, INIT_PAYLOAD_SIZE))
    init = add_macs(HandshakeDatagram(HandshakeType.IK_INIT, INITIATOR_INDEX, 0, message), RESPONDER_KEY)
    assert init.encode() == documented("D6")
    assert verify_mac1(RESPONDER_KEY, received("D6"))
    assert decode_init_payload(responder.read(received("D6").noise)) == INIT

    message = responder.write(encode_payload(RESPONSE))
    response = add_macs(
        HandshakeDatagram(HandshakeType.IK_RESPONSE, RESPONDER_INDEX, INITIATOR_INDEX, message),
        INITIATOR_KEY,
    )
    assert response.encode() == documented("D7")
    assert verify_mac1(INITIATOR_KEY, received("D7"))
    assert decode_response_payload(initiator.read(received("D7").noise)) == RESPONSE

    assert initiator.chaining_key == responder.chaining_key == documented("D8")
    keys = [key for cipher in Cipher for key in transport_keys(initiator.chaining_key, cipher)]
    assert b"".join(keys) == documented("D9")


def test_message_1_of_xx() -> None:
    """D10."""
    initiator, responder = pair(XX)
    opening = add_macs(HandshakeDatagram(HandshakeType.XX_1, INITIATOR_INDEX, 0, initiator.write(b"")), None)
    assert opening.encode() == documented("D10")
    assert verify_mac1(None, received("D10"))
    assert responder.read(received("D10").noise) == b""


def test_cookie_reply() -> None:
    """D11 answers D6, with the cookie 00 01 ... 0f."""
    sent = received("D6")
    reply = decode_handshake(documented("D11"))
    assert isinstance(reply, CookieReply)
    assert reply.receiver == INITIATOR_INDEX
    cookie = open_reply(reply, RESPONDER_KEY, sent.mac1)
    assert cookie == bytes(range(16))
    again = add_macs(sent, RESPONDER_KEY, cookie)
    assert again.mac2 == mac2(cookie, sent.head(), sent.mac1) == documented("D12")


def test_our_replies_look_like_the_documented_one() -> None:
    sent = received("D6")
    reply = CookieJar(b"s" * 32).seal_reply(sent, HOME, RESPONDER_KEY, bytes(24), Instant(0))
    assert len(reply.encode()) == len(documented("D11"))
    assert open_reply(reply, RESPONDER_KEY, sent.mac1)


def test_hint_with_a_report() -> None:
    """D4."""
    window = ReplayWindow()
    for counter in (0, 1, 4, 5, 6, 9):
        window.mark(counter)
    base, highest, gaps = window.report(max_gaps=8)
    hint = Hint(1_700_000_000_000_003, (AWAY,), (Report(RESPONDER_INDEX, base, highest, gaps),))
    assert control.encode(hint) == documented("D4")
    assert control.decode(documented("D4")) == hint
