"""The two TXT records that make a name a VIP name.

    _vip.NAME       TXT "v=vip1 k=<X25519 key, base64> p=<port>"   the capability record
    _seq._vip.NAME  TXT "seq=<n>"                                  the marker of the last update

They are apart so that the capability record, which hardly ever changes, may be
cached, and the marker, which changes with every update, need not be read by peers.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable
from typing import Final, Self

from msgspec import Struct

from vipnet.types import Fqdn, Port, PublicKey

CAPABILITY_TTL_S: Final = 300  # a new host is found, a changed key known after this
SEQUENCE_MAX: Final = 2**63 - 1

# Strict on purpose: a wildcard TXT or somebody else's record must never look like ours.
_CAPABILITY = re.compile(rb"v=vip1 k=([A-Za-z0-9+/]{43}=) p=([1-9][0-9]{0,4})")
_MARKER = re.compile(rb"seq=(0|[1-9][0-9]{0,18})")


class CapabilityRecord(Struct, frozen=True, order=True):
    """What `_vip.NAME` says: this name speaks vipnet, with this key, at this UDP port."""

    key: PublicKey
    port: Port

    def __post_init__(self) -> None:
        if len(self.key) != 32 or not 1 <= self.port <= 65535:
            raise ValueError(f"capability record: key of {len(self.key)} bytes, port {self.port}")

    @classmethod
    def parse(cls, text: bytes) -> Self | None:
        """Return the record TEXT holds, None when it is not exactly of our form."""
        match = _CAPABILITY.fullmatch(text)
        if match is None:
            return None
        key, port = binascii.a2b_base64(match[1]), int(match[2])
        # Base64 has two spare bits here: only the canonical spelling counts.
        if port > 65535 or binascii.b2a_base64(key, newline=False) != match[1]:
            return None
        return cls(PublicKey(key), port)

    def __str__(self) -> str:
        return f"v=vip1 k={binascii.b2a_base64(self.key, newline=False).decode()} p={self.port}"


def capability_of(texts: Iterable[bytes]) -> CapabilityRecord | None:
    """Return the record among the TXT records of `_vip.NAME`.

    Several valid ones: the least, so that all askers agree whatever order they got.
    """
    records = [record for text in texts if (record := CapabilityRecord.parse(text)) is not None]
    return min(records, default=None)


def parse_marker(text: bytes) -> int | None:
    """Return n of `seq=<n>`, None when TEXT is not exactly of that form."""
    match = _MARKER.fullmatch(text)
    if match is None or int(match[1]) > SEQUENCE_MAX:
        return None
    return int(match[1])


def format_marker(sequence: int) -> str:
    return f"seq={sequence}"


def capability_name(name: Fqdn) -> str:
    return f"_vip.{name}"


def marker_name(name: Fqdn) -> str:
    return f"_seq._vip.{name}"
