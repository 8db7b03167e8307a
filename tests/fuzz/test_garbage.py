"""Whatever a stranger sends, a decoder returns a value or raises PeerError; nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.values import handshake_datagrams, init_payloads, messages, response_payloads

from vipnet.crypto.noise import IKPSK2, XX, NoiseHandshake, Pattern, prologue, public_key
from vipnet.crypto.transport import Cipher, OpeningKey
from vipnet.errors import CryptoError, PeerError, WireError
from vipnet.types import parse_name
from vipnet.wire import control
from vipnet.wire.datagram import DataHeader, is_handshake
from vipnet.wire.handshake import (
    CookieReply,
    decode_handshake,
    decode_init_payload,
    decode_response_payload,
    encode_payload,
)
from vipnet.wire.inner import Unreachable, icmp_unreachable, parse_ipv4

HANDSHAKE_START = st.sampled_from([bytes([0, 0, 0, 0, 1, kind]) for kind in range(8)])
garbage = st.binary(max_size=1300)


@st.composite
def damaged(draw: st.DrawFn, originals: st.SearchStrategy[bytes]) -> bytes:
    """Something well-formed with a few bytes changed, cut or repeated: it gets deep into a decoder."""
    raw = bytearray(draw(originals))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(raw)))
        size = draw(st.integers(0, 4))
        raw[at : at + size] = draw(st.binary(max_size=4))
    return bytes(raw)


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(2, "big") + body


some_handshake = (
    garbage
    | st.builds(bytes.__add__, HANDSHAKE_START, garbage)
    | damaged(handshake_datagrams().map(lambda datagram: datagram.encode()))
)
some_payload = (
    garbage
    | garbage.map(framed)
    | damaged(init_payloads.map(encode_payload))
    | damaged(init_payloads.map(lambda payload: encode_payload(payload)[2:])).map(framed)
    | damaged(response_payloads.map(lambda payload: encode_payload(payload)[2:])).map(framed)
)
some_message = garbage | damaged(messages.map(control.encode))
some_packet = garbage | damaged(
    st.binary(max_size=60).map(
        lambda body: b"\x45\0" + (20 + len(body)).to_bytes(2, "big") + bytes(5) + b"\1" + bytes(10) + body
    )
)


@given(garbage)
def test_sealed_datagrams(data: bytes) -> None:
    is_handshake(data)
    with contextlib.suppress(WireError):
        DataHeader.decode(data)
    for cipher in Cipher:
        with pytest.raises(CryptoError):
            OpeningKey(bytes(32), cipher).open(data)


@given(some_handshake)
def test_handshakes(data: bytes) -> None:
    with contextlib.suppress(WireError):
        value = decode_handshake(data)
        # What is accepted has one form on the wire: mac1 is computed over it.
        assert value.encode() == data
        assert isinstance(value, CookieReply) or value.sender != 0


@pytest.mark.parametrize("decode", [decode_init_payload, decode_response_payload])
@given(some_payload)
def test_payloads(decode: Callable[[bytes], object], data: bytes) -> None:
    with contextlib.suppress(WireError):
        name = getattr(decode(data), "name", "a.b")
        assert parse_name(name) == name


@given(some_message)
def test_control_messages(data: bytes) -> None:
    with contextlib.suppress(WireError):
        message = control.decode(data)
        # Unknown fields are gone and numbers in their shortest form; the value is the same.
        assert control.decode(control.encode(message)) == message


@given(some_packet)
def test_inner_packets(data: bytes) -> None:
    with contextlib.suppress(WireError):
        header = parse_ipv4(data)
        assert 20 <= header.header_size <= len(data)
        answer = icmp_unreachable(data, Unreachable.HOST, bytes(4))
        assert answer is None or parse_ipv4(answer).destination == header.source


@pytest.mark.parametrize("pattern", [IKPSK2, XX], ids=lambda p: p.name)
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_noise_messages(pattern: Pattern, first: bytes, second: bytes) -> None:
    static, ephemeral = bytes([1] * 32), bytes([2] * 32)
    responder = NoiseHandshake(
        pattern, initiator=False, static=static, ephemeral=ephemeral, prologue=prologue(pattern)
    )
    with contextlib.suppress(PeerError):
        responder.read(first)
    initiator = NoiseHandshake(
        pattern,
        initiator=True,
        static=static,
        ephemeral=ephemeral,
        prologue=prologue(pattern),
        remote_static=public_key(static) if pattern.responder_known else None,
    )
    initiator.write(b"")
    with pytest.raises(CryptoError):
        initiator.read(second)
