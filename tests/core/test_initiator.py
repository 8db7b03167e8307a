"""Handshakes that we begin: retries, time-outs, and answers that are not worth much."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.core.pairs import ELSEWHERE, Tap, locator, meet, pair, peer_at
from tests.sim.network import Network

from vipnet.errors import PeerError
from vipnet.policy import Policy
from vipnet.wire.handshake import HandshakeType

INIT, RESPONSE = HandshakeType.IK_INIT, HandshakeType.IK_RESPONSE


def test_tries_begin_after_250_ms_with_jitter_double_up_to_5_s_and_end_after_90_s() -> None:
    net = Network(1)
    a, b = pair(net)
    b.crash()
    a.crash()
    sent = len(net.trace)
    a.boot()
    net.run_for(300)
    times = sorted({at for at, _, target, _ in net.trace[sent:] if target != "DNS"})
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert 3 * Policy().initial_rtt_s <= gaps[0] <= 3 * Policy().initial_rtt_s * 1.25 + 1e-6
    assert all(later >= earlier * 0.8 for earlier, later in pairwise(gaps))
    assert 5.0 <= gaps[-1] <= 6.25
    assert 80 < times[-1] - times[0] < 100


def test_each_try_has_keys_and_a_timestamp_of_its_own() -> None:
    net = Network(2)
    a, _ = pair(net)
    tap = Tap(net)
    tap.stop = lambda sender, transmit: True
    a.crash()
    a.boot()
    net.run_for(5)
    inits = tap.handshakes(a, INIT)
    assert len(inits) >= 3
    assert len({data[10:42] for data in inits}) == len(inits)  # ephemeral keys
    assert a.disk.clock.timestamp >= len(inits)


def test_a_move_tries_at_once() -> None:
    """A mobile host cannot wait out a back-off."""
    net = Network(3)
    a, b = pair(net)
    b.crash()
    a.crash()
    a.boot()
    net.run_for(60)
    b.boot()
    tap = Tap(net)
    a.move_to(net.new_address())
    assert len(tap.handshakes(a, INIT)) >= 1


def test_a_late_or_doubled_answer_does_nothing() -> None:
    net = Network(4)
    tap = Tap(net)
    a, b = pair(net)
    response = tap.handshakes(b, RESPONSE)[-1]
    session = peer_at(a, b).sessions.newest
    with pytest.raises(PeerError):
        a.node.handle_datagram(response, locator(b), net.now)
    assert peer_at(a, b).sessions.newest is session


def test_a_forged_answer_leaves_the_try_alive() -> None:
    net = Network(5)
    a, b = net.host("a.example"), net.host("b.example")
    net.run_for(0.1)
    tap = Tap(net)
    a.resolve(b)
    init = tap.handshakes(a, INIT)[0]
    forged = bytes(4) + init[4:5] + bytes((RESPONSE,)) + b"\0\0\0\7" + init[6:10] + bytes(32 + 16 + 32)
    for _ in range(5):
        with pytest.raises(PeerError):
            a.node.handle_datagram(forged, ELSEWHERE, net.now)
    assert net.run_until(lambda: a.can_reach(b)) < 0.3


def test_tries_are_few_in_memory() -> None:
    net = Network(6)
    a, b = pair(net)
    b.crash()
    a.crash()
    a.boot()
    net.run_for(80)
    assert 1 <= len(a.node.host.indexes) <= 4
    net.run_for(60)
    assert len(a.node.host.indexes) == 0


@pytest.mark.parametrize("seed", range(8))
def test_crossing_handshakes_end_in_one_session_for_sending(seed: int) -> None:
    net = Network(seed, jitter_s=0.01)
    a, b = net.host("a.example"), net.host("b.example")
    net.run_for(0.1)
    a.resolve(b)
    b.resolve(a)
    meet(net, a, b)
    net.run_for(1)
    ours, theirs = peer_at(a, b).sessions.newest, peer_at(b, a).sessions.newest
    assert ours is not None
    assert theirs is not None
    assert (ours.local_index, ours.remote_index) == (theirs.remote_index, theirs.local_index)


def test_crossing_rekeys_lose_nothing() -> None:
    net = Network(20)
    a, b = pair(net)
    sent = 0
    for _ in range(400):  # of 1 s: several rekeys, begun by both at the same time
        a.send(b, b"a%d" % sent)
        b.send(a, b"b%d" % sent)
        sent += 1
        net.run_for(1)
    assert sum(body.startswith(b"a") and body[1:].isdigit() for body in b.received) == sent
    assert sum(body.startswith(b"b") and body[1:].isdigit() for body in a.received) == sent
    assert len(peer_at(a, b).sessions.all()) <= 4
    assert len(a.node.host.indexes) <= 8


def test_an_answer_to_a_try_before_a_move_does_not_hide_the_move() -> None:
    """Both addresses work for a while; the peer answers the earlier init, that ends the later one."""
    net = Network(21, latency_s=0.1)
    a, b = pair(net)
    a.crash()
    tap = Tap(net)
    a.boot()
    net.run_for(0.1)
    old = locator(a)
    a.move_to("198.51.100.7")
    response = None
    while response is None:
        net.run_for(0.01)
        response = next(iter(tap.handshakes(b, RESPONSE)), None)
    assert tap.from_host(b)[-1].destination == old
    a.handle_datagram(response, locator(b))
    net.run_for(1)
    assert peer_at(b, a).mapping.locators == (locator(a),)
    assert peer_at(b, a).mapping.current == locator(a)
