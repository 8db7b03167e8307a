"""Two machines with one key."""

from __future__ import annotations

from tests.core.pairs import ELSEWHERE, locator, meet, pair, peer_at, seal
from tests.sim.network import Network, SimHost

from vipnet.core.clones import REFUSED_S, RETURNS, WITHIN_S, Runs
from vipnet.types import Instant
from vipnet.wire.control import Cloned

ONE, TWO = b"run 1...", b"run 2..."


def test_restarts_are_no_clones() -> None:
    runs = Runs()
    for number in range(100):
        assert not runs.saw(b"run %4d" % number, Instant(number))
    assert not runs.are_two(Instant(100))


def test_the_later_of_two_that_take_turns_is_refused_for_a_while() -> None:
    runs = Runs()
    assert not runs.saw(ONE, Instant(0))
    assert not runs.saw(TWO, Instant(1))
    for number in range(RETURNS):
        assert not runs.refuses(TWO, Instant(2 + number))
        assert runs.saw((ONE, TWO)[number % 2], Instant(2 + number))
    assert runs.refuses(TWO, Instant(10))
    assert not runs.refuses(ONE, Instant(10))
    assert runs.are_two(Instant(10))
    end = Instant(10 + REFUSED_S)
    assert not runs.refuses(TWO, end)
    assert not runs.are_two(end)


def test_slow_turns_are_said_but_not_refused() -> None:
    """Two machines, one of which is taken out of a drawer now and then."""
    runs = Runs()
    runs.saw(ONE, Instant(0))
    runs.saw(TWO, Instant(1))
    for number in range(20):
        now = Instant(number * WITHIN_S)
        assert runs.saw((ONE, TWO)[number % 2], now)
        assert not runs.refuses(ONE, now)
        assert not runs.refuses(TWO, now)


def clone_of(net: Network, host: SimHost) -> SimHost:
    """Another machine from the same image: name, key, store."""
    clone = SimHost(net, host.name, private_key=host.private_key)
    for peer in host.disk.peers.values():
        clone.disk.apply(peer)
    for binding in host.disk.bindings.values():
        clone.disk.apply(binding)
    clone.boot()
    clone.move_to(net.new_address(), publish=False)
    net.hosts["the clone"] = clone  # its timers, too
    return clone


def test_a_partner_notices_says_so_and_stays_with_the_first() -> None:
    net = Network(1)
    a, b = pair(net)
    clone = clone_of(net, a)
    for _ in range(8):
        for machine in (clone, a):
            peer_at(machine, b).want_handshake(net.now)
            machine.node._reschedule(peer_at(machine, b))
            net.run_for(1)
    runs = peer_at(b, a).runs
    assert runs.are_two(net.now)
    assert runs.refuses(clone.node.host.boot_id, net.now)
    assert not runs.refuses(a.node.host.boot_id, net.now)
    assert len([event for event in b.logs if event.name == "trust.cloned_key"]) == 1
    for machine in (a, clone):
        assert machine.node.host.cloned_at is not None
        assert [
            event.fields["said_by"] for event in machine.logs if event.name == "trust.own_key_cloned"
        ] == [b.name]
    meet(net, a, b)
    assert peer_at(b, a).mapping.current == locator(a)
    assert b.node.host.counters["cloned_key"] > 0


def test_what_a_partner_says_is_told_once_in_a_while() -> None:
    net = Network(2)
    a, b = pair(net)
    for _ in range(5):
        a.handle_datagram(seal(b, a, Cloned()), ELSEWHERE)
    assert len([event for event in a.logs if event.name == "trust.own_key_cloned"]) == 1
