from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnet.app import texts
from vipnet.app.texts import TEXTS, Host, HostPort, NamePattern, name_matches
from vipnet.types import Fqdn, Locator

A = Fqdn("a.vipip.net")


@given(st.sampled_from(list(TEXTS.values())), st.text(max_size=60))
def test_any_text_is_parsed_or_raises_value_error(
    entry: tuple[Callable[[str], object], str], text: str
) -> None:
    parser, words = entry
    with contextlib.suppress(ValueError):
        parser(text)
    assert words


@given(st.ip_addresses(), st.integers(1, 65535))
def test_locators_are_read_as_they_are_written(ip: IPv4Address | IPv6Address, port: int) -> None:
    locator = Locator(str(ip), port)
    assert texts.parse_locator(str(locator)) == locator
    assert texts.parse_locator(str(ip)) == Locator(str(ip), 53)
    assert texts.parse_host_port(str(locator)) == HostPort(Host(str(ip)), port)


@given(st.binary(min_size=32, max_size=32))
def test_keys_are_read_as_they_are_written(key: bytes) -> None:
    assert texts.parse_key(base64.b64encode(key).decode()) == key


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("b.vipip.net", HostPort(Host("b.vipip.net"), 5847)),
        ("B.vipip.NET.:99", HostPort(Host("b.vipip.net"), 99)),
        ("192.0.2.7", HostPort(Host("192.0.2.7"), 5847)),
        ("2001:DB8::7", HostPort(Host("2001:db8::7"), 5847)),
        ("[2001:db8:0::7]:99", HostPort(Host("2001:db8::7"), 99)),
        ("[2001:db8::7]", HostPort(Host("2001:db8::7"), 5847)),
    ],
)
def test_host_and_port(text: str, expected: HostPort) -> None:
    assert texts.parse_host_port(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "a:0",
        "a:65536",
        "a:b",
        "[a]:1",
        "[::1",
        "10.1.1",
        "256.1.1.1",
        "fe80::1%eth0",
        "a b",
        "a:1:2",
        "1.2.3.4:",
    ],
)
def test_not_a_host_and_port(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        texts.parse_host_port(text)


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("*", True),
        ("*.vipip.net", True),
        ("*.net", True),
        ("a.vipip.net", True),
        ("A.VIPIP.net.", True),
        ("b.vipip.net", False),
        ("*.a.vipip.net", False),
        ("*.ipip.net", False),
    ],
)
def test_name_patterns(pattern: str, matches: bool) -> None:
    assert name_matches(A, [texts.parse_pattern(pattern)]) is matches


def test_no_pattern_matches_nothing() -> None:
    assert not name_matches(A, [])
    assert name_matches(A, [NamePattern("b.c"), NamePattern("*")])


@pytest.mark.parametrize("pattern", ["", "*d.net", "a.*", "**", "*.", "*.*", "net", "a.[bc].net", "?.net"])
def test_no_other_wildcards(pattern: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        texts.parse_pattern(pattern)


def test_a_network_with_host_bits_is_not_guessed() -> None:
    with pytest.raises(ValueError, match=r'did you mean "10\.0\.0\.0/8"'):
        texts.parse_network("10.1.2.3/8")
    assert texts.parse_network("10.0.0.0/8") == IPv4Network("10.0.0.0/8")
