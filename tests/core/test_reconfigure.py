"""The user allows and lists others while the node runs: sessions go on, and new ones are as the user says."""

from __future__ import annotations

from tests.core.pairs import locator, meet, pair, peer_at, session_at
from tests.sim.network import Network, SimHost

from vipnet.core.trust import AcceptPolicy, ListedPeer
from vipnet.crypto.noise import public_key
from vipnet.policy import REKEY_AFTER_S
from vipnet.types import Fqdn, Locator

PSK = bytes(31) + b"\1"


def reconfigure(host: SimHost, *listed: ListedPeer, accept: AcceptPolicy | None = None) -> None:
    host._carry_out(host.node.people.reconfigure(accept or host.accept, listed, host.net.now))


def test_who_is_let_in_no_more_finishes_what_it_has_begun() -> None:
    net = Network(1)
    a, b = pair(net)
    c = net.host("c.example")
    net.run_for(0.1)
    session = session_at(b, a)
    reconfigure(b, accept=AcceptPolicy())
    a.send(b, b"still here")
    net.run_for(0.1)
    assert b.received[-1] == b"still here"
    assert session_at(b, a) is session, "nothing was interrupted"
    c.resolve(b)
    net.run_for(10)
    assert c.token_of(b) is None
    assert b.node.host.counters["not_accepted"] > 0
    reconfigure(b, accept=AcceptPolicy(("c.*",)))
    meet(net, c, b)


def test_a_peer_that_is_listed_now_is_pinned_and_can_be_asked() -> None:
    net = Network(2)
    a, b = pair(net)
    c = net.host("c.example", in_dns=False)
    session = session_at(a, b)
    assert peer_at(a, b).known.trust == "dns"
    entries = (
        ListedPeer(b.name, b.public_key),
        ListedPeer(c.name, c.public_key, (locator(c),)),
    )
    reconfigure(a, *entries)
    assert a.disk.peers[b.name].trust == a.disk.peers[c.name].trust == "pinned"
    assert session_at(a, b) is session
    reconfigure(c, ListedPeer(a.name, a.public_key))
    meet(net, a, c)
    before = dict(a.disk.peers)
    reconfigure(a, *entries)
    assert a.disk.peers == before, "the same again is nothing new"
    reconfigure(a)
    assert a.disk.peers[c.name].trust == "pinned", "who is listed no more stays known"


def test_another_key_that_somebody_wrote_down_counts_from_now_on() -> None:
    net = Network(3)
    a, b = pair(net)
    session, tokens = session_at(a, b), (a.token_of(b), b.token_of(a))
    b.private_key = net.random.randbytes(32)
    b.crash()
    b.boot()
    b.in_dns = False
    reconfigure(a, ListedPeer(b.name, public_key(b.private_key)))
    meet(net, a, b)
    assert session_at(a, b) is not session
    assert (a.token_of(b), b.token_of(a)) == tokens
    assert peer_at(a, b).key == b.public_key


def test_a_place_that_somebody_wrote_down_is_tried() -> None:
    net = Network(4)
    a, b = pair(net)
    b.in_dns = False
    elsewhere = Locator("198.51.100.44", 5847)
    reconfigure(a, ListedPeer(b.name, None, (elsewhere,)))
    assert elsewhere in peer_at(a, b).mapping.candidates()
    unknown = Fqdn("nobody.example")
    reconfigure(a, ListedPeer(unknown, None, (elsewhere,)))
    assert unknown not in a.node.peers, "it has no key yet: it is asked for one when it is asked for"


def test_a_secret_on_both_sides_is_in_the_next_handshake_and_the_session_goes_on_till_then() -> None:
    net = Network(5)
    a, b = pair(net)
    session = session_at(a, b)
    reconfigure(a, ListedPeer(b.name, None, (), PSK))
    a.send(b, b"between")
    net.run_for(0.1)
    assert (b.received[-1], session_at(a, b)) == (b"between", session)
    reconfigure(b, ListedPeer(a.name, None, (), PSK))
    for _ in range(int(REKEY_AFTER_S) + 10):
        net.run_for(1)
        a.send(b, b"on and on")
    net.run_for(1)
    assert session_at(a, b) is not session
    assert peer_at(a, b).psk == peer_at(b, a).psk == PSK
    assert b.received[-1] == b"on and on"
