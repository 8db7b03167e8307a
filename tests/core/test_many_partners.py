"""A host that moves and has many partners: all are told, and nobody is asked in vain."""

from __future__ import annotations

import pytest
from tests.core.pairs import Tap, locator, meet
from tests.sim.network import Network, SimHost

from vipnet.core.outputs import LookupWanted, Output, Transmit
from vipnet.policy import Policy
from vipnet.types import Instant, Locator

PARTNERS = 40
NEW = Locator("203.0.113.50", 5847)


@pytest.fixture
def hosts() -> tuple[Network, SimHost, list[SimHost]]:
    """A, and partners with traffic; the network's own clock stands still from here on."""
    net = Network(1)
    a = net.host("a.example")
    partners = [net.host(f"p{number}.example") for number in range(PARTNERS)]
    net.run_for(0.1)
    for partner in partners:
        meet(net, a, partner)
    net.run_for(3)  # the probes that follow traffic are over
    return net, a, partners


def transmits(outputs: list[Output]) -> list[Transmit]:
    return [output for output in outputs if isinstance(output, Transmit)]


def test_acks_that_wait_in_the_socket_are_handled_before_any_timer(
    hosts: tuple[Network, SimHost, list[SimHost]],
) -> None:
    net, a, partners = hosts
    by_place = {locator(partner): partner for partner in partners}
    hints = transmits(a.node.handle_locators((NEW,), "address", net.now))
    assert {hint.destination for hint in hints} == set(by_place)
    acks = []
    for hint in hints:
        partner = by_place[hint.destination]
        outputs = partner.node.handle_datagram(bytes(hint.payload), NEW, net.now)
        acks += [(ack, hint.destination) for ack in transmits(outputs) if ack.destination == NEW]
    # All hints' timers are over when the first ack is read.
    late = Instant(net.now + 5)
    outputs = [output for ack, at in acks for output in a.node.handle_datagram(bytes(ack.payload), at, late)]
    assert not any(isinstance(output, LookupWanted) for output in outputs)
    assert len(transmits(outputs)) == PARTNERS  # each the answer to the challenge in the ack
    assert not any(peer.hints for peer in a.node.peers.values())
    assert not transmits(a.node.handle_timeout(late))


def test_dns_is_not_flooded_when_nobody_answers(hosts: tuple[Network, SimHost, list[SimHost]]) -> None:
    net, a, _ = hosts
    policy = Policy(lookups_at_once=8)
    a.node.host.policy = policy
    Tap(net).stop = lambda sender, transmit: sender is a
    a.node.handle_locators((NEW,), "address", net.now)
    now, asked, most = net.now, list[LookupWanted](), 0
    under_way: list[LookupWanted] = []
    for _ in range(40):
        now = Instant(now + policy.lookup_wait_s)
        fresh = [one for one in a.node.handle_timeout(now) if isinstance(one, LookupWanted)]
        asked += fresh
        under_way += fresh
        most = max(most, len(under_way))
        if under_way:  # one answer for each round
            a.node.handle_lookup(net.result(under_way.pop(0).name), now)
    assert most == policy.lookups_at_once
    assert {wanted.name for wanted in asked} == set(a.node.peers)  # everybody has a turn
