from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnet.system.netwatch import network
from vipnet.system.netwatch.messages import Address, Fact, Link, Route
from vipnet.system.netwatch.network import Network

V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)


def link(index: int, name: str = "", kind: str = "", *, is_up: bool = True, has_carrier: bool = True) -> Link:
    return Link(index, name or f"eth{index}", kind, is_up, has_carrier)


def default(index: int, metric: int = 0, family: int = V4) -> Route:
    return Route(b"default%d,%d" % (family, metric), family, True, metric, (index,))


def gateway(index: int, metric: int = 0, name: bytes = b"10/8") -> Route:
    return Route(name, V4, False, metric, (index,))


def known(*facts: Fact, ignore: tuple[str, ...] = (), only: tuple[str, ...] = ()) -> Network:
    network = Network(frozenset(ignore), only)
    for fact in facts:
        assert network.add(fact)
    return network


def hosts(network: Network) -> list[str]:
    return [address.host for address, _ in network.ranked()]


def test_an_address_of_a_usable_interface_counts() -> None:
    network = known(link(2), Address(2, "10.0.0.1", True), default(2))
    ((address, routed),) = network.ranked()
    assert (address.host, address.interface, address.index, routed) == ("10.0.0.1", "eth2", 2, True)


@pytest.mark.parametrize(
    "unusable",
    [
        link(2, is_up=False),
        link(2, has_carrier=False),
        link(2, "tun0"),
        link(2, kind="tun"),
        link(2, kind="wireguard"),
        link(2, "docker0", "bridge"),
    ],
)
def test_what_does_not_count(unusable: Link) -> None:
    network = known(link(2), Address(2, "10.0.0.1", True), ignore=("tun0",))
    assert hosts(network) == ["10.0.0.1"]
    assert network.add(unusable)
    assert hosts(network) == []


def test_an_address_that_the_kernel_would_not_choose() -> None:
    network = known(link(2), Address(2, "2001:db8::1", False))
    assert hosts(network) == []
    assert network.add(Address(2, "2001:db8::1", True))
    assert hosts(network) == ["2001:db8::1"]


def test_a_bridge_counts_where_it_is_the_way_out() -> None:
    network = known(link(2, "vmbr0", "bridge"), Address(2, "192.0.2.1", True), gateway(2))
    assert hosts(network) == []
    assert network.add(default(2))
    assert hosts(network) == ["192.0.2.1"]


def test_only_what_is_asked_for() -> None:
    facts: list[Fact] = [link(2, "eth0"), link(3, "wlan0"), link(4, "wg0", "wireguard")]
    facts += (Address(i, f"10.0.0.{i}", True) for i in (2, 3, 4))
    assert hosts(known(*facts)) == ["10.0.0.2", "10.0.0.3"]
    assert hosts(known(*facts, only=("wlan*",))) == ["10.0.0.3"]
    assert hosts(known(*facts, only=("w*",))) == ["10.0.0.3"]
    assert hosts(known(*facts, only=("wg0",))) == ["10.0.0.4"], "named on purpose"
    assert hosts(known(*facts, only=("*",), ignore=("eth0",))) == ["10.0.0.3"]


def test_best_first() -> None:
    network = known(
        *(link(i) for i in range(2, 7)),
        *(Address(i, f"10.0.0.{i}", True) for i in range(2, 7)),
        Address(5, "2001:db8::5", True),
        Address(4, "2001:db8::4", True),
        gateway(3, 0),
        default(4, 600),
        default(5, 100),
        default(5, 1024, V6),
        default(6, 600),
    )
    # Default routes by metric, then other gateways, then what has none; IPv4 first.
    assert hosts(network) == [
        "10.0.0.5",
        "2001:db8::5",
        "10.0.0.4",
        "10.0.0.6",
        "10.0.0.3",
        "2001:db8::4",
        "10.0.0.2",
    ]
    assert [routed for _, routed in network.ranked()] == [True] * 5 + [False] * 2


def test_routes_end_with_their_interface_without_a_word() -> None:
    network = known(link(2), Address(2, "10.0.0.1", True), default(2))
    network.add(link(2, is_up=False))
    network.add(link(2))
    assert [routed for _, routed in network.ranked()] == [False]


def test_but_not_with_its_carrier() -> None:
    network = known(link(2), Address(2, "10.0.0.1", True), default(2))
    network.add(link(2, has_carrier=False))
    network.add(link(2))
    assert [routed for _, routed in network.ranked()] == [True]


def test_routes_end_with_the_last_address_of_their_family() -> None:
    network = known(
        link(2), Address(2, "10.0.0.1", True), Address(2, "10.0.0.2", True), Address(2, "2001:db8::1", True)
    )
    assert network.add(default(2))
    assert network.add(default(2, 0, V6))
    assert network.remove(Address(2, "10.0.0.1", True))
    assert [routed for _, routed in network.ranked()] == [True, True]
    assert network.remove(Address(2, "10.0.0.2", True))
    assert network.add(Address(2, "10.0.0.3", True))
    ranked = {address.host: routed for address, routed in network.ranked()}
    assert ranked == {"10.0.0.3": False, "2001:db8::1": True}


def test_a_route_that_replaces_another() -> None:
    network = known(link(2), link(3), Address(2, "10.0.0.2", True), Address(3, "10.0.0.3", True), default(2))
    assert hosts(network) == ["10.0.0.2", "10.0.0.3"]
    assert network.add(default(3), replaces=True)
    assert hosts(network) == ["10.0.0.3", "10.0.0.2"]
    assert not network.remove(default(2)), "it is gone already"
    assert network.remove(default(3))
    assert [routed for _, routed in network.ranked()] == [False, False]


def test_a_huge_routing_table_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_GATEWAYS_MAX", 3)
    watched = known(link(2))
    news = [watched.add(gateway(2, name=b"%d" % i)) for i in range(10)]
    assert news == [True] * 3 + [False] * 7
    assert watched.add(default(2)), "a default route always is"


FACTS = st.one_of(
    st.builds(link, st.integers(2, 4), kind=st.sampled_from(["", "bridge"]), is_up=st.booleans()),
    st.builds(
        Address, st.integers(2, 4), st.sampled_from(["10.0.0.1", "10.0.0.2", "2001:db8::1"]), st.booleans()
    ),
    st.builds(default, st.integers(2, 4), st.integers(0, 2), st.sampled_from([V4, V6])),
    st.builds(gateway, st.integers(2, 4), st.integers(0, 2), st.sampled_from([b"10/8", b"11/8"])),
)


@given(st.lists(st.tuples(st.booleans(), FACTS), max_size=20))
def test_what_is_no_news_changes_nothing(history: list[tuple[bool, Fact]]) -> None:
    network = Network(frozenset(), ())
    for is_gone, fact in history:
        before = network.ranked()
        news = network.remove(fact) if is_gone else network.add(fact)
        assert news or network.ranked() == before
        if not is_gone:
            assert not network.add(fact), "the same again is none"
        assert network.ranked() == network.ranked()


@given(
    st.permutations(
        [link(2), link(3), Address(2, "10.0.0.2", True), Address(3, "10.0.0.3", True), default(3, 5)]
    )
)
def test_order_of_arrival_does_not_matter(facts: list[Fact]) -> None:
    assert hosts(known(*facts)) == ["10.0.0.3", "10.0.0.2"]


def test_a_tunnel_that_has_taken_the_default_route_is_a_detour() -> None:
    network = known(
        link(2),
        Address(2, "10.0.0.1", True),
        default(2, 100),
        link(3, "wg0", "wireguard"),
        Address(3, "10.99.0.2", True),
        link(4, "docker0", "bridge"),
        Address(4, "172.17.0.1", True),
    )
    assert network.detours() == (), "it leads to its own network only"
    assert network.add(default(3))
    assert network.detours() == ("10.99.0.2",)
    assert hosts(network) == ["10.0.0.1"]
    assert network.remove(default(3))
    assert network.detours() == ()
