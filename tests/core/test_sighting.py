"""Where others see this host, behind a NAT too, and whom it believes that."""

from __future__ import annotations

import pytest
from tests.core.pairs import ELSEWHERE, meet, pair, peer_at, seal
from tests.sim.network import Network, SimHost

from vipnet.core.outputs import SeenAt
from vipnet.types import Locator
from vipnet.wire.control import HintAck, PathChallenge

PRIVATE, NAT, NAT_AGAIN = "192.168.1.10", "203.0.113.80", "203.0.113.81"


def told(host: SimHost) -> str | None:
    seen = host.told.get(SeenAt)
    return seen.host if isinstance(seen, SeenAt) else None


def behind(host: SimHost, nat: str) -> None:
    """Every NAT gives out the same address."""
    host.move_behind(nat)
    host.move_to(PRIVATE)


def hear(host: SimHost, data: bytes) -> list[SeenAt]:
    outputs = host.node.handle_datagram(data, ELSEWHERE, host.net.now)
    return [output for output in outputs if isinstance(output, SeenAt)]


def test_a_host_learns_where_it_is_seen_with_its_first_handshake() -> None:
    net = Network(1)
    a, b = net.host("a.example"), net.host("b.example")
    net.run_for(0.1)
    behind(a, NAT)
    meet(net, a, b)
    assert told(a) == NAT


def test_and_after_each_move_and_when_the_nat_has_forgotten_it() -> None:
    net = Network(2)
    a, b = pair(net)
    assert told(a) == a.node.host.locators[0].host
    behind(a, NAT)
    meet(net, a, b)
    assert told(a) == NAT
    behind(a, NAT_AGAIN)
    meet(net, a, b)
    assert told(a) == NAT_AGAIN
    # Without an event here: the partner sees our datagrams come from elsewhere, and asks.
    a.told.clear()
    a.forgotten_by_nat()
    meet(net, a, b)
    assert told(a) == NAT_AGAIN


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "255.255.255.255", "240.1.2.3", "::1", "fe80::1"])
def test_nonsense_is_not_passed_on(host: str) -> None:
    net = Network(3)
    a, b = pair(net)
    assert hear(a, seal(b, a, PathChallenge(bytes(8), Locator(host, 5847)))) == []


def test_only_a_peer_that_the_user_has_chosen_is_believed() -> None:
    net = Network(4)
    a, b = net.host("a.example"), net.host("b.example")
    net.run_for(0.1)
    net.run_until(lambda: a.can_reach(b), 30)
    net.run_for(1)
    assert (peer_at(a, b).known.contacted, peer_at(b, a).known.contacted) == (True, False)
    for message in (
        PathChallenge(bytes(8), Locator(NAT, 5847)),
        HintAck(0, bytes(8), observed=Locator(NAT, 5847)),
    ):
        assert hear(a, seal(b, a, message)) == [SeenAt(b.name, NAT)]
        assert hear(b, seal(a, b, message)) == []
