from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnet.core.outputs import DropBinding, StoreBinding, StoredState, StoreQuarantine
from vipnet.core.tokens import TokenSpace, candidate, candidates, is_usable
from vipnet.errors import ConfigError
from vipnet.types import Fqdn, Token

WIDE = IPv4Network("240.0.0.0/4")
TINY = IPv4Network("240.0.0.0/28")
A, B, C = Fqdn("a.vipip.net"), Fqdn("b.vipip.net"), Fqdn("c.vipip.net")
DAY = 86_400.0
SUBNETS = st.builds(
    lambda prefix, bits: IPv4Network((0xF0000000 | bits, prefix), strict=False),
    st.integers(4, 28),
    st.integers(0, 2**28 - 1),
)
NAMES = st.from_regex(r"[a-z]{1,8}\.[a-z]{2,5}", fullmatch=True).map(Fqdn)


def token(text: str) -> Token:
    return Token(IPv4Address(text))


def tiny(last: int) -> Token:
    return token(f"240.0.0.{last}")


def binding(
    name: Fqdn, local: Token, remote: Token, *, accepted: bool = True, until: float = DAY
) -> StoreBinding:
    return StoreBinding(name, local, remote, 1, accepted, until)


def space_of(name: Fqdn, subnet: IPv4Network = TINY, exclude: tuple[IPv4Network, ...] = ()) -> TokenSpace:
    space = TokenSpace(subnet, exclude)
    space.choose_own(name, 0.0)
    return space


# --- candidates


def test_candidate_vectors() -> None:
    """docs/protocol-tokens.md, or docs/protocol.md: every row of the table is what the code computes."""
    docs = Path(__file__).parents[2] / "docs"
    rows = [
        row
        for page in sorted(docs.glob("protocol*.md"))
        for row in re.findall(
            r"^\| `(\S+)` \| (\d+) \| (\S+/\d+) \| (\S+) \|$", page.read_text(), re.MULTILINE
        )
    ]
    assert len(rows) >= 12
    for name, n, subnet, expected in rows:
        assert candidate(Fqdn(name), int(n), IPv4Network(subnet)) == token(expected), (name, n, subnet)


def test_what_cannot_be_a_token_is_skipped_and_nothing_is_renumbered() -> None:
    """n = 4 of a.vipip.net is the broadcast address of this subnet."""
    assert [candidate(A, n, TINY) for n in range(6)] == [tiny(n) for n in (3, 6, 10, 4, 15, 12)]
    assert list(candidates(A, TINY))[:5] == [tiny(n) for n in (3, 6, 10, 4, 12)]
    without_6 = list(candidates(A, TINY, (IPv4Network("240.0.0.6/32"),)))
    assert without_6[:4] == [tiny(n) for n in (3, 10, 4, 12)]


def test_255_is_never_a_token() -> None:
    """n = 45 of a.vipip.net would be 255.120.21.75."""
    assert candidate(A, 45, WIDE) == token("255.120.21.75")
    assert token("255.120.21.75") not in set(candidates(A, WIDE))


@given(NAMES, SUBNETS)
def test_candidates_are_usable_distinct_and_end(name: Fqdn, subnet: IPv4Network) -> None:
    tokens = list(candidates(name, subnet))
    assert len(tokens) == len(set(tokens)) <= 4096
    assert all(is_usable(each, subnet) for each in tokens)


@given(NAMES)
def test_a_small_subnet_is_drawn_completely(name: Fqdn) -> None:
    assert set(candidates(name, TINY)) == {tiny(n) for n in range(1, 15)}


@pytest.mark.parametrize(
    ("subnet", "complaint"),
    [
        ("240.0.0.0/29", "between /4 and /28"),
        ("0.0.0.0/1", "between /4 and /28"),
        ("127.1.0.0/16", "overlaps 127.0.0.0/8"),
        ("224.0.0.0/4", "overlaps 224.0.0.0/4"),
    ],
)
def test_a_subnet_that_cannot_hold_tokens_is_refused(subnet: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        TokenSpace(IPv4Network(subnet))


# --- our own token


def test_own_token_is_the_first_candidate() -> None:
    assert TokenSpace(TINY).choose_own(A, 0.0) == candidate(A, 0, TINY)


def test_own_token_of_the_store_stays() -> None:
    space = TokenSpace(TINY)
    space.load(StoredState(own_token=tiny(9)))
    assert space.choose_own(A, 0.0) == tiny(9)


def test_own_token_outside_of_a_changed_subnet_is_chosen_anew() -> None:
    space = TokenSpace(TINY)
    space.load(StoredState(own_token=token("241.0.0.9")))
    assert space.choose_own(A, 0.0) == candidate(A, 0, TINY)


def test_own_token_avoids_what_stands_for_a_peer_and_counts_it() -> None:
    space = TokenSpace(TINY)
    space.load(StoredState(bindings=[binding(B, tiny(6), tiny(3))]))
    assert space.choose_own(A, 0.0) == tiny(6)
    assert space.refused == 1


def test_no_free_address_for_ourselves_says_what_to_do() -> None:
    space = TokenSpace(TINY)
    space.set_host_networks([TINY])
    with pytest.raises(ConfigError, match=r"no free address for a\.vipip\.net in 240\.0\.0\.0/28.*larger"):
        space.choose_own(A, 0.0)


# --- what may stand for a peer


def test_a_token_stands_for_one_peer_only() -> None:
    space = space_of(A)
    space.bind(binding(B, tiny(3), tiny(8)))
    assert space.is_free_remote(tiny(8), B, 0.0)
    assert not space.is_free_remote(tiny(8), C, 0.0)
    assert space.name_of(tiny(8)) == B


def test_our_own_tokens_stand_for_no_peer() -> None:
    space = space_of(A)
    space.bind(binding(B, tiny(6), tiny(8)))
    assert not space.is_free_remote(tiny(3), C, 0.0)  # tun0's address
    assert not space.is_free_remote(tiny(6), C, 0.0)  # what we are called by B


def test_what_stands_for_a_peer_is_no_token_of_ours() -> None:
    space = space_of(A)
    space.bind(binding(B, tiny(3), tiny(8)))
    assert not space.is_free_local(tiny(8), C, 0.0)
    assert not space.is_free_local(tiny(8), B, 0.0)


def test_many_peers_know_us_by_one_token() -> None:
    space = space_of(A)
    space.bind(binding(B, tiny(6), tiny(8)))
    assert space.is_free_local(tiny(6), C, 0.0)
    space.bind(binding(C, tiny(6), tiny(9)))
    space.drop(B)
    assert not space.is_free_remote(tiny(6), B, 0.0)  # C still calls us so
    space.drop(C)
    assert space.is_free_remote(tiny(6), B, 0.0)


@pytest.mark.parametrize("network", ["240.0.0.8/32", "240.0.0.8/30"])
def test_addresses_and_narrow_routes_of_the_host_are_in_the_way(network: str) -> None:
    space = space_of(A)
    space.bind(binding(B, tiny(3), tiny(8)))
    space.set_host_networks([IPv4Network(network)])
    assert not space.is_free_remote(tiny(8), B, 0.0)
    assert not space.is_free_local(tiny(8), B, 0.0)
    assert [each.name for each in space.conflicts()] == [B]


def test_wide_routes_of_the_host_are_not_in_the_way() -> None:
    space = TokenSpace(IPv4Network("10.99.0.0/16"))
    space.set_host_networks([IPv4Network("10.0.0.0/8"), IPv4Network("192.168.0.0/16")])
    assert space.is_free_remote(token("10.99.1.1"), B, 0.0)
    assert space.conflicts() == ()


def test_exclusions_are_free_for_nobody() -> None:
    space = space_of(A, TINY, (IPv4Network("240.0.0.8/30"),))
    assert not any(space.is_free_remote(tiny(n), B, 0.0) for n in range(8, 12))


# --- quarantine


def test_quarantine_is_against_other_names_and_ends() -> None:
    space = space_of(A)
    assert space.hold(tiny(8), B, 30 * DAY) == (StoreQuarantine(tiny(8), B, 30 * DAY),)
    assert space.is_free_remote(tiny(8), B, DAY)
    assert not space.is_free_remote(tiny(8), C, DAY)
    assert not space.is_free_local(tiny(8), C, DAY)
    assert space.is_free_remote(tiny(8), C, 30 * DAY)


def test_a_former_token_of_ours_is_free_for_us_only() -> None:
    space = space_of(A)
    space.hold(tiny(6), A, DAY)
    assert space.is_free_local(tiny(6), B, 0.0)
    assert not space.is_free_remote(tiny(6), B, 0.0)


def test_a_shorter_quarantine_does_not_replace_a_longer_one() -> None:
    space = space_of(A)
    (long,) = space.hold(tiny(8), B, 30 * DAY)
    assert space.hold(tiny(8), B, DAY) == ()
    assert space.unhold(StoreQuarantine(tiny(8), B, DAY), 0.0) == ()
    assert not space.is_free_remote(tiny(8), C, 2 * DAY)
    assert space.unhold(long, 5.0) == (StoreQuarantine(tiny(8), B, 5.0),)
    assert space.is_free_remote(tiny(8), C, 6.0)


def test_quarantine_is_shorter_once_half_of_the_subnet_is_taken() -> None:
    space = space_of(A)  # 1 of 14
    for n in (1, 2, 4, 5, 6, 7):
        space.hold(tiny(n), B, DAY)
    assert space.quarantine_s(30 * DAY) == 30 * DAY  # 7 of 14
    for n in (8, 9, 10):
        space.hold(tiny(n), B, DAY)
    assert space.quarantine_s(30 * DAY) == pytest.approx(30 * DAY * 2 * 4 / 14)
    for n in (11, 12, 13, 14):
        space.hold(tiny(n), B, DAY)
    assert space.quarantine_s(30 * DAY) == 0


# --- reservations


def test_a_reservation_expires_and_a_binding_does_not() -> None:
    space = space_of(A)
    space.bind(binding(B, tiny(3), tiny(8), accepted=False, until=10.0))
    space.bind(binding(C, tiny(3), tiny(9), until=10.0))
    assert space.expire(9.9) == ()
    assert space.expire(10.0) == (DropBinding(B),)
    assert [each.name for each in space.bindings()] == [C]
    assert space.is_free_remote(tiny(8), A, 10.0)


def test_strangers_reserve_a_quarter_of_a_small_subnet_at_most() -> None:
    space = space_of(A)
    for n, name in ((8, "d.x"), (9, "e.x"), (10, "f.x")):
        assert space.room_for_reservation(64)
        space.bind(binding(Fqdn(name), tiny(3), tiny(n), accepted=False))
    assert not space.room_for_reservation(64)
    assert not space_of(A, WIDE).room_for_reservation(0)


# --- a restart


def test_load_takes_over_bindings_and_quarantine() -> None:
    space = TokenSpace(TINY)
    kept = binding(B, tiny(3), tiny(8))
    state = StoredState(bindings=[kept], quarantine=[StoreQuarantine(tiny(9), C, DAY)], own_token=tiny(3))
    assert space.load(state) == ()
    assert space.binding(B) == kept
    assert not space.is_free_remote(tiny(9), B, 0.0)


def test_load_drops_what_a_changed_subnet_does_not_hold() -> None:
    space = TokenSpace(TINY)
    outside = binding(B, token("241.0.0.1"), token("241.0.0.2"))
    assert space.load(StoredState(bindings=[outside])) == (DropBinding(B),)
    assert space.binding(B) is None


def test_load_drops_what_contradicts_an_accepted_binding() -> None:
    space = TokenSpace(TINY)
    reserved = binding(C, tiny(3), tiny(8), accepted=False)
    state = StoredState(bindings=[reserved, binding(B, tiny(3), tiny(8))])
    assert space.load(state) == (DropBinding(C),)
    assert space.binding(B) is not None


# --- the ledger as a whole

_NAMES = tuple(Fqdn(f"{letter}.example") for letter in "pqrst")
_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["bind", "drop", "hold"]),
        st.sampled_from(_NAMES),
        st.integers(1, 14),
        st.integers(1, 14),
    ),
    max_size=40,
)


@given(_EVENTS)
def test_binding_only_what_is_free_never_gives_one_token_two_meanings(
    events: list[tuple[str, Fqdn, int, int]],
) -> None:
    space = space_of(A)
    for what, name, local, remote in events:
        match what:
            case "bind":
                free = space.is_free_local(tiny(local), name, 0.0) and space.is_free_remote(
                    tiny(remote), name, 0.0
                )
                if free and local != remote:
                    space.bind(binding(name, tiny(local), tiny(remote)))
            case "drop":
                space.drop(name)
            case "hold":
                if space.is_free_remote(tiny(remote), name, 0.0):
                    space.hold(tiny(remote), name, DAY)
        remotes = [each.remote_token for each in space.bindings()]
        ours = {each.local_token for each in space.bindings()} | {space.own_token}
        assert len(set(remotes)) == len(remotes)
        assert not ours & set(remotes)
        assert all(space.name_of(each.remote_token) == each.name for each in space.bindings())
        reloaded = TokenSpace(TINY)
        assert reloaded.load(StoredState(own_token=space.own_token, bindings=list(space.bindings()))) == ()
