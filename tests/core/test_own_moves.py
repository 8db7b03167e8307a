"""Our own moves, and the fall-back over DNS where hints do not arrive."""

from __future__ import annotations

from tests.core.pairs import ELSEWHERE, Tap, locator, meet, pair, peer_at, session_at
from tests.sim.network import Network

from vipnet.policy import REKEY_AFTER_S, Policy, paper_policy
from vipnet.wire.handshake import HandshakeType


def test_no_hint_leaves_while_this_host_is_nowhere_and_one_when_it_is_back() -> None:
    net = Network(15)
    a, b = pair(net)
    tap = Tap(net)
    tap.stop = lambda sender, transmit: True
    a.move_to(net.new_address())  # its hint is lost, and would be sent again
    a.move_to(None)
    tap.seen.clear()
    net.run_for(1)
    assert peer_at(a, b).hints is None
    assert len(tap.from_host(a)) <= 5  # nothing that repeats
    tap.stop = lambda sender, transmit: False
    a.move_to("198.51.100.7")
    assert net.run_until(lambda: b.can_reach(a)) < 0.2
    assert peer_at(b, a).mapping.locators == (locator(a),)


def test_leaving_and_coming_back_to_the_same_address_is_a_move() -> None:
    net = Network(16)
    a, b = pair(net)
    before, home = a.node.host.move_number, locator(a).host
    a.move_to(None)
    net.run_for(0.5)
    a.move_to(home)
    net.run_for(0.5)
    assert a.node.host.move_number > before + 1
    assert peer_at(b, a).mapping.move_number == a.node.host.move_number
    meet(net, a, b)


def test_move_numbers_grow_over_crashes_and_clocks_that_go_back() -> None:
    net = Network(17)
    a, b = pair(net)
    seen = [a.node.host.move_number]
    for _ in range(3):
        a.crash()
        a.clock_error_s -= 3600
        a.boot()
        a.move_to(net.new_address())
        seen.append(a.node.host.move_number)
    assert seen == sorted(set(seen))
    meet(net, a, b)


def test_a_restarted_host_believes_the_handshake_not_the_number_it_had_stored() -> None:
    """B lost its store and its clock; A restarted too: nobody knows a boot id."""
    net = Network(18)
    a, b = pair(net)
    for host in (a, b):
        host.crash()
    b.disk = type(b.disk)()
    b.clock_error_s = -1e9
    b.move_to("203.0.113.9")
    net.run_for(1)
    b.boot()
    a.boot()
    meet(net, a, b)
    assert peer_at(a, b).mapping.move_number == b.node.host.move_number
    b.move_to("203.0.113.10")
    net.run_for(1)
    assert a.node.host.counters.get("hint_out_of_order", 0) == 0
    assert peer_at(a, b).mapping.locators == (locator(b),)


def test_without_hints_the_partner_finds_us_by_our_datagrams_or_by_dns() -> None:
    """The ablation of the figures."""
    net = Network(19)
    a, b = pair(net, policy=Policy(hints=False))
    a.move_to("198.51.100.7")
    assert 0.1 < net.run_until(lambda: b.can_reach(a), limit_s=10) < 3
    assert peer_at(a, b).hints is None


def test_profile_paper_one_sided_needs_no_dns_two_sided_waits_500_ms() -> None:
    net = Network(20)
    a, b = pair(net, policy=paper_policy())
    start = len(net.trace)
    a.move_to("198.51.100.7")
    assert net.run_until(lambda: b.can_reach(a)) < 0.1
    assert not [line for line in net.trace[start:] if line[2] == "DNS"]
    a.move_to("198.51.100.8")
    b.move_to("203.0.113.9")
    assert 0.5 < net.run_until(lambda: a.can_reach(b)) < 0.7


def test_a_rekey_that_is_due_while_both_move_asks_dns_no_sooner_than_the_hint() -> None:
    net = Network(20)
    a, b = pair(net, policy=paper_policy())
    due_at = session_at(a, b).begun_at + REKEY_AFTER_S
    while net.now < due_at - 0.1:
        a.send(b, b"tick")
        net.run_for(min(10, due_at - 0.1 - net.now))
    a.move_to("198.51.100.8")
    b.move_to("203.0.113.9")
    moved_at, start = net.now, len(net.trace)
    while net.now < moved_at + 1:
        a.send(b, b"tick")
        net.run_for(0.01)
    assert any(line[3] == "handshake 1" for line in net.trace[start:])  # or nothing is shown here
    asked = [line[0] - moved_at for line in net.trace[start:] if line[2] == "DNS"]
    assert 0.5 <= min(asked) < 0.55


def test_the_reported_gap_is_the_silence_of_data() -> None:
    net = Network(21, latency_s=0.02)
    a, b = pair(net)
    for number in range(100):
        net.at(number * 0.01, lambda: b.send(a, b"tick"))
    net.run_for(0.305)
    a.move_to("198.51.100.7")
    net.run_for(1)
    (line,) = a.moves[max(a.moves)].partners
    assert line.gap_ms is not None
    # the hint's way 20 ms, the data's way 20 ms, and the wait for the next tick
    assert 30 < line.gap_ms < 70


# --- the fall-back over DNS


def test_one_lookup_is_under_way_at_a_time() -> None:
    net = Network(22)
    a, b = pair(net)
    net.run_for(1)
    net.dns_latency_s = 30
    a.lookups.clear()
    a.move_to("198.51.100.7")
    b.crash()
    for _ in range(40):
        a.send(b, b"hello")
        a.resolve(b)  # an application's look-up is another matter
        net.run_for(0.1)
    assert len([wanted for wanted in a.lookups if wanted.name == b.name]) == 1


def test_dns_moves_no_mapping_by_itself() -> None:
    """A lagging secondary, or a forger, must not cost a live peer."""
    net = Network(23)
    a, b = pair(net)
    net.zone[b.name] = ELSEWHERE.host
    tap = Tap(net)
    a.resolve(b)
    assert {t.destination for t in tap.from_host(a)} == {locator(b), ELSEWHERE}
    net.run_for(2)
    assert peer_at(a, b).mapping.current == locator(b)
    assert net.run_until(lambda: a.can_reach(b)) < 0.1


def test_a_dead_path_leads_to_challenges_then_dns_and_a_handshake() -> None:
    net = Network(24)
    a, b = pair(net)
    net.run_for(5)
    b.crash()
    tap, start = Tap(net), net.now
    a.send(b, b"hello")
    net.run_for(1.3)
    sealed = [t for t in tap.from_host(a) if bytes(t.payload[:4]) != bytes(4)]
    assert len(sealed) == 1 + Policy().probes
    assert len(tap.handshakes(a, HandshakeType.IK_INIT)) == 1
    assert [wanted.reason for wanted in a.lookups if wanted.authoritative] == ["path is dead"]
    assert net.now - start < 1.4
