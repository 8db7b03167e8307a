"""Hosts that DNS has no key of: trusted on first use (XX), or called back at their address."""

from __future__ import annotations

import pytest
from tests.core.pairs import ELSEWHERE, Tap, decoded, locator, meet, peer_at
from tests.sim.network import Network, SimHost

from vipnet.core.outputs import LookupResult
from vipnet.core.trust import AcceptPolicy, ListedPeer
from vipnet.errors import PeerError
from vipnet.types import Locator, parse_name
from vipnet.wire.handshake import CookieReply, HandshakeType, decode_handshake

A, B = parse_name("a.example"), parse_name("b.example")


def strangers(net: Network, *, xx: bool) -> tuple[SimHost, SimHost]:
    """A knows B's name and address, but no key; DNS has none either."""
    b = net.host(B, accept=AcceptPolicy(("*.example",), xx=xx), in_dns=False)
    a = net.host(A, listed=(ListedPeer(B, None, (locator(b),)),))
    net.run_for(0.1)
    return a, b


def test_two_hosts_meet_and_go_on_for_long() -> None:
    net = Network(1)
    a, b = strangers(net, xx=True)
    meet(net, a, b)
    assert a.disk.peers[B].trust == "tofu"
    assert a.disk.peers[B].key == b.public_key
    assert b.disk.peers[A].trust == "dns"
    for _ in range(40):
        net.run_for(10)
        meet(net, a, b, limit_s=3)
    assert a.token_of(b) is not None


def test_the_key_is_pinned_by_the_first_use() -> None:
    net = Network(2)
    a, b = strangers(net, xx=True)
    meet(net, a, b)
    b.crash()
    b.private_key = net.random.randbytes(32)
    b.disk = type(b.disk)()
    b.boot()
    a.send(b, b"hello")
    net.run_for(10)
    assert a.disk.peers[B].key != b.public_key
    assert b"hello" not in b.received


def test_without_accept_xx_there_is_no_answer_but_a_reason() -> None:
    net = Network(3)
    a, b = strangers(net, xx=False)
    tap = Tap(net)
    a.resolve(b)
    net.run_for(200)
    assert a.failed[B]
    assert tap.from_host(b) == []
    assert len(tap.from_host(a)) < 40
    assert B not in a.node.peers
    assert len(a.node.host.indexes) == 0


def test_nothing_is_said_before_a_cookie_and_no_name_before_both_are_authenticated() -> None:
    net = Network(4)
    tap = Tap(net)
    a, b = strangers(net, xx=True)
    a.resolve(b)
    net.run_for(0.5)
    first = bytes(tap.from_host(b)[0].payload)
    assert isinstance(decode_handshake(first), CookieReply)
    assert len(first) < len(tap.from_host(a)[0].payload)
    (answer,) = tap.handshakes(b, HandshakeType.XX_2)
    assert len(answer) <= len(tap.handshakes(a, HandshakeType.XX_1)[0])
    assert len(decoded(answer).noise) == 32 + 48 + 16  # the payload is empty
    assert b.token_of(a) is not None


def test_a_cookie_is_good_for_one_address() -> None:
    net = Network(5)
    tap = Tap(net)
    a, b = strangers(net, xx=True)
    a.resolve(b)
    net.run_for(0.5)
    with_cookie = tap.handshakes(a, HandshakeType.XX_1)[-1]
    (output,) = b.node.handle_datagram(with_cookie, ELSEWHERE, net.now)
    assert isinstance(decode_handshake(bytes(output.payload)), CookieReply)  # type: ignore[union-attr]


def test_what_dns_says_meanwhile_is_not_overruled_by_whoever_answers() -> None:
    """B comes to us under the key that DNS has, while somebody else answers our XX."""
    net = Network(6)
    b = net.host(B)
    impostor = net.host("m.example", accept=AcceptPolicy(("*",), xx=True))
    a = net.host(A, listed=(ListedPeer(B, None, (locator(impostor),)),))
    net.run_for(0.1)
    tap = Tap(net)
    tap.stop = lambda sender, transmit: sender is impostor
    a._carry_out(a.node.want_binding(LookupResult(B, failed=True), net.now))
    net.run_for(0.1)
    assert tap.from_host(impostor)
    b.resolve(a)
    net.run_for(0.5)
    assert peer_at(a, b).key == b.public_key
    tap.stop = lambda sender, transmit: False
    for transmit in tap.from_host(impostor):
        with pytest.raises(PeerError):
            a.node.handle_datagram(bytes(transmit.payload), locator(impostor), net.now)
    net.run_for(100)
    assert a.disk.peers[B].key == b.public_key
    assert a.disk.peers[B].trust == "dns"
    meet(net, a, b)


def test_a_first_contact_is_not_sent_where_nobody_can_be() -> None:
    net = Network(7)
    a = net.host(A, listed=(ListedPeer(B),))
    tap = Tap(net)
    bad = LookupResult(B, ("127.0.0.1", "240.0.0.1", locator(a).host))
    a._carry_out(a.node.want_binding(bad, net.now))
    net.run_for(5)
    assert tap.from_host(a) == []
    assert a.failed[B]


def test_xx_floods_leave_little_behind() -> None:
    net = Network(8)
    a, b = strangers(net, xx=True)
    tap = Tap(net)
    a.resolve(b)
    net.run_for(0.1)
    with_cookie = tap.handshakes(a, HandshakeType.XX_1)[-1]
    for _ in range(500):
        b.node.handle_datagram(with_cookie, locator(a), net.now)
    assert len(b.node._responder._xx) <= 64
    with pytest.raises(PeerError):
        b.node.handle_datagram(with_cookie, Locator("127.0.0.1", 5847), net.now)


# --- call-back


def claimant(net: Network, *, callback: bool = True) -> tuple[SimHost, SimHost]:
    """A knows B by DNS; of A there is an address only."""
    b = net.host(B, accept=AcceptPolicy(("*.example",), callback=callback))
    a = net.host(A, in_dns=False)
    net.run_for(0.1)
    net.zone[A] = locator(a).host
    return a, b


def test_who_answers_at_its_address_is_let_in() -> None:
    net = Network(20)
    a, b = claimant(net)
    meet(net, a, b)
    assert b.disk.peers[A].trust == "callback"
    assert b.disk.peers[A].key == a.public_key
    assert not b.disk.peers[A].contacted
    a.in_dns = True
    b.handle_lookup(net.result(A))
    assert b.disk.peers[A].trust == "dns"  # more is known by now


def test_nobody_is_called_back_unasked() -> None:
    net = Network(21)
    a, b = claimant(net, callback=False)
    tap = Tap(net)
    a.resolve(b)
    net.run_for(10)
    assert tap.from_host(b) == []
    assert A not in b.disk.peers
    assert b.node.host.counters["not_vouched_for"] >= 1


def test_nobody_is_called_back_whose_record_somebody_keeps_out_of_dns() -> None:
    """Unsigned silence in a signed zone is no answer, as the shell says; the claim waits for one."""
    net = Network(24)
    a, b = claimant(net)
    bogus = LookupResult(A, (locator(a).host,), failed=True, bogus="nothing proves that it has none")
    net.result = lambda name: bogus if name == A else Network.result(net, name)  # type: ignore[method-assign]
    tap = Tap(net)
    a.resolve(b)
    net.run_for(10)
    assert tap.from_host(b) == []
    assert A not in b.disk.peers


def test_a_claim_from_elsewhere_gets_an_impostor_nothing() -> None:
    """The name's address is another host's, which does not have the key: three tries, then silence."""
    net = Network(22)
    a, b = claimant(net)
    honest = net.host("honest.example", in_dns=False)
    net.run_for(0.1)
    net.zone[A] = locator(honest).host
    tap = Tap(net)
    a.resolve(b)
    net.run_for(30)
    assert A not in b.disk.peers
    assert a.token_of(b) is None
    inits = tap.handshakes(b, HandshakeType.IK_INIT)
    assert 1 <= len(inits) <= 4
    assert {t.destination.host for t in tap.from_host(b)} == {locator(honest).host}
    assert b.node.host.counters["not_called_back"] == 1
    assert b.node.host.indexes == {}
    net.zone[A] = locator(a).host
    net.run_for(120)  # what was refused is asked again after a minute
    a.resolve(b)
    net.run_for(10)
    assert b.disk.peers[A].key == a.public_key


def test_a_name_with_a_key_in_dns_is_not_called_back() -> None:
    net = Network(23)
    a, b = claimant(net)
    owner = net.host("owner.example", in_dns=False)
    net.hosts[A], a.in_dns = owner, True  # DNS has another key for the name
    owner.in_dns = True
    tap = Tap(net)
    a.resolve(b)
    net.run_for(10)
    assert tap.from_host(b) == []
    assert A not in b.disk.peers
