"""The paper's VIP <-> IP mapping: where a peer is believed to be."""

from __future__ import annotations

from vipnet.core.mapping import Mapping, lease_expired
from vipnet.policy import LOCATORS_MAX, Policy
from vipnet.types import Instant, Locator

A, B, C = (Locator(f"192.0.2.{number}", 5847) for number in (1, 2, 3))
CROWD = [Locator(f"198.51.100.{number}", 5847) for number in range(1, 60)]


def test_a_lease_ends_t_seconds_after_the_last_packet() -> None:
    """Paper section 3.2."""
    policy, heard = Policy(), Instant(1000.0)
    assert lease_expired(None, heard, policy)
    assert not lease_expired(heard, Instant(heard + policy.lease_s - 0.001), policy)
    assert lease_expired(heard, Instant(heard + policy.lease_s), policy)


def test_a_stored_peer_is_believed_where_it_was() -> None:
    assert Mapping((A, B)).current == A
    assert Mapping().current is None


def test_dns_fills_a_mapping_that_is_empty_but_moves_none() -> None:
    empty, full = Mapping(), Mapping((A,))
    empty.add_looked_up([B])
    full.add_looked_up([B])
    assert empty.current == B
    assert full.current == A
    assert full.candidates() == [A, B]


def test_what_dns_said_before_is_not_new_again() -> None:
    """Two name servers that do not agree must not start everything anew with each answer."""
    mapping = Mapping((A,))
    assert mapping.add_looked_up([B]) == [B]
    assert mapping.add_looked_up([C]) == [C]
    assert mapping.add_looked_up([B]) == []
    assert mapping.candidates() == [A, C, B]


def test_a_hint_makes_what_dns_said_void() -> None:
    mapping = Mapping((A,))
    mapping.add_looked_up([B])
    mapping.believe([C], C, move_number=9)
    assert mapping.candidates() == [C]
    assert mapping.move_number == 9


def test_locators_are_bounded_whoever_names_them() -> None:
    mapping = Mapping(CROWD)
    assert len(mapping.locators) == LOCATORS_MAX
    mapping.believe(CROWD, A, 1)
    for locator in CROWD:
        mapping.add_looked_up([locator])
    assert len(mapping.candidates()) <= 2 * LOCATORS_MAX
    assert mapping.candidates()[0] == A
