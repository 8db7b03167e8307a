"""Handshakes that others begin: whom this host answers, and what strangers can make it do."""

from __future__ import annotations

import pytest
from tests.core.pairs import ELSEWHERE, Tap, decoded, locator, meet, pair, peer_at, session_at
from tests.sim.network import Network, SimHost

from vipnet.core.outputs import LookupResult, StorePeer, Transmit
from vipnet.core.trust import AcceptPolicy, ListedPeer
from vipnet.crypto.noise import public_key
from vipnet.errors import PeerError, ProtocolError
from vipnet.policy import INIT_SIZE, Policy
from vipnet.types import Locator, fingerprint, parse_name
from vipnet.wire.handshake import CookieReply, HandshakeType, decode_handshake

INIT, RESPONSE = HandshakeType.IK_INIT, HandshakeType.IK_RESPONSE


def answers(host: SimHost, data: bytes, source: Locator) -> list[Transmit]:
    outputs = host.node.handle_datagram(data, source, host.net.now)
    return [output for output in outputs if isinstance(output, Transmit)]


def test_an_answer_is_never_longer_than_the_init() -> None:
    net = Network(1)
    tap = Tap(net)
    a, b = pair(net)
    sent = tap.handshakes(a, INIT) + tap.handshakes(b, INIT)
    answered = tap.handshakes(a, RESPONSE) + tap.handshakes(b, RESPONSE)
    assert sent
    assert answered
    assert {len(data) for data in sent} == {INIT_SIZE}
    assert max(map(len, answered)) <= INIT_SIZE


def test_a_replayed_init_changes_nothing() -> None:
    """It is answered by `stale` and nothing else: no session, no move, no traffic to its source."""
    net = Network(2)
    tap = Tap(net)
    a, b = pair(net)
    (init,) = tap.handshakes(a, INIT)[-1:]
    peer = peer_at(b, a)
    before = session_at(b, a), peer.mapping.current, peer.known, len(peer.sessions.all())
    for _ in range(20):
        (answer,) = answers(b, init, ELSEWHERE)
        assert decoded(bytes(answer.payload)).type is RESPONSE
        assert len(answer.payload) < len(init)
    assert (session_at(b, a), peer.mapping.current, peer.known, len(peer.sessions.all())) == before
    assert b.node.host.counters["stale_init"] == 20
    meet(net, a, b)


def test_copies_of_an_init_get_one_session_and_the_same_answer() -> None:
    """Who replays an init that is under way must not push out the session that it begins."""
    net = Network(3)
    a, b = pair(net)
    tap = Tap(net)
    tap.stop = lambda sender, transmit: True
    b.crash()
    b.boot()
    init = tap.handshakes(b, INIT)[0]
    tap.seen.clear()
    first = answers(a, init, locator(b))
    copies = [answers(a, init, ELSEWHERE)[0] for _ in range(10)]
    assert {bytes(copy.payload) for copy in copies} == {bytes(first[0].payload)}
    assert {copy.destination for copy in copies} == {ELSEWHERE}
    unconfirmed = [session for session in peer_at(a, b).sessions.all() if not session.confirmed]
    assert len(unconfirmed) == 1


def test_a_host_whose_clock_went_back_is_not_locked_out() -> None:
    net = Network(4)
    a, b = pair(net)
    a.crash()
    a.disk.clock = type(a.disk.clock)(0, 0)
    a.clock_error_s = -1e9
    a.boot()
    assert net.run_until(lambda: a.can_reach(b)) < 1
    assert b.node.host.counters["stale_init"] >= 1


def test_a_peer_cannot_spoil_the_timestamps_for_others() -> None:
    """B has seen the greatest timestamp there is; that is between A and B."""
    net = Network(5)
    a, b = pair(net)
    c = net.host("c.example")
    net.run_for(0.1)
    peer_at(b, a).remember(timestamp=2**63 - 2)
    a.crash()
    a.boot()
    net.run_for(5)
    assert b.node.host.counters["stale_init"] >= 1
    assert net.run_until(lambda: a.can_reach(c)) < 1
    assert c.node.peers[a.name].known.timestamp < 2**60


def test_another_key_is_refused_and_said_once() -> None:
    net = Network(6)
    a, b = pair(net)
    key = peer_at(b, a).key
    a.crash()
    a.private_key = net.random.randbytes(32)
    a.disk = type(a.disk)()
    a.boot()
    a.resolve(b)
    net.run_for(5)
    assert a.token_of(b) is None
    assert peer_at(b, a).key == key
    warnings = [event for event in b.logs if event.name == "trust.key_changed"]
    assert len(warnings) == 1
    assert warnings[0].fields["known"] == fingerprint(key)
    assert warnings[0].fields["offered"] == fingerprint(a.public_key)
    assert warnings[0].fields["if_it_is_right"] == f"vipnet trust accept-new-key {a.name}"


def test_a_wrong_psk_leads_to_no_session() -> None:
    net = Network(7)
    names = parse_name("a.example"), parse_name("b.example")
    a = net.host(names[0])
    b = net.host(names[1], listed=(ListedPeer(names[0], a.public_key, psk=b"p" * 32),))
    net.run_for(0.1)
    a.resolve(b)
    b.resolve(a)
    net.run_for(10)
    assert a.token_of(b) is None
    assert b.token_of(a) is None
    assert a.refused["CryptoError"] > 0
    assert not [s for s in b.node.peers[a.name].sessions.all() if s.confirmed]


def test_the_same_psk_leads_to_one() -> None:
    net = Network(8)
    names, keys = ("a.example", "b.example"), (b"\1" * 32, b"\2" * 32)
    listed = [
        ListedPeer(parse_name(name), public_key(key), psk=b"p" * 32)
        for name, key in zip(names, keys, strict=True)
    ]
    a = net.host(names[0], private_key=keys[0], listed=(listed[1],))
    b = net.host(names[1], private_key=keys[1], listed=(listed[0],))
    net.run_for(0.1)
    meet(net, a, b)
    assert b.disk.peers[a.name].trust == "pinned"


def test_a_peer_may_open_no_session_once_accept_from_is_narrowed() -> None:
    net = Network(9)
    a, b = net.host("a.example"), net.host("b.example")
    net.run_for(0.1)
    net.run_until(lambda: a.can_reach(b))
    assert not b.disk.peers[a.name].contacted
    b.crash()
    b.accept = AcceptPolicy(("other.example",))
    b.disk.peers[a.name] = StorePeer(a.name, a.public_key, "dns", timestamp=b.disk.peers[a.name].timestamp)
    b.boot()
    tap = Tap(net)
    for _ in range(50):
        a.send(b, b"hello")
        net.run_for(0.1)
    assert tap.handshakes(a, INIT)
    assert tap.handshakes(b, RESPONSE) == []
    assert b.node.host.counters["not_accepted"] > 0
    b.resolve(a)  # whom an application asks for is always allowed
    meet(net, a, b)


def test_under_load_only_who_shows_a_cookie_is_worked_for() -> None:
    net = Network(10)
    policy = Policy(stranger_inits_per_s=2)
    b = net.host("b.example", policy=policy)
    others = [net.host(f"h{number}.example") for number in range(8)]
    net.run_for(0.1)
    tap = Tap(net)
    for other in others:
        other.resolve(b)
    net.run_for(3)
    assert b.node.host.counters["cookies_sent"] > 0
    cookies = [t for t in tap.from_host(b) if isinstance(_decode(t), CookieReply)]
    assert max(len(cookie.payload) for cookie in cookies) < INIT_SIZE // 3
    for other in others:
        assert other.token_of(b) is not None, f"{other.name} had to show a cookie and did"


def _decode(transmit: Transmit) -> object:
    data = bytes(transmit.payload)
    return decode_handshake(data) if data[:4] == bytes(4) else None


def test_a_cookie_is_answered_once_a_try() -> None:
    """Who saw our init can write cookie replies from anywhere: 66 bytes must not fetch 1,200 each."""
    net = Network(11)
    policy = Policy(stranger_inits_per_s=0)
    a, b = net.host("a.example"), net.host("b.example", policy=policy)
    net.run_for(0.1)
    tap = Tap(net)
    a.resolve(b)
    net.run_for(0.015 + 0.01)
    (cookie,) = [bytes(t.payload) for t in tap.from_host(b)]
    tap.stop = lambda sender, transmit: True
    assert len(answers(a, cookie, locator(b))) == 1
    for _ in range(10):
        with pytest.raises(ProtocolError, match="cookie"):
            a.node.handle_datagram(cookie, ELSEWHERE, net.now)


def test_strangers_memory_is_bounded() -> None:
    """Inits in the name of ever other hosts, each with a key of its own, and DNS is slow."""
    net = Network(12, dns_latency_s=30)
    b = net.host("b.example", policy=Policy(stranger_inits_per_s=10**6))
    policy = b.policy
    for number in range(150):
        stranger = net.host(f"s{number}.example", in_dns=False)
        stranger.node.want_binding(LookupResult(b.name, (locator(b).host,), b.public_key, 5847), net.now)
    tap = Tap(net)
    net.run_for(2)
    assert len({sender.name for sender, _ in tap.seen}) > 100
    held = b.node._responder._held
    assert len(held) <= policy.pending_inits
    assert b.node.host.counters["pending_inits_full"] > 0
    assert len(b.lookups) <= policy.pending_inits
    assert list(b.node.peers) == []
    assert len(b.node.host.indexes) == 0
    net.run_for(60)
    assert len(b.node._responder._refused) <= 2 * policy.pending_inits
    assert list(b.node.peers) == []


def test_an_init_from_where_nobody_can_be_is_not_answered() -> None:
    net = Network(13)
    tap = Tap(net)
    a, b = pair(net)
    init = tap.handshakes(a, INIT)[-1]
    for host in ("127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0", "240.0.0.9", locator(b).host):
        with pytest.raises(PeerError):
            b.node.handle_datagram(init, Locator(host, 5847), net.now)


def test_our_own_key_or_name_at_another_machine_is_refused() -> None:
    net = Network(14)
    b = net.host("b.example")
    clone = net.host("c.example", private_key=b.private_key)
    net.run_for(0.1)
    clone.resolve(b)
    assert "own key" in clone.failed[b.name]
    b.resolve(clone)
    assert "own key" in b.failed[clone.name]
    assert list(b.node.peers) == []
