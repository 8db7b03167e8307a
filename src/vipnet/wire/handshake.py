"""Datagrams of a handshake, and the payloads that Noise encrypts in them.

    0 u32 | version u8 | type u8 | sender index u32 | [receiver index u32]
      | Noise message | mac1 16 | mac2 16
    0 u32 | version u8 | 6 u8 | receiver index u32 | nonce 24 | sealed cookie 32

The first word is 0 where a sealed datagram has its receiver's index. Types 1 and
3 have no receiver index: no session exists yet. A value has exactly one encoding,
so that mac1 may be computed over the encoding of what was decoded.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from vipnet.errors import WireError
from vipnet.policy import INIT_SIZE, PROTOCOL_VERSION
from vipnet.types import Fqdn, Locator, parse_name
from vipnet.wire.control import U64, Locators, TokenMessage, decode_hook, encode_hook


class HandshakeType(IntEnum):
    """The sixth byte of a handshake datagram."""

    IK_INIT = 1
    IK_RESPONSE = 2
    XX_1 = 3
    XX_2 = 4
    XX_3 = 5
    COOKIE = 6


MAC_SIZE: Final = 16  # bytes; WireGuard 5.4.4
NO_MAC: Final = bytes(MAC_SIZE)  # a mac2 without a cookie
COOKIE_NONCE_SIZE: Final = 24  # bytes, XChaCha20
COOKIE_SEALED_SIZE: Final = 32  # bytes: cookie 16, tag 16

_START = struct.Struct("!IBB")
_FIRST = struct.Struct("!IBBI")  # ... sender index
_LATER = struct.Struct("!IBBII")  # ... sender index, receiver index
_COOKIE = struct.Struct(f"!IBBI{COOKIE_NONCE_SIZE}s{COOKIE_SEALED_SIZE}s")
_LENGTH = struct.Struct("!H")

_E, _S, _TAG = 32, 48, 16  # bytes in a Noise message: key, encrypted key, tag of the payload

# The first message of a pattern comes before any receiver index, and names none.
_OPENING: Final = frozenset({HandshakeType.IK_INIT, HandshakeType.XX_1})
# What the responder is sent; the others answer it.
FROM_INITIATOR: Final = _OPENING | {HandshakeType.XX_3}

# A Noise message with an empty payload. XX_1 is that and no more: it is sent in clear.
_NOISE_MIN: Final = {
    HandshakeType.IK_INIT: _E + _S + _TAG,
    HandshakeType.IK_RESPONSE: _E + _TAG,
    HandshakeType.XX_1: _E,
    HandshakeType.XX_2: _E + _S + _TAG,
    HandshakeType.XX_3: _S + _TAG,
}

# XX_1 gets zeros behind the Noise message until it is as long as XX_2, whose head has 4 bytes more.
_XX_1_PADDING: Final = bytes(_LATER.size + _NOISE_MIN[HandshakeType.XX_2] - _FIRST.size - _E)

INIT_PAYLOAD_SIZE: Final = INIT_SIZE - _FIRST.size - _NOISE_MIN[HandshakeType.IK_INIT] - 2 * MAC_SIZE
RESPONSE_PAYLOAD_MAX: Final = INIT_SIZE - _LATER.size - _NOISE_MIN[HandshakeType.IK_RESPONSE] - 2 * MAC_SIZE


class HandshakeDatagram(Struct, frozen=True):
    """A datagram that carries one Noise message.

    sender    u32  the index that datagrams to the sender shall have, never 0
    receiver  u32  the index the receiver gave as its sender's; 0 and not on the wire in types 1 and 3
    noise          the Noise message, without the padding of XX_1
    mac1, mac2     16 bytes each (`crypto.cookie`)
    """

    type: HandshakeType
    sender: int
    receiver: int
    noise: bytes
    mac1: bytes = NO_MAC
    mac2: bytes = NO_MAC

    def head(self) -> bytes:
        """All that mac1 covers: everything in front of it."""
        if self.type in _OPENING:
            start = _FIRST.pack(0, PROTOCOL_VERSION, self.type, self.sender)
        else:
            start = _LATER.pack(0, PROTOCOL_VERSION, self.type, self.sender, self.receiver)
        padding = _XX_1_PADDING if self.type is HandshakeType.XX_1 else b""
        return start + self.noise + padding

    def encode(self) -> bytes:
        return self.head() + self.mac1 + self.mac2


class CookieReply(Struct, frozen=True):
    """A busy responder's only answer: prove your address first (WireGuard 5.4.7).

    receiver  u32       sender index of the message answered
    nonce     24 bytes  random
    sealed    32 bytes  the cookie, encrypted (`crypto.cookie`)
    """

    receiver: int
    nonce: bytes
    sealed: bytes

    def encode(self) -> bytes:
        return _COOKIE.pack(0, PROTOCOL_VERSION, HandshakeType.COOKIE, self.receiver, self.nonce, self.sealed)


def decode_handshake(data: bytes) -> HandshakeDatagram | CookieReply:
    """Raise WireError unless DATA is a whole handshake datagram of our version."""
    if not _START.size <= len(data) <= INIT_SIZE:
        raise WireError(f"handshake: {len(data)} bytes, allowed are {_START.size} to {INIT_SIZE}")
    zero, version, number = _START.unpack_from(data)
    if zero != 0:
        raise WireError("handshake: the first word is not 0")
    if version != PROTOCOL_VERSION:
        raise WireError(f"handshake: version {version}, we speak {PROTOCOL_VERSION}")
    try:
        kind = HandshakeType(number)
    except ValueError:
        raise WireError(f"handshake: unknown type {number}") from None
    return _decode_cookie_reply(data) if kind is HandshakeType.COOKIE else _decode_noise(kind, data)


def _decode_cookie_reply(data: bytes) -> CookieReply:
    if len(data) != _COOKIE.size:
        raise WireError(f"cookie reply: {len(data)} bytes, not {_COOKIE.size}")
    _, _, _, receiver, nonce, sealed = _COOKIE.unpack(data)
    return CookieReply(_index(receiver), nonce, sealed)


def _decode_noise(kind: HandshakeType, data: bytes) -> HandshakeDatagram:
    layout = _FIRST if kind in _OPENING else _LATER
    macs_at = len(data) - 2 * MAC_SIZE
    if macs_at - layout.size < _NOISE_MIN[kind]:
        raise WireError(f"{kind.name}: {len(data)} bytes are too few")
    # What asks for work must not be shorter than the answer it can bring about.
    if kind is HandshakeType.IK_INIT and len(data) != INIT_SIZE:
        raise WireError(f"{kind.name}: {len(data)} bytes, not {INIT_SIZE}")
    _, _, _, sender, *receiver = layout.unpack_from(data)
    noise = data[layout.size : macs_at]
    if kind is HandshakeType.XX_1:
        if noise[_E:] != _XX_1_PADDING:
            raise WireError(f"{kind.name}: {len(_XX_1_PADDING)} zeros must follow the Noise message")
        noise = noise[:_E]
    return HandshakeDatagram(
        type=kind,
        sender=_index(sender),
        receiver=_index(receiver[0]) if receiver else 0,
        noise=noise,
        mac1=data[macs_at : macs_at + MAC_SIZE],
        mac2=data[macs_at + MAC_SIZE :],
    )


def _index(index: int) -> int:
    if index == 0:
        raise WireError("handshake: session index 0")
    return index


# --- payloads


Ciphers = Annotated[tuple[int, ...], Meta(min_length=1, max_length=8)]
BootId = Annotated[bytes, Meta(min_length=8, max_length=8)]
Tokens = Annotated[tuple[TokenMessage, ...], Meta(max_length=4)]


class InitPayload(Struct, frozen=True, array_like=True):
    """What the initiator says of itself: message 1 of IK, message 3 of XX.

    timestamp    microseconds, greater than in every earlier init (replays are refused)
    boot_id      random for this run of the daemon
    ciphers      transport ciphers in order of preference
    observed     where the sender believes the receiver is
    """

    name: Fqdn
    timestamp: U64
    boot_id: BootId
    ciphers: Ciphers
    locators: Locators
    move_number: U64
    observed: Locator | None
    tokens: Tokens = ()


class ResponsePayload(Struct, frozen=True, array_like=True, tag=1):
    """The responder's answer: message 2 of IK."""

    name: Fqdn
    boot_id: BootId
    cipher: int
    locators: Locators
    move_number: U64
    observed: Locator | None
    tokens: Tokens = ()


class StalePayload(Struct, frozen=True, array_like=True, tag=2):
    """Message 2 of IK to an init whose timestamp is not above `greatest`: try again above it."""

    greatest: U64


Payload = InitPayload | ResponsePayload | StalePayload

_ENCODER = msgspec.msgpack.Encoder(enc_hook=encode_hook)
_INIT_DECODER = msgspec.msgpack.Decoder(InitPayload, dec_hook=decode_hook)
_RESPONSE_DECODER = msgspec.msgpack.Decoder(ResponsePayload | StalePayload, dec_hook=decode_hook)


def encode_payload(payload: Payload, size: int | None = None) -> bytes:
    """Encode as length u16 | MessagePack | zeros; with SIZE exactly that many bytes.

    The zeros hide how long name and addresses are, and make an init as long as
    it has to be: INIT_PAYLOAD_SIZE. Raise ValueError when SIZE is too small.
    """
    body = _ENCODER.encode(payload)
    whole = _LENGTH.pack(len(body)) + body
    if size is None:
        return whole
    if len(whole) > size:
        raise ValueError(f"payload of {len(whole)} bytes does not fit {size}")
    return whole.ljust(size, b"\0")


def decode_init_payload(data: bytes) -> InitPayload:
    """Raise WireError when DATA is anything else, or the name is not in canonical form."""
    try:
        payload: InitPayload = _INIT_DECODER.decode(_payload_body(data))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise WireError(f"init payload: {error}") from None
    _check_name(payload.name)
    return payload


def decode_response_payload(data: bytes) -> ResponsePayload | StalePayload:
    """Raise WireError when DATA is neither, or the name is not in canonical form."""
    try:
        payload: ResponsePayload | StalePayload = _RESPONSE_DECODER.decode(_payload_body(data))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise WireError(f"response payload: {error}") from None
    if isinstance(payload, ResponsePayload):
        _check_name(payload.name)
    return payload


def _payload_body(data: bytes) -> bytes:
    if len(data) < _LENGTH.size:
        raise WireError(f"payload of {len(data)} bytes has no length")
    end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
    if end > len(data):
        raise WireError(f"payload of {len(data)} bytes says it has {end}")
    if any(data[end:]):
        raise WireError("payload: padding is not zero")
    return data[_LENGTH.size : end]


def _check_name(name: str) -> None:
    try:
        canonical = parse_name(name) == name
    except ValueError as error:
        raise WireError(f"payload: {error}") from None
    if not canonical:
        raise WireError(f"payload: name {name!r} is not in canonical form")
