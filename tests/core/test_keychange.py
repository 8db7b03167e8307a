"""Another key: announced under the old one, heard late, vouched for by DNSSEC, or refused."""

from __future__ import annotations

import pytest
from msgspec import structs
from tests.core.pairs import Tap, locator, meet, pair, peer_at, seal, session_at
from tests.sim.network import Network, SimHost

from vipnet.core.outputs import LookupResult, StoreOldKey
from vipnet.core.trust import ListedPeer
from vipnet.crypto.noise import public_key
from vipnet.errors import PeerError, ProtocolError
from vipnet.policy import DEFAULT_PORT, Policy
from vipnet.types import PublicKey, fingerprint
from vipnet.wire.control import KeyRotation
from vipnet.wire.handshake import HandshakeType

INIT = HandshakeType.IK_INIT


def events(host: SimHost, name: str) -> list[dict[str, object]]:
    return [event.fields for event in host.logs if event.name == name]


def knows(host: SimHost, other: SimHost) -> bool:
    """On disk and in memory: the key that OTHER has now."""
    stored = host.disk.peers[other.name].key
    return stored == peer_at(host, other).key == other.public_key


def ignorant(seed: int, **options: object) -> tuple[Network, SimHost, SimHost]:
    """A has rotated while B was away; DNS says nothing of keys."""
    net = Network(seed)
    a, b = pair(net, **options)
    for host in (a, b):
        host.in_dns = False
    b.crash()
    net.run_for(200)  # no session is left
    a.rotate()
    b.boot()
    return net, a, b


# --- announced


@pytest.mark.parametrize("seed", range(8))  # of the keys, old and new: all orders of them are there
def test_a_partner_who_is_there_follows_and_nothing_is_interrupted(seed: int) -> None:
    net = Network(seed)
    a, b = pair(net)
    tokens, old_session = a.token_of(b), session_at(b, a)
    old = a.public_key
    a.rotate()
    for number in range(20):
        a.send(b, b"a%d" % number)
        b.send(a, b"b%d" % number)
        net.run_for(0.01)
    net.run_for(0.2)
    assert [b"a%d" % number for number in range(20)] == list(b.received)[-20:]
    assert [b"b%d" % number for number in range(20)] == list(a.received)[-20:]
    assert knows(b, a)
    assert peer_at(a, b).own.public == a.public_key
    assert session_at(b, a) is not old_session
    assert old_session in peer_at(b, a).sessions.all()
    assert a.token_of(b) == tokens
    (said,) = events(b, "trust.key_rotated")
    assert (said["from"], said["to"]) == (fingerprint(old), fingerprint(a.public_key))
    assert peer_at(b, a).known.previous_keys == (old,)
    assert peer_at(b, a).known.trust == "dns"


def test_both_rotate_at_once() -> None:
    net = Network(20)
    a, b = pair(net)
    for _ in range(3):
        a.rotate()
        b.rotate()
        net.run_for(5)
        assert knows(a, b)
        assert knows(b, a)
        meet(net, a, b)


def test_an_announcement_that_is_lost_is_made_again() -> None:
    net = Network(21)
    a, b = pair(net)
    net.loss = 1.0
    a.rotate()
    net.run_for(0.5)
    assert not knows(b, a)
    net.loss = 0.0
    net.run_for(5)
    assert knows(b, a)
    tap = Tap(net)
    net.run_for(20)
    assert peer_at(a, b).announce_at is None
    assert tap.from_host(a) == []


def test_a_partner_who_was_away_is_told_when_it_comes_back() -> None:
    """It speaks to the old key, which still answers, and learns the new one under it."""
    net, a, b = ignorant(22)
    assert a.disk.old_keys
    b.send(a, b"hello")
    net.run_for(2)
    assert b"hello" in a.received
    assert knows(b, a)


def test_a_host_speaks_by_its_old_key_to_who_knows_no_other() -> None:
    net, a, b = ignorant(23)
    a.crash()
    a.boot()  # which key who knows it by is on disk
    a.send(b, b"hello")
    net.run_for(2)
    assert b"hello" in b.received
    assert knows(b, a)
    assert events(b, "trust.key_changed") == []


def test_a_stranger_whose_resolver_remembers_the_old_key() -> None:
    net = Network(33)
    a, c = net.host("a.example"), net.host("c.example")
    net.run_for(0.1)
    before = net.result(a.name)
    a.rotate()
    c._carry_out(c.node.want_binding(before, net.now))
    net.run_for(2)
    assert c.token_of(a) is not None
    assert knows(c, a)


@pytest.mark.parametrize("seed", range(4))
def test_a_partner_that_lost_its_store_meanwhile(seed: int) -> None:
    """It knows of us what DNS says, which is not the key that we believe it knows."""
    net = Network(100 + seed)
    a, b = pair(net)
    b.lose_disk()
    net.run_for(200)
    a.rotate()
    b.boot()
    assert peer_at(a, b).own.public != a.public_key
    net.run_until(lambda: a.can_reach(b), 10)
    assert knows(b, a)
    assert peer_at(a, b).own.public == a.public_key
    meet(net, a, b)


def test_a_partner_that_has_only_heard_of_us_before() -> None:
    """It has our old key from DNS, and we have never met."""
    net = Network(110)
    a, b = net.host("a.example"), net.host("b.example")
    net.run_for(0.1)
    net.blocked.add(frozenset((locator(a).host, locator(b).host)))
    b.resolve(a)
    net.run_for(100)
    a.rotate()
    net.blocked.clear()
    net.run_until(lambda: a.can_reach(b), 10)
    assert knows(b, a)


def test_two_rotations_are_one_for_who_was_away() -> None:
    net, a, b = ignorant(24)
    a.rotate()
    assert len(a.disk.old_keys) == 2
    b.send(a, b"hello")
    net.run_for(2)
    assert knows(b, a)
    assert len(peer_at(b, a).known.previous_keys) == 1


def test_an_answer_to_the_announcement_that_is_lost_for_good() -> None:
    """B knows the new key, A restarts and believes that it does not: B shows that it does."""
    net = Network(25)
    a, b = pair(net)
    tap = Tap(net)
    tap.stop = lambda sender, transmit: sender is b
    a.rotate()
    net.run_for(1)
    assert peer_at(b, a).key == a.public_key
    a.crash()
    b.crash()
    tap.stop = lambda sender, transmit: False
    a.boot()
    b.boot()
    assert peer_at(a, b).own.public != a.public_key
    net.run_for(10)
    assert peer_at(a, b).own.public == a.public_key
    meet(net, a, b)
    assert events(b, "trust.key_changed") == []


def test_an_old_init_to_an_old_key_is_no_way_in() -> None:
    net = Network(26)
    tap = Tap(net)
    a, b = pair(net)
    inits = tap.handshakes(b, INIT) + tap.handshakes(a, INIT)
    a.rotate()
    net.run_for(2)
    before = peer_at(a, b).own, peer_at(b, a).known
    for init in inits:
        for host, other in ((a, b), (b, a)):
            try:
                host.handle_datagram(init, locator(other))
            except PeerError:
                continue
    net.run_for(1)
    assert peer_at(a, b).own == before[0]
    assert peer_at(b, a).known.key == before[1].key
    meet(net, a, b)


def test_who_greets_with_a_previous_key_again_and_again_costs_one_handshake_in_five_seconds() -> None:
    net = Network(27)
    a, b = pair(net)
    tap = Tap(net)
    tap.stop = lambda sender, transmit: True
    a.crash()
    a.boot()
    init = tap.handshakes(a, INIT)[0]
    peer_at(b, a).change_key(PublicKey(public_key(bytes([7]) * 32)), "dns")
    tap.seen.clear()
    for _ in range(20):
        b.handle_datagram(init, locator(a))
    assert len(tap.handshakes(b, INIT)) == 1


def test_a_late_announcement_does_not_bring_an_older_key_back() -> None:
    net = Network(28)
    a, b = pair(net)
    a.rotate()
    late = seal(a, b, KeyRotation(a.public_key))  # under the session of the first key
    net.run_for(2)
    a.rotate()
    net.run_for(2)
    assert knows(b, a)
    b.handle_datagram(late, locator(a))
    assert knows(b, a)
    assert b.node.host.counters["late_key_rotation"] == 1


@pytest.mark.parametrize("whose", ["nobody's", "ours", "a previous one"])
def test_a_key_that_cannot_be_the_next(whose: str) -> None:
    net = Network(29)
    a, b = pair(net)
    first = a.public_key
    a.rotate()
    net.run_for(2)
    key = {"nobody's": bytes(32), "ours": b.public_key, "a previous one": first}[whose]
    with pytest.raises(ProtocolError, match="cannot be its next"):
        b.node.handle_datagram(seal(a, b, KeyRotation(key)), locator(a), net.now)
    assert knows(b, a)


def test_an_old_key_is_destroyed_in_the_end() -> None:
    net = Network(30)
    a, b = pair(net, policy=Policy(old_key_s=1000.0))
    a.rotate()
    (old,) = a.disk.old_keys.values()
    net.run_for(900)
    assert list(a.disk.old_keys.values()) == [old]
    net.run_for(200)
    a.send(b, b"hello")
    net.run_for(1)
    assert a.disk.old_keys == {}
    assert a.node.host.own_keys == [a.node.host.key]


def test_no_more_old_keys_than_some() -> None:
    net = Network(31)
    a = net.host("a.example")
    for _ in range(10):
        a.rotate()
    assert len(a.node.host.old_keys) == len(a.disk.old_keys) == a.policy.old_keys


def test_a_crash_between_the_store_and_the_key_file() -> None:
    """The key is stored as an old one, and still is the key."""
    net = Network(32)
    a, b = pair(net)
    a.disk.apply(StoreOldKey(a.public_key, a.private_key, 1e12))
    a.crash()
    a.boot()
    assert a.node.host.old_keys == {}
    meet(net, a, b)
    a.rotate()
    net.run_for(2)
    assert knows(b, a)


# --- refused


def test_after_forgetting_the_old_key_nobody_follows_by_itself() -> None:
    """The old key may be in wrong hands: what it says counts for nothing."""
    net = Network(40)
    a, b = pair(net)
    a.in_dns = b.in_dns = False
    known = a.public_key
    a.rotate(forget_old=True)
    assert a.disk.old_keys == {}
    net.run_for(200)
    a.send(b, b"hello")
    net.run_for(5)
    assert b"hello" not in b.received
    (said,) = events(b, "trust.key_changed")
    assert (said["known"], said["offered"]) == (fingerprint(known), fingerprint(a.public_key))
    assert said["if_it_is_right"] == "vipnet trust accept-new-key a.example"
    refused = peer_at(b, a).refused_key
    assert refused == a.public_key
    b._carry_out(b.node.people.accept_key(a.name, refused, net.now))
    net.run_for(2)
    assert knows(b, a)
    assert peer_at(b, a).known.trust == "pinned"
    meet(net, a, b)


def test_another_key_in_plain_dns_is_a_warning_and_a_question() -> None:
    net = Network(41)
    a, b = pair(net)
    key = peer_at(b, a).key
    other = LookupResult(a.name, (locator(a).host,), PublicKey(bytes([9]) * 32), DEFAULT_PORT)
    for _ in range(3):
        b.handle_lookup(other)
    assert peer_at(b, a).key == key
    assert len(events(b, "trust.dns_has_another_key")) == 1
    assert [wanted.verify for wanted in b.lookups if wanted.reason == "another key in DNS"] == [True]


# --- vouched for


def secure(a: SimHost, key: PublicKey) -> LookupResult:
    return LookupResult(a.name, (locator(a).host,), key, DEFAULT_PORT, secure=True)


def test_what_dnssec_says_is_a_change_and_stays_one() -> None:
    net = Network(50)
    a, b = pair(net)
    first = a.public_key
    b.handle_lookup(secure(a, first))
    assert peer_at(b, a).known.trust == "dnssec"
    a.rotate(forget_old=True)
    b.handle_lookup(secure(a, a.public_key))
    assert knows(b, a)
    b.handle_lookup(secure(a, first))  # an old answer, whose signature is still good
    assert knows(b, a)
    meet(net, a, b)


def test_dnssec_vouches_for_who_knocks_with_another_key() -> None:
    net = Network(51)
    a, b = pair(net)
    net.dns_secure = True
    a.rotate(forget_old=True)
    net.run_for(200)
    a.send(b, b"hello")
    net.run_for(5)
    assert b"hello" in b.received
    assert knows(b, a)
    assert peer_at(b, a).known.trust == "dnssec"


def test_what_was_pinned_by_hand_is_not_changed_by_dns() -> None:
    net = Network(52)
    a, b = pair(net)
    peer_at(b, a).remember(trust="pinned")
    net.dns_secure = True
    key = a.public_key
    a.rotate(forget_old=True)
    net.run_for(200)
    a.send(b, b"hello")
    net.run_for(5)
    assert peer_at(b, a).key == key
    assert len(events(b, "trust.key_changed")) == 1


# --- by hand


def test_a_pin_in_the_configuration_that_the_peer_has_rotated_away_from() -> None:
    net = Network(60)
    a = net.host("a.example")
    b = net.host("b.example", listed=(ListedPeer(a.name, a.public_key),))
    net.run_for(0.1)
    meet(net, a, b)
    a.rotate()
    net.run_for(2)
    assert knows(b, a)
    b.crash()
    b.boot()
    assert knows(b, a)
    assert peer_at(b, a).known.trust == "pinned"
    (said,) = events(b, "trust.configured_key_is_outdated")
    assert said["known"] == fingerprint(a.public_key)


def test_a_pin_in_the_configuration_overrules_what_was_learned() -> None:
    """Also a key that the stored one has taken the place of, unless that was pinned."""
    net = Network(63)
    a, b = pair(net)
    first = a.public_key
    a.rotate()
    net.run_for(2)
    assert peer_at(b, a).known.previous_keys == (first,)
    b.crash()
    b.listed = (ListedPeer(a.name, first),)
    b.boot()
    assert (b.disk.peers[a.name].key, b.disk.peers[a.name].trust) == (first, "pinned")
    net.run_until(lambda: b.can_reach(a), 30)  # the old key still answers, and announces the present one
    net.run_for(2)
    assert knows(b, a)
    assert peer_at(b, a).known.trust == "pinned"


def test_pinning_somebody_unknown() -> None:
    net = Network(61)
    a, b = net.host("a.example"), net.host("b.example")
    b._carry_out(b.node.people.pin(a.name, a.public_key, (locator(a),), net.now))
    net.dns_down = True
    b._carry_out(b.node.want_binding(LookupResult(a.name, failed=True), net.now))
    a._carry_out(a.node.people.pin(b.name, b.public_key, (), net.now))
    net.run_for(2)
    assert b.token_of(a) is not None
    assert structs.astuple(b.disk.peers[a.name])[1:3] == (a.public_key, "pinned")


def test_accepting_a_key_that_was_rotated_away() -> None:
    """Whoever types it knows better than what was announced."""
    net = Network(62)
    a, b = pair(net)
    first = a.public_key
    a.rotate()
    net.run_for(2)
    b._carry_out(b.node.people.accept_key(a.name, first, net.now))
    assert peer_at(b, a).known.key == first
    assert peer_at(b, a).known.previous_keys == ()
