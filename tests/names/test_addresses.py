"""What is published: by preference, by family, and what partners' words change."""

from __future__ import annotations

import pytest

from vipnet.names.addresses import OwnAddresses

PRIVATE, PUBLIC, OTHER = "192.168.1.10", "198.18.0.1", "8.8.4.4"
NAT, NAT_AGAIN = "1.1.1.1", "9.9.9.9"
V6, LOCAL_V6 = "2606:4700::1", "fd00::1"


@pytest.mark.parametrize(
    ("sources", "present", "seen", "published"),
    [
        (["interface"], [PRIVATE, V6], [], (PRIVATE, V6)),
        (["interface"], [V6, PRIVATE, "192.168.2.10"], [], (V6, PRIVATE)),
        (["interface"], [PRIVATE], [NAT], (PRIVATE,)),
        (["interface"], [], [], ()),
        (["observed"], [PRIVATE], [], ()),
        (["observed"], [PRIVATE], [NAT], (NAT,)),
        (["observed"], [PRIVATE, V6], [NAT], (V6, NAT)),
        (["observed"], [PRIVATE, LOCAL_V6], [NAT], (NAT,)),
        (["observed"], [OTHER], [], (OTHER,)),
        (["observed", "interface"], [PRIVATE], [], (PRIVATE,)),
        (["observed", "interface"], [PRIVATE, LOCAL_V6], [NAT], (NAT, LOCAL_V6)),
        ([NAT], [PRIVATE, V6], [], (NAT,)),
        ([NAT, "interface"], [PRIVATE, V6], [], (NAT, V6)),
        ([NAT, V6], [PRIVATE], [], (NAT, V6)),
        ([NAT, V6], [], [], ()),
    ],
)
def test_the_first_source_that_has_one(
    sources: list[str], present: list[str], seen: list[str], published: tuple[str, ...]
) -> None:
    own = OwnAddresses(sources)
    own.handle_network(present)
    for address in seen:
        own.handle_seen(address)
    assert own.published == published


def test_the_latest_word_counts_but_for_that_of_a_neighbour() -> None:
    own = OwnAddresses(["observed"])
    own.handle_network([PRIVATE])
    assert own.handle_seen(PRIVATE)
    assert own.handle_seen(NAT)
    assert not own.handle_seen(NAT)
    assert not own.handle_seen(PRIVATE)
    assert own.published == (NAT,)
    assert own.handle_seen(NAT_AGAIN)
    assert own.published == (NAT_AGAIN,)


def test_without_a_global_one_the_latest_counts() -> None:
    """Everything may be private: a company's network, or a lab."""
    own = OwnAddresses(["observed"])
    own.handle_network([PRIVATE])
    assert [own.handle_seen(address) for address in ("10.0.0.1", "10.0.0.2")] == [True, True]
    assert own.published == ("10.0.0.2",)


def test_what_was_seen_elsewhere_is_forgotten() -> None:
    own = OwnAddresses(["observed"])
    own.handle_network([PRIVATE])
    own.handle_seen(NAT)
    own.handle_network([])
    own.handle_network([PRIVATE])
    assert own.published == ()
