"""Whole nodes over the simulated network: the paper's job, without a kernel."""

from __future__ import annotations

from ipaddress import IPv4Network

from msgspec import structs
from tests.sim.network import Network, SimHost

from vipnet.policy import Policy, paper_policy


def pair(net: Network, policy: Policy | None = None) -> tuple[SimHost, SimHost]:
    a, b = net.host("a.example", policy=policy), net.host("b.example", policy=policy)
    net.run_for(0.1)  # DNS knows both
    meet(net, a, b)
    return a, b


def meet(net: Network, a: SimHost, b: SimHost) -> None:
    net.run_until(lambda: a.can_reach(b), limit_s=30)
    net.run_until(lambda: b.can_reach(a), limit_s=30)


def test_first_packet_takes_one_lookup_and_one_round_trip() -> None:
    net = Network(seed=1, latency_s=0.02, dns_latency_s=0.01)
    a, b = net.host("a.example"), net.host("b.example")
    net.run_for(0.1)
    took_s = net.run_until(lambda: a.can_reach(b))
    # handshake and tokens 2 x 20 ms, b asks DNS who a is 10 ms, the packet 20 ms; polled each 10 ms
    assert took_s < 0.04 + 0.01 + 0.02 + 0.03
    assert a.token_of(b) is not None
    net.run_for(1)
    assert b.token_of(a) is not None


def test_both_ends_name_each_other_alike() -> None:
    net = Network(seed=2)
    a, b = pair(net)
    ours, theirs = a.node.peers[b.name].binding, b.node.peers[a.name].binding
    assert ours is not None
    assert theirs is not None
    assert (ours.local_token, ours.remote_token) == (theirs.remote_token, theirs.local_token)


def test_one_sided_move_costs_one_round_trip_and_no_dns() -> None:
    net = Network(seed=3)
    a, b = pair(net)
    lookups = len(a.lookups) + len(b.lookups)
    a.move_to("198.51.100.7")
    assert net.run_until(lambda: b.can_reach(a)) < 3 * 0.02 + 0.02
    assert len(a.lookups) + len(b.lookups) == lookups
    report = a.moves[max(a.moves)]
    assert [(line.name, line.outcome) for line in report.partners] == [(b.name, "acked")]


def test_both_ends_move_at_once() -> None:
    net = Network(seed=4)
    a, b = pair(net)
    a.move_to("198.51.100.7")
    b.move_to("203.0.113.9")
    assert net.run_until(lambda: a.can_reach(b)) < 0.25
    assert net.run_until(lambda: b.can_reach(a)) < 0.25
    net.run_for(1)
    assert {line.outcome for line in a.moves[max(a.moves)].partners} == {"dns"}


def test_both_ends_move_at_once_in_profile_paper() -> None:
    """Paper section 4: 500 ms for the hint's time-out, then DNS, then the hint again."""
    net = Network(seed=5)
    a, b = pair(net, policy=paper_policy())
    a.move_to("198.51.100.7")
    b.move_to("203.0.113.9")
    assert 0.5 < net.run_until(lambda: a.can_reach(b)) < 0.7


def test_both_move_while_dns_is_slow_to_learn() -> None:
    net = Network(seed=6, dns_latency_s=0.5)
    a, b = pair(net)
    a.move_to("198.51.100.7")
    b.move_to("203.0.113.9")
    assert net.run_until(lambda: a.can_reach(b)) < 2


def test_loss_reordering_and_duplication_stop_nothing() -> None:
    for seed in range(10):
        net = Network(seed, loss=0.2, duplication=0.1, jitter_s=0.05)
        a, b = pair(net)
        for turn in range(5):
            a.move_to(net.new_address())
            if turn % 2:
                b.move_to(net.new_address())
            meet(net, a, b)


def test_restart_keeps_tokens_and_speaks_first() -> None:
    net = Network(seed=7)
    a, b = pair(net)
    before = a.token_of(b), b.token_of(a)
    b.crash()
    net.run_for(2)
    b.boot()
    assert net.run_until(lambda: a.can_reach(b)) < 1
    assert (a.token_of(b), b.token_of(a)) == before


def test_restart_at_another_address() -> None:
    net = Network(seed=8)
    a, b = pair(net)
    b.crash()
    net.run_for(5)
    b.move_to("203.0.113.9")
    b.boot()
    assert net.run_until(lambda: a.can_reach(b)) < 1.5


def test_lost_store_gives_the_same_tokens_back() -> None:
    net = Network(seed=9)
    a, b = pair(net)
    before = a.token_of(b), b.token_of(a)
    b.crash()
    b.disk = type(b.disk)()
    b.boot()
    meet(net, a, b)
    assert (a.token_of(b), b.token_of(a)) == before


def test_partner_without_traffic_gets_no_hint_and_is_looked_up() -> None:
    """Paper section 3.2, case a: the lease ran out."""
    net = Network(seed=10)
    a, b = pair(net)
    net.run_for(Policy().lease_s + 60)
    a.node.handle_timeout(net.now)
    sent = len(net.trace)
    a.move_to("198.51.100.7")
    net.run_for(5)
    assert not [line for line in net.trace[sent:] if line[1] == a.name], "a hint to a partner without a lease"
    assert net.run_until(lambda: b.can_reach(a), limit_s=10) < 5
    assert len([wanted for wanted in b.lookups if wanted.name == a.name and wanted.authoritative]) >= 1


def test_idle_hosts_are_silent() -> None:
    net = Network(seed=11)
    pair(net)
    net.run_for(5)
    sent = len(net.trace)
    net.run_for(3600)
    assert net.trace[sent:] == []


def test_sessions_are_rekeyed_under_traffic() -> None:
    net = Network(seed=12)
    a, b = pair(net)
    first = a.node.peers[b.name].sessions.newest
    for _ in range(30):
        net.run_for(10)
        net.run_until(lambda: a.can_reach(b), limit_s=2)
    assert a.node.peers[b.name].sessions.newest is not first


def test_path_that_dies_without_event_is_found_dead() -> None:
    """b moves, its hint and everything to its old address is lost; only DNS knows."""
    net = Network(seed=13)
    a, b = pair(net)
    b.node.host.policy = Policy(hints=False)
    b.move_to("203.0.113.9")
    assert net.run_until(lambda: a.can_reach(b), limit_s=10) < 3


def test_stranger_that_dns_does_not_vouch_for_gets_no_answer() -> None:
    net = Network(seed=14)
    b = net.host("b.example")
    mallory = net.host("m.example", in_dns=False)
    net.run_for(0.1)
    mallory.resolve(b)
    net.run_for(20)
    assert mallory.token_of(b) is None
    assert mallory.failed[b.name]
    assert mallory.name not in b.node.peers
    assert not [line for line in net.trace if line[1] == b.name and line[2] == mallory.name]


def test_name_outside_of_accept_is_not_even_looked_up() -> None:
    net = Network(seed=15)
    b = net.host("b.example")
    stranger = net.host("x.elsewhere.test")
    net.run_for(0.1)
    stranger.resolve(b)
    net.run_for(10)
    assert stranger.token_of(b) is None
    assert b.lookups == []


def test_who_asks_again_does_not_wait_for_the_gap_that_grew() -> None:
    net = Network(seed=15, latency_s=0.02)
    a, b = net.host("a.example"), net.host("b.example")
    net.run_for(0.1)
    b.crash()
    a.resolve(b)
    net.run_for(40)
    assert b.name in a.failed
    assert a.node.peers[b.name].initiator.active
    b.boot()
    assert net.run_until(lambda: a.can_reach(b)) < 0.3


def test_who_asks_again_and_again_sends_no_flood() -> None:
    net = Network(seed=16)
    a, b = net.host("a.example"), net.host("b.example")
    net.run_for(0.1)
    b.crash()
    for _ in range(300):
        a.resolve(b)
        net.run_for(0.01)
    tries = [
        text for _, source, to, text in net.trace if (source, to, text) == (a.name, b.name, "handshake 1")
    ]
    assert 1 < len(tries) <= 3 / Policy().handshake_retry_s + 1


def test_forgotten_peer_is_met_as_a_stranger() -> None:
    net = Network(seed=16)
    a, b = pair(net)
    token = a.token_of(b)
    a._carry_out(a.node.people.forget(b.name))
    assert b.name not in a.node.peers
    assert a.token_of(b) is None
    assert b.name not in a.disk.peers
    assert b.name not in a.disk.bindings
    meet(net, a, b)
    assert a.token_of(b) == token  # quarantined against other names, not against its own


def test_nothing_is_lost_and_nothing_doubled_by_a_move() -> None:
    """One datagram a millisecond each way, all along; a, b, then both move, away for up to a second."""
    net = Network(seed=17, latency_s=0.01)
    a, b = pair(net)
    net.run_for(1)
    a.received.clear()
    b.received.clear()
    sent = 0

    def talk(seconds: float) -> None:
        nonlocal sent
        for _ in range(round(seconds * 1000)):
            a.send(b, sent.to_bytes(4, "big"))
            b.send(a, sent.to_bytes(4, "big"))
            sent += 1
            net.run_for(0.001)

    for away_s in (0.0, 0.1, 1.0):
        for movers in ((a,), (b,), (a, b)):
            for host in movers:
                host.move_to(None)
            talk(away_s)
            for host in movers:
                host.move_to(net.new_address())
            talk(1)
    net.run_for(5)
    expected = [number.to_bytes(4, "big") for number in range(sent)]
    assert sorted(a.received) == expected
    assert sorted(b.received) == expected


def test_of_several_locators_that_answer_the_first_is_used() -> None:
    """What DNS adds is probed; a peer that is where it was stays there."""
    net = Network(seed=18)
    a, b = pair(net)
    net.run_for(1)
    peer = a.node.peers[b.name]
    at = peer.mapping.current
    assert at is not None
    elsewhere = structs.replace(at, host="198.51.100.99")
    b.aliases = {elsewhere}
    found = structs.replace(net.result(b.name), addresses=(elsewhere.host,))
    a.handle_lookup(found)
    net.run_for(1)
    assert elsewhere in peer.mapping.candidates()
    assert peer.mapping.current == at


def test_another_key_in_dns_is_a_warning_and_changes_nothing() -> None:
    """A forged TXT record must not cut off a known peer."""
    net = Network(seed=19)
    a, b = pair(net)
    forged = structs.replace(net.result(b.name), key=a.public_key[::-1])
    a.handle_lookup(forged)
    a.handle_lookup(forged)
    assert [event.name for event in a.logs if event.level == "warning"] == ["trust.dns_has_another_key"]
    assert a.node.peers[b.name].key == b.public_key
    meet(net, a, b)


def test_dns_makes_trust_on_first_use_stronger_and_nothing_weaker() -> None:
    net = Network(seed=20)
    a, b = pair(net)
    peer = a.node.peers[b.name]
    for before, after in (("tofu", "dns"), ("pinned", "pinned"), ("dnssec", "dnssec")):
        peer.remember(trust=before)
        a.handle_lookup(net.result(b.name))
        assert peer.known.trust == after


def test_a_token_that_gets_in_the_way_of_the_host_is_given_up() -> None:
    """The host has come into a network that is inside the token subnet."""
    net = Network(seed=21)
    a, b = pair(net)
    token = a.token_of(b)
    assert token is not None
    a._carry_out(a.node.handle_host_networks((IPv4Network(token),), net.now))
    assert any(event.name == "binding.revoked" for event in a.logs)
    net.run_for(2)
    meet(net, a, b)
    assert a.token_of(b) not in (None, token)
    binding = b.node.peers[a.name].binding
    assert binding is not None
    assert binding.local_token == a.token_of(b)


def test_a_forgotten_peer_s_timers_bring_nothing_back() -> None:
    """Leaving the Active Partner List is a store write: not for who is not stored any more."""
    net = Network(seed=22)
    a, b = pair(net)
    a._carry_out(a.node.people.forget(b.name))
    b.crash()
    net.run_for(Policy().lease_s + 300)
    assert b.name not in a.disk.peers
