"""Who may open a session to us, and which of two levels of trust is stronger."""

from __future__ import annotations

import pytest

from vipnet.core.outputs import TRUST_ORDER
from vipnet.core.trust import AcceptPolicy, at_least
from vipnet.types import Fqdn


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("laptop.example.org", True),
        ("a.b.example.org", True),
        ("example.org", False),
        ("laptop.example.org.evil.test", False),
        ("laptopexample.org", False),
        ("friend.elsewhere.test", True),
        ("other.elsewhere.test", False),
    ],
)
def test_accept_from(name: str, allowed: bool) -> None:
    accept = AcceptPolicy(("*.example.org", "friend.elsewhere.test"))
    assert accept.allows(Fqdn(name)) is allowed


def test_nobody_is_accepted_by_default() -> None:
    assert not AcceptPolicy().allows(Fqdn("laptop.example.org"))
    assert not AcceptPolicy().xx


def test_trust_is_never_lowered() -> None:
    for weaker in TRUST_ORDER:
        for stronger in TRUST_ORDER[TRUST_ORDER.index(weaker) :]:
            assert at_least(weaker, stronger) == at_least(stronger, weaker) == stronger
