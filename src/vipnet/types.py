"""The words every layer shares: names, tokens, locators, instants."""

from __future__ import annotations

import hashlib
import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, NewType

from msgspec import Meta, Struct

Instant = NewType("Instant", float)  # seconds on CLOCK_BOOTTIME: suspend counts
Fqdn = NewType("Fqdn", str)  # lower case, no trailing dot; made by parse_name
Token = NewType("Token", IPv4Address)  # the paper's virtual IP address
PublicKey = NewType("PublicKey", bytes)  # X25519, 32 bytes
Port = Annotated[int, Meta(ge=1, le=65535)]

# RFC 1035 allows 253 characters; "_seq._vip." has to fit in front.
NAME_MAX = 253 - len("_seq._vip.")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")


def parse_name(text: str) -> Fqdn:
    """Return TEXT as a name: lower case, without the final dot.

    Raise ValueError when TEXT is no host name of at least two labels (RFC 1123
    section 2.1) or is too long for its `_seq._vip` record.
    """
    name = text.lower().removesuffix(".")
    if len(name) > NAME_MAX:
        raise ValueError(f"name of {len(name)} characters, at most {NAME_MAX} are possible")
    labels = name.split(".")
    if len(labels) < 2:
        raise ValueError(f"{text!r} is not a full name: it needs a domain, as in laptop.example.org")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise ValueError(f"{text!r} is not a host name: label {label!r}")
    return Fqdn(name)


def fingerprint(key: PublicKey) -> str:
    """KEY for people to compare: the first 16 bytes of its SHA-256, in hexadecimal, in groups.

    To find another key with the same one takes 2^128 tries.
    """
    digits = hashlib.sha256(key).hexdigest()[:32]
    return "-".join(digits[start : start + 4] for start in range(0, 32, 4))


class Locator(Struct, frozen=True, order=True, array_like=True):
    """Where a host can be reached: IP address as canonical text, and UDP port.

    Raise ValueError when host is not the canonical text of an IP address.
    """

    host: str
    port: Port

    def __post_init__(self) -> None:
        if str(ip_address(self.host)) != self.host or "%" in self.host:
            raise ValueError(f"{self.host!r} is not an IP address in canonical form, without a zone")

    @property
    def ip(self) -> IPv4Address | IPv6Address:
        return ip_address(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
