"""Somebody on the way who cannot open datagrams, but holds them back, passes them on and drops them."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network
from itertools import count

import pytest
from tests.sim.network import Network, SimHost

from vipnet.core.outputs import LookupResult
from vipnet.core.tokens import candidate
from vipnet.policy import AMPLIFICATION, DEFAULT_PORT, PARTNER_GRACE_BYTES
from vipnet.types import Locator, parse_name

EVE = Locator("203.0.113.66", DEFAULT_PORT)
Arrival = tuple[bytes, Locator, Locator]  # datagram, source, target
Deed = Callable[[bytes, Locator, Locator], list[Arrival]]


class WatchedNetwork(Network):
    """Every datagram passes `eve`, who says what arrives in its place."""

    eve: Deed | None = None

    def _arrive(self, payload: bytes, source: Locator, target: Locator) -> None:
        arrivals = [(payload, source, target)] if self.eve is None else self.eve(payload, source, target)
        for arrival in arrivals:
            super()._arrive(*arrival)


def talking_pair() -> tuple[WatchedNetwork, SimHost, SimHost]:
    net = WatchedNetwork(seed=1, latency_s=0.02)
    a, b = net.host("a.example"), net.host("b.example")
    net.run_for(0.1)
    for one, other in ((a, b), (b, a)):
        net.run_until(lambda one=one, other=other: one.can_reach(other))  # type: ignore[misc]
    return net, a, b


def talk(net: Network, a: SimHost, b: SimHost, times: int, size_bytes: int = 64) -> None:
    for _ in range(times):
        for one, other in ((a, b), (b, a)):
            one.send(other, bytes(size_bytes))
        net.run_for(0.01)


def current(host: SimHost, other: SimHost) -> Locator | None:
    return host.node.peers[other.name].mapping.current


@pytest.mark.parametrize("both_ways", [True, False])
def test_who_passes_datagrams_on_is_not_taken_for_their_sender(both_ways: bool) -> None:
    net, a, b = talking_pair()

    def pass_on(payload: bytes, source: Locator, target: Locator) -> list[Arrival]:
        return [(payload, EVE if both_ways or target == a.locator else source, target)]

    net.eve = pass_on
    for _ in range(5):
        a.move_to(net.new_address())
        for _ in range(30):
            talk(net, a, b, 1)
            assert EVE not in (current(a, b), current(b, a)), "a mapping follows datagrams without proof"


def test_a_hint_that_was_held_back_changes_nothing() -> None:
    net, a, b = talking_pair()
    held: list[Arrival] = []

    def hold_back(payload: bytes, source: Locator, target: Locator) -> list[Arrival]:
        if source == a.locator:
            held.append((payload, source, target))
        return []

    net.eve = hold_back
    a.move_to(net.new_address())
    net.run_for(0.03)
    net.eve = None
    a.move_to(net.new_address())
    talk(net, a, b, 30)
    assert held
    assert current(b, a) == a.locator
    for payload, source, _ in held:
        b.handle_datagram(payload, source)
        assert current(b, a) == a.locator, "an old hint is believed"
    talk(net, a, b, 1)


def test_what_dns_says_moves_nothing() -> None:
    """A secondary that lags, or a forger, must not cost a live peer."""
    net, a, b = talking_pair()
    said = LookupResult(b.name, (EVE.host,), b.public_key, DEFAULT_PORT)
    a.handle_lookup(said)
    assert current(a, b) == b.locator, "a mapping follows DNS without proof"
    talk(net, a, b, 100)
    assert current(a, b) == b.locator


def impostor_of(net: Network, host: SimHost) -> SimHost:
    """Another machine that says it is HOST, with a key of its own; DNS is forged and says so, too."""
    impostor = SimHost(net, host.name)
    impostor.boot()
    impostor.move_to(net.new_address(), publish=False)
    net.hosts[host.name] = impostor
    assert impostor.locator is not None
    net.zone[host.name] = impostor.locator.host
    return impostor


@pytest.mark.parametrize("away", [False, True])
def test_a_changed_key_is_refused_whatever_dns_says_unsigned(away: bool) -> None:
    net, a, b = talking_pair()
    known = b.public_key
    if away:
        b.crash()
    impostor = impostor_of(net, b)
    impostor.resolve(a)
    net.run_for(20)
    assert a.node.peers[b.name].key == known, "a stranger's key has taken the place of the one that is known"
    a.send(b, b"for b alone")
    net.run_for(20)
    assert b"for b alone" not in impostor.received, "a packet has reached whoever said it was b"
    assert b"for b alone" in b.received or away
    refused = [event.fields for event in a.logs if event.name == "trust.key_changed"]
    assert len(refused) == 1
    assert "accept-new-key" in str(refused[0])


def test_another_key_in_dns_alone_changes_nothing() -> None:
    net, a, b = talking_pair()
    known = b.public_key
    impostor = impostor_of(net, b)
    a.handle_lookup(net.result(b.name))
    net.run_for(20)
    assert a.node.peers[b.name].key == known, "DNS has changed a key, and nobody had signed it"
    assert b.name not in impostor.node.peers


def test_a_lease_that_ran_out_asks_dns_once_and_none_before() -> None:
    net, a, b = talking_pair()
    lease_s = a.policy.lease_s
    net.eve = lambda payload, source, target: []
    heard = a.node.peers[b.name].mapping.last_heard
    assert heard is not None
    net.run_for(lease_s - 20)
    a.lookups.clear()
    net.run_for(heard + lease_s - net.now + 0.1)
    assert not a.lookups
    a.send(b, b"after the lease")
    a.send(b, b"and again")
    reasons = [wanted.reason for wanted in a.lookups]
    assert reasons == ["lease expired"], "traffic on a lease that ran out asks DNS once"


def test_a_place_without_proof_gets_little() -> None:
    """A partner that names a victim's address as its own cannot use the other as a weapon."""
    net, a, b = talking_pair()
    victim = Locator(net.new_address(), DEFAULT_PORT)
    flooded = answered = 0

    def watch(payload: bytes, source: Locator, target: Locator) -> list[Arrival]:
        nonlocal flooded, answered
        if target == victim:
            flooded += len(payload)
            return []
        answered += len(payload) if source == victim else 0
        return [(payload, source, target)]

    net.eve = watch
    a.move_to(victim.host, publish=False)
    for _ in range(150):
        b.send(a, bytes(1300))
        net.run_for(0.002)
    assert flooded > PARTNER_GRACE_BYTES // 2
    # One more: an ack for each hint that comes from there.
    assert flooded <= PARTNER_GRACE_BYTES + (AMPLIFICATION + 1) * answered


def test_a_datagram_is_delivered_once_however_often_it_comes() -> None:
    net, a, b = talking_pair()
    b.received.clear()
    net.eve = lambda payload, source, target: [(payload, source, target)] * 2
    for number in range(20):
        a.send(b, b"%d" % number)
        net.run_for(0.1)
    assert list(b.received) == [b"%d" % number for number in range(20)]


def test_a_token_that_stood_for_a_forgotten_peer_stands_for_nobody_else() -> None:
    net = Network(seed=1)
    subnet = IPv4Network("10.66.0.0/28")
    a, b = (net.host(name, subnet=str(subnet)) for name in ("a.example", "b.example"))
    net.run_for(0.1)
    net.run_until(lambda: a.can_reach(b))
    token = a.token_of(b)
    for output in a.node.people.forget(b.name):
        a.disk.apply(output)
    rival = next(
        name for number in count() if candidate(name := parse_name(f"c{number}.example"), 0, subnet) == token
    )
    c = net.host(rival, subnet=str(subnet))
    net.run_for(0.1)
    net.run_until(lambda: a.can_reach(c))
    assert a.token_of(c) != token, "an application that holds the token reaches another host"
