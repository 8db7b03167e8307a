"""Which locators the network may name to us."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnet.core.locators import usable, usable_only
from vipnet.policy import LOCATORS_MAX
from vipnet.types import Locator

SUBNET = IPv4Network("240.0.0.0/4")
OWN = (Locator("192.0.2.1", 5847), Locator("2001:db8::1", 5847))


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("127.0.0.1", "loopback"),
        ("127.9.9.9", "loopback"),
        ("::1", "loopback"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("224.0.0.251", "multicast"),
        ("239.255.255.250", "multicast"),
        ("ff02::fb", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("fe80::1", "link-local: names no interface"),
        (str(ip_address("::ffff:192.0.2.9")), "IPv4 in disguise"),
        ("240.0.0.1", "a token"),
        ("251.1.2.3", "a token"),
        ("192.0.2.1", "our own"),
        ("2001:db8::1", "our own"),
    ],
)
def test_nobody_can_be_there(host: str, why: str) -> None:
    assert not usable(Locator(host, 5847), SUBNET, OWN), why
    assert not usable(Locator(host, 1), SUBNET, OWN), why


@pytest.mark.parametrize("host", ["192.0.2.2", "10.0.0.1", "172.17.0.1", "2001:db8::2", "fd00:201:1::1"])
def test_a_peer_can_be_there(host: str) -> None:
    assert usable(Locator(host, 5847), SUBNET, OWN)


def test_the_subnet_is_the_configured_one() -> None:
    token = Locator("10.66.0.3", 5847)
    assert not usable(token, IPv4Network("10.66.0.0/16"))
    assert usable(token, SUBNET)


def test_usable_ones_keep_their_order_without_doubles_and_are_few() -> None:
    good = [Locator(f"198.51.100.{number}", 5847) for number in range(20)]
    bad = Locator("127.0.0.1", 5847)
    assert usable_only([bad, good[1], good[0], good[1]], SUBNET) == (good[1], good[0])
    assert usable_only(good, SUBNET) == tuple(good[:LOCATORS_MAX])


@given(st.ip_addresses(), st.integers(1, 65535))
def test_what_is_usable_is_an_ordinary_address(ip: object, port: int) -> None:
    locator = Locator(str(ip_address(str(ip))), port)
    if usable(locator, SUBNET, OWN):
        assert not locator.ip.is_loopback
        assert not locator.ip.is_multicast
        assert not locator.ip.is_unspecified
        assert locator.ip.version == 6 or locator.ip not in SUBNET
        assert locator.host not in {own.host for own in OWN}
