"""What a configuration file says in strings: the types, one parser each, and words for people.

All parsers raise ValueError.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from typing import Final, NewType
from urllib.parse import urlsplit

from msgspec import Struct

from vipnet.names.addresses import INTERFACE, OBSERVED
from vipnet.policy import DEFAULT_PORT
from vipnet.publish.secret import CREDENTIALS
from vipnet.types import Fqdn, Locator, Port, PublicKey, parse_name

DNS_PORT: Final = 53

NamePattern = NewType("NamePattern", str)  # "a.example.org", "*.example.org" or "*"
InterfacePattern = NewType("InterfacePattern", str)  # "eth*", as the shell matches
InterfaceName = NewType("InterfaceName", str)
DnsName = NewType("DnsName", str)  # lower case, no final dot; one label is enough
SecretPath = NewType("SecretPath", Path)  # absolute, or below $CREDENTIALS_DIRECTORY
Url = NewType("Url", str)  # "https://host/path"; "http:" only to this host itself
Line = NewType("Line", str)  # printable, not empty: an argument, a user's name
AddressSource = NewType("AddressSource", str)  # "interface", "observed", or an IP address
Host = NewType("Host", str)  # an IP address as canonical text, or a DNS name


class HostPort(Struct, frozen=True):
    """Where a peer may be: unlike a Locator, the host can be a DNS name."""

    host: Host
    port: Port = DEFAULT_PORT


def is_address(host: str) -> bool:
    """True for an IP address without a scope."""
    try:
        return "%" not in str(ip_address(host))
    except ValueError:
        return False


def name_matches(name: Fqdn, patterns: Sequence[NamePattern]) -> bool:
    """True when a pattern is NAME, or `*.` and a domain that NAME is below of, or `*`."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def parse_pattern(text: str) -> NamePattern:
    if text == "*":
        return NamePattern(text)
    if text.startswith("*."):
        return NamePattern("*." + parse_dns_name(text[2:]))
    return NamePattern(parse_name(text))


def parse_dns_name(text: str) -> DnsName:
    return DnsName(parse_name("x." + text).removeprefix("x."))


def parse_interface(text: str) -> InterfaceName:
    # The kernel's dev_valid_name(); a "%" would ask it to number the interface itself.
    if not re.fullmatch(r"[^\s/:%]{1,15}", text) or not text.isascii() or text in (".", ".."):
        raise ValueError("is no interface name")
    return InterfaceName(text)


def parse_interface_pattern(text: str) -> InterfacePattern:
    if not re.fullmatch(r"[^\s/:]+", text):
        raise ValueError("is no pattern")
    return InterfacePattern(text)


def parse_network(text: str) -> IPv4Network:
    network = IPv4Network(text, strict=False)
    if text != str(network):
        raise ValueError(f'did you mean "{network}"?')
    return network


def parse_path(text: str) -> Path:
    if not text.startswith("/") or "\0" in text:
        raise ValueError("is not absolute")
    return Path(text)


def parse_secret_path(text: str) -> Path:
    name = text.removeprefix(CREDENTIALS)
    if name != text and name and "/" not in name and name not in (".", ".."):
        return Path(text)
    return parse_path(text)


def parse_url(text: str) -> Url:
    parts = urlsplit(text)
    if parts.username or parts.query or parts.fragment or not parts.hostname or not text.isprintable():
        raise ValueError("has more or less than scheme, host, port and path")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1")):
        raise ValueError("a secret is sent there")
    parse_host(parts.hostname)
    parts.port  # noqa: B018 - raises for one that is none
    return Url(text)


def parse_line(text: str) -> Line:
    if not text or not text.isprintable():
        raise ValueError("is empty or has control characters")
    return Line(text)


def parse_key(text: str) -> PublicKey:
    key = binascii.a2b_base64(text.encode(), strict_mode=True)
    if len(key) != 32:
        raise ValueError(f"these are {len(key)} bytes")
    return PublicKey(key)


def parse_address_source(text: str) -> AddressSource:
    if text in (INTERFACE, OBSERVED):
        return AddressSource(text)
    address = ip_address(text)
    if "%" in text or address.is_loopback or address.is_multicast or address.is_unspecified:
        raise ValueError("nobody else reaches this host there")
    return AddressSource(str(address))


def parse_host(text: str) -> Host:
    if is_address(text):
        return Host(str(ip_address(text)))
    # "10.1.1" is a possible DNS name and never what was meant.
    if re.fullmatch(r"[\d.]+", text) or ":" in text:
        raise ValueError("is no IP address")
    return Host(parse_dns_name(text))


def parse_host_port(text: str, default_port: int = DEFAULT_PORT) -> HostPort:
    with_port = re.fullmatch(r"(\[[^\]]*\]|[^:]*):(\d{1,5})", text)
    host, port = (with_port[1], int(with_port[2])) if with_port else (text, default_port)
    if not 1 <= port <= 65535:
        raise ValueError(f"there is no port {port}")
    if bracketed := re.fullmatch(r"\[([^\]]*:[^\]]*)\]", host):
        host = bracketed[1]
    return HostPort(parse_host(host), port)


def parse_locator(text: str) -> Locator:
    where = parse_host_port(text, DNS_PORT)
    if not is_address(where.host):
        raise ValueError("is no IP address")
    return Locator(where.host, where.port)


TEXTS: dict[object, tuple[Callable[[str], object], str]] = {
    Fqdn: (parse_name, 'a full DNS name like "laptop.example.org"'),
    NamePattern: (parse_pattern, '"*", "*." and a domain, or a full name'),
    DnsName: (parse_dns_name, "a DNS name"),
    InterfaceName: (parse_interface, "an interface name: at most 15 characters, no space, slash, colon or %"),
    InterfacePattern: (parse_interface_pattern, 'an interface name or a pattern like "eth*"'),
    IPv4Network: (parse_network, 'an IPv4 network like "10.77.0.0/16"'),
    Path: (parse_path, "an absolute path"),
    SecretPath: (parse_secret_path, 'an absolute path, or "$CREDENTIALS_DIRECTORY/NAME"'),
    Url: (parse_url, 'a URL like "https://host/path"'),
    Line: (parse_line, "one line of text"),
    PublicKey: (parse_key, "a public key: 32 bytes in base64"),
    AddressSource: (parse_address_source, '"interface", "observed", or an IP address'),
    Host: (parse_host, "an IP address or a DNS name"),
    HostPort: (parse_host_port, '"host", "host:port" or "[IPv6]:port"'),
    Locator: (parse_locator, 'an IP address, or "address:port", "[IPv6]:port"'),
}
