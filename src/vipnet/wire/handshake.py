"""Datagrams of a handshake, and the payloads that Noise encrypts in them.

    0 u32 | version u8 | type u8 | sender index u32 | [receiver index u32]
      | Noise message | mac1 16 | mac2 16

The first word is 0 where a sealed datagram has its receiver's index.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from vipnet.types import Fqdn, Locator
from vipnet.wire.control import U64, Locators, TokenMessage

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
