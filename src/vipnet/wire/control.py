"""Control messages: what two daemons say to each other inside a session.

MessagePack arrays, the first element is the message's number. Unknown elements
at the end are skipped, so that a later version can add some.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from vipnet.errors import WireError
from vipnet.policy import LOCATORS_MAX, MESSAGE_MAX, OFFER_PAGE
from vipnet.types import Locator, Token

U32 = Annotated[int, Meta(ge=0, lt=2**32)]
U64 = Annotated[int, Meta(ge=0, le=2**63 - 1)]  # msgspec compares as int64
Challenge = Annotated[bytes, Meta(min_length=8, max_length=8)]
Locators = Annotated[tuple[Locator, ...], Meta(max_length=LOCATORS_MAX)]
FreeTokens = Annotated[tuple[Token, ...], Meta(max_length=OFFER_PAGE)]


class TokenPair(Struct, frozen=True, array_like=True):
    """The two tokens of one pair of hosts, in the same roles on both.

    chooser  stands for the host with the lower static key
    other    stands for the other host
    """

    chooser: Token
    other: Token


class Report(Struct, frozen=True, array_like=True):
    """What the sender has received under one of its receiving keys.

    Below `base` everything counts as received; `gaps` are (offset from base, length).
    """

    index: U32
    base: U64
    highest: U64
    gaps: Annotated[tuple[tuple[U64, U64], ...], Meta(max_length=128)] = ()


class Message(Struct, frozen=True, array_like=True):
    """Base of all control messages."""


class Offer(Message, frozen=True, tag=1):
    """To the chooser: the binding we have, and what is free here.

    refused  generation of the Choose this answers, whose tokens are not free here; 0: none
    """

    existing: TokenPair | None
    chooser: FreeTokens
    other: FreeTokens
    page: Annotated[int, Meta(ge=0, lt=32)] = 0
    refused: U32 = 0


class OfferRequest(Message, frozen=True, tag=2):
    """From the chooser: nothing in your Offer is free here, show me another page."""

    page: Annotated[int, Meta(ge=1, lt=32)]


class Choose(Message, frozen=True, tag=3):
    """From the chooser: these two. `revoke`: give up the binding you have stored."""

    tokens: TokenPair
    generation: U32
    revoke: bool = False


class Accept(Message, frozen=True, tag=4):
    """To the chooser: stored. Says the generation of the Choose it answers."""

    tokens: TokenPair
    generation: U32


class Hint(Message, frozen=True, tag=5):
    """The paper's invalidation hint: I am now at these locators, best first."""

    move_number: U64
    locators: Locators
    reports: Annotated[tuple[Report, ...], Meta(max_length=4)] = ()


class HintAck(Message, frozen=True, tag=6):
    """Answer to a Hint; the challenge is answered by a PathResponse. OBSERVED: where it is sent."""

    move_number: U64
    challenge: Challenge
    reports: Annotated[tuple[Report, ...], Meta(max_length=4)] = ()
    observed: Locator | None = None


class PathChallenge(Message, frozen=True, tag=7):
    """Are you there, at OBSERVED? (RFC 9000 section 8.2)."""

    data: Challenge
    observed: Locator | None = None


class PathResponse(Message, frozen=True, tag=8):
    """Answer to a PathChallenge or to a HintAck, sent to where that came from."""

    data: Challenge
    reports: Annotated[tuple[Report, ...], Meta(max_length=4)] = ()


class Keepalive(Message, frozen=True, tag=9):
    """I hear you and have nothing to say (WireGuard section 6.5)."""


class Close(Message, frozen=True, tag=10):
    """I am going away; keep the binding, drop the session."""

    reason: Annotated[str, Meta(max_length=200)] = ""


class KeyRotation(Message, frozen=True, tag=11):
    """My static key is `key` from now on; that you shake hands with it is the answer."""

    key: Annotated[bytes, Meta(min_length=32, max_length=32)]


class Cloned(Message, frozen=True, tag=12):
    """Two machines speak to me with your key: one is a copy of the other."""


ControlMessage = (
    Offer
    | OfferRequest
    | Choose
    | Accept
    | Hint
    | HintAck
    | PathChallenge
    | PathResponse
    | Keepalive
    | Close
    | KeyRotation
    | Cloned
)
TokenMessage = Offer | OfferRequest | Choose | Accept


def encode_hook(value: object) -> bytes:
    """Tokens travel as 4 bytes."""
    if isinstance(value, IPv4Address):
        return value.packed
    raise NotImplementedError(f"no wire form for {type(value).__name__}")


def decode_hook(kind: type, value: object) -> object:
    """Inverse of encode_hook; raise ValueError for anything but 4 bytes."""
    if kind is IPv4Address and isinstance(value, bytes) and len(value) == 4:
        return IPv4Address(value)
    raise ValueError(f"expected 4 bytes for {kind.__name__}")


_ENCODER = msgspec.msgpack.Encoder(enc_hook=encode_hook)
_DECODER = msgspec.msgpack.Decoder(ControlMessage, dec_hook=decode_hook)


def encode(message: ControlMessage) -> bytes:
    return _ENCODER.encode(message)


def decode(data: bytes | memoryview) -> ControlMessage:
    """Raise WireError when DATA is no known control message or is too long."""
    if len(data) > MESSAGE_MAX:
        raise WireError(f"control message of {len(data)} bytes, at most {MESSAGE_MAX}")
    try:
        message: ControlMessage = _DECODER.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise WireError(f"control message: {error}") from None
    return message
