"""The way of a packet out: when it leaves, when it waits, when DNS is asked."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from tests.core.pairs import Tap, meet, pair, peer_at, session_at
from tests.sim.network import Network, ipv4

from vipnet.core.outputs import Deliver
from vipnet.errors import WireError
from vipnet.policy import REJECT_AFTER_COUNT, Policy, paper_policy
from vipnet.types import Fqdn
from vipnet.wire.inner import PROTOCOL_ICMP, Unreachable


def lookups(net: Network, name: Fqdn, start: int) -> list[float]:
    return [at for at, _, target, text in net.trace[start:] if target == "DNS" and text.startswith(name)]


def test_a_token_without_binding_is_unreachable() -> None:
    net = Network(1)
    a, b = pair(net)
    binding = peer_at(a, b).binding
    assert binding is not None
    nobody = binding.remote_token + 1
    (answer,) = a.node.handle_packet(ipv4(binding.local_token, nobody, b"x"), net.now)
    assert isinstance(answer, Deliver)
    packet = bytes(answer.packet)
    assert (packet[9], packet[20], packet[21]) == (PROTOCOL_ICMP, 3, Unreachable.HOST)
    assert packet[12:16] == nobody.packed
    assert packet[16:20] == binding.local_token.packed


def test_a_source_that_is_not_this_pairs_token_is_prohibited() -> None:
    """An application bound to another address would leak it, and get no answer."""
    net = Network(2)
    a, b = pair(net)
    binding = peer_at(a, b).binding
    assert binding is not None
    foreign = IPv4Address("192.0.2.77")
    (answer,) = a.node.handle_packet(ipv4(foreign, binding.remote_token, b"x"), net.now)
    assert isinstance(answer, Deliver)
    assert bytes(answer.packet)[20:22] == bytes((3, Unreachable.PROHIBITED))


def test_icmp_answers_to_a_flood_are_few() -> None:
    net = Network(3)
    a, b = pair(net)
    binding = peer_at(a, b).binding
    assert binding is not None
    nobody = binding.remote_token + 1
    packet = ipv4(binding.local_token, nobody, b"x")
    assert sum(len(a.node.handle_packet(packet, net.now)) for _ in range(10_000)) <= 100


@pytest.mark.parametrize("size", [0, 1, 16, 19, 20, 60])
def test_what_is_no_ipv4_packet_is_refused(size: int) -> None:
    net = Network(4)
    a, _ = pair(net)
    with pytest.raises(WireError):
        a.node.handle_packet(b"\x60" * size, net.now)


def test_packets_wait_for_a_key_and_leave_in_their_order() -> None:
    net = Network(5)
    a, b = pair(net)
    net.run_for(200)  # the session is over
    b.received.clear()
    for number in range(20):
        a.send(b, b"%d" % number)
    net.run_for(1)
    assert list(b.received) == [b"%d" % number for number in range(20)]


def test_packets_wait_while_this_host_is_nowhere() -> None:
    net = Network(6)
    a, b = pair(net)
    a.move_to(None)
    sent = session_at(a, b).sent
    a.send(b, b"meanwhile")
    assert session_at(a, b).sent == sent  # unsealed: whatever comes, it fits
    net.run_for(2)
    a.move_to(net.new_address())
    net.run_for(1)
    assert b"meanwhile" in b.received


def test_profile_paper_keeps_nothing_while_there_is_no_path() -> None:
    """Whatever comes through later has been sent again by who made it: TCP's back-off shows (Figure 4)."""
    net = Network(6)
    a, b = pair(net, policy=paper_policy())
    a.move_to(None)
    a.send(b, b"meanwhile")
    net.run_for(0.2)
    a.move_to(net.new_address())
    net.run_for(1)
    peer_at(a, b).dead = True
    a.send(b, b"to nowhere")
    net.run_for(1)
    a.send(b, b"afterwards")
    net.run_for(1)
    assert b.received[-1] == b"afterwards"
    assert not {b"meanwhile", b"to nowhere"} & set(b.received)


def test_a_used_up_key_is_replaced_and_nothing_lost() -> None:
    net = Network(7)
    a, b = pair(net)
    session = peer_at(a, b).sessions.newest
    assert session is not None
    session.sent = REJECT_AFTER_COUNT - 3
    b.received.clear()
    for number in range(10):
        a.send(b, b"%d" % number)
    net.run_for(1)
    assert sorted(b.received) == [b"%d" % number for number in range(10)]
    assert session.sent <= REJECT_AFTER_COUNT
    assert peer_at(a, b).sessions.newest is not session


@pytest.mark.parametrize("idle_s", [70.0, 300.0])
def test_an_expired_lease_is_looked_up_while_the_packet_goes_to_the_old_place(idle_s: float) -> None:
    """With the session (70 s) and without it (300 s): the handshake does not wait for DNS."""
    net = Network(8, dns_latency_s=0.3)
    a, b = pair(net)
    net.run_for(idle_s)
    start = len(net.trace)
    a.send(b, b"after a while")
    assert len(lookups(net, b.name, start)) == 1
    assert [target for _, source, target, _ in net.trace[start:] if source == a.name] != ["DNS"]
    net.run_for(0.1)
    assert b"after a while" in b.received
    net.run_for(1)
    assert len(lookups(net, b.name, start)) == 1


@pytest.mark.parametrize("idle_s", [70.0, 300.0])
def test_who_asks_for_a_name_has_its_mapping_refreshed_before_the_first_packet(idle_s: float) -> None:
    net = Network(8, dns_latency_s=0.03)
    a, b = pair(net)
    net.run_for(idle_s)
    b.move_to("203.0.113.9")
    net.run_for(1)
    start = len(net.trace)
    for _ in range(3):
        a.expect(b)
    assert len(lookups(net, b.name, start)) == 1
    net.run_for(1)
    assert peer_at(a, b).mapping.current == b.locator
    assert session_at(a, b).may_send(net.now)
    before = len(net.trace)
    a.expect(b)
    assert not net.trace[before:], "a mapping with a lease needs nothing"


@pytest.mark.parametrize("idle_s", [70.0, 300.0])
def test_profile_paper_looks_up_first(idle_s: float) -> None:
    """Paper section 3.2; B moved when nobody told A."""
    net = Network(9)
    a, b = pair(net, policy=paper_policy())
    net.run_for(idle_s)
    b.move_to("203.0.113.9")
    net.run_for(1)
    tap, start = Tap(net), len(net.trace)
    a.send(b, b"after a while")
    assert tap.seen == []
    assert len(lookups(net, b.name, start)) == 1
    net.run_for(0.5)
    assert b"after a while" in b.received
    assert tap.from_host(a)[0].destination == b.locator


def test_profile_paper_goes_on_when_dns_does_not_answer() -> None:
    net = Network(10)
    a, b = pair(net, policy=paper_policy())
    net.run_for(300)
    net.dns_down = True
    a.send(b, b"after a while")
    net.run_for(2)
    assert b"after a while" in b.received


def test_a_peer_that_is_away_for_long_is_tried_whenever_packets_want_it() -> None:
    """The attempts of 90 s are over, the session is not: packets begin new ones."""
    net = Network(11)
    a, b = pair(net)
    session = peer_at(a, b).sessions.newest
    b.crash()
    for _ in range(100):
        a.send(b, b"are you there?")
        net.run_for(1)
    b.boot()
    assert net.run_until(lambda: a.can_reach(b), limit_s=20) < 10
    assert peer_at(a, b).sessions.newest is not session


def test_the_backlog_of_a_peer_that_is_away_is_bounded() -> None:
    net = Network(12)
    a, b = pair(net, policy=Policy(queue_packets=50))
    b.crash()
    for _ in range(200):
        a.send(b, bytes(100))
        net.run_for(0.05)
    assert len(peer_at(a, b).backlog) <= 50
    b.boot()
    meet(net, a, b)
    assert len(peer_at(a, b).backlog) == 0


def test_one_packet_costs_the_same_with_500_peers() -> None:
    """Nothing on the way of a packet looks at the other peers or at their timers."""
    net = Network(13)
    a, b = pair(net)
    many = {Fqdn(f"p{number}.example"): peer_at(a, b) for number in range(500)}
    touched: list[str] = []

    class Watched(dict[Fqdn, object]):
        def __iter__(self) -> object:  # type: ignore[override]
            touched.append("iterated")
            return super().__iter__()

        def values(self) -> object:  # type: ignore[override]
            touched.append("iterated")
            return super().values()

        items = values  # type: ignore[assignment]

    a.node.peers = Watched({**a.node.peers, **many})  # type: ignore[assignment]
    b.node.peers = Watched(b.node.peers)  # type: ignore[assignment]
    for number in range(50):
        a.send(b, b"%d" % number)
        net.run_for(0.02)
    assert b"49" in b.received
    assert touched == []


def test_the_heap_of_timers_stays_small_under_traffic() -> None:
    net = Network(14)
    a, b = pair(net)
    for number in range(2000):
        a.send(b, b"%d" % number)
        net.run_for(0.3)
    assert len(a.node._schedule) < 1000
    assert len(b.node._schedule) < 1000
