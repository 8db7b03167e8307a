from __future__ import annotations

import pytest

from vipnet.names.desired import Desired, within
from vipnet.types import Fqdn

A = Fqdn("a.vipip.test")


def test_families_are_told_apart_in_order() -> None:
    desired = Desired(A, ("2001:db8::2", "192.0.2.2", "2001:db8::1", "192.0.2.1"))
    assert desired.ipv4 == ("192.0.2.2", "192.0.2.1")
    assert desired.ipv6 == ("2001:db8::2", "2001:db8::1")


@pytest.mark.parametrize("address", ["2001:DB8::1", "192.0.2.01", "a.vipip.test", ""])
def test_addresses_are_canonical(address: str) -> None:
    with pytest.raises(ValueError, match=r"canonical form|not appear to be"):
        Desired(A, (address,))


def test_number_of_addresses_is_bounded() -> None:
    Desired(A, tuple(f"192.0.2.{host}" for host in range(8)))
    with pytest.raises(ValueError, match="9 addresses, at most 8"):
        Desired(A, tuple(f"192.0.2.{host}" for host in range(9)))


@pytest.mark.parametrize(
    ("name", "zone", "expected"),
    [
        ("a.vipip.test", "vipip.test", True),
        ("vipip.test", "vipip.test", True),
        ("a.vipip.test", "", True),
        ("evilvipip.test", "vipip.test", False),
        ("vipip.test", "a.vipip.test", False),
    ],
)
def test_within(name: str, zone: str, expected: bool) -> None:
    assert within(name, zone) is expected
