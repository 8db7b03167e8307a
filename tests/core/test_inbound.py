"""The way of a datagram in: what is opened, what is delivered, and that garbage does no harm."""

from __future__ import annotations

import contextlib
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.pairs import ELSEWHERE, Tap, locator, meet, pair, peer_at, seal, session_at
from tests.sim.network import Network, SimHost, ipv4
from tests.wire.test_udp import udp

from vipnet.core.outputs import Deliver, LogEvent, Refused
from vipnet.core.trust import AcceptPolicy, ListedPeer
from vipnet.errors import PeerError, ProtocolError, WireError
from vipnet.types import Locator, Token, parse_name
from vipnet.wire.control import Accept, Choose, Close, ControlMessage, Hint, Keepalive, Offer, TokenPair
from vipnet.wire.datagram import KIND_CONTROL, KIND_IPV4, KIND_PARTIAL
from vipnet.wire.offload import Offload
from vipnet.wire.udp import BEGUN


def sealed(host: SimHost, other: SimHost, body: bytes, kind: int) -> bytes:
    return session_at(host, other).seal(body, kind)


def packet(host: SimHost, other: SimHost, body: bytes) -> bytes:
    binding = peer_at(host, other).binding
    assert binding is not None
    return ipv4(binding.local_token, binding.remote_token, body)


def test_a_packet_is_delivered_once() -> None:
    net = Network(1)
    a, b = pair(net)
    datagram = sealed(b, a, packet(b, a, b"once"), KIND_IPV4)
    outputs = a.node.handle_datagram(datagram, locator(b), net.now)
    assert sum(isinstance(output, Deliver) for output in outputs) == 1
    for source in (locator(b), ELSEWHERE):
        with pytest.raises(ProtocolError, match="replayed"):
            a.node.handle_datagram(datagram, source, net.now)


def test_a_datagram_for_an_unknown_index_or_of_another_peer_is_refused() -> None:
    net = Network(2)
    a, b = pair(net)
    c = net.host("c.example")
    net.run_for(0.1)
    meet(net, a, c)
    datagram = sealed(b, a, packet(b, a, b"x"), KIND_IPV4)
    for index in (1, session_at(a, c).local_index):
        with pytest.raises(PeerError):
            a.node.handle_datagram(index.to_bytes(4, "big") + datagram[4:], locator(b), net.now)
    meet(net, b, a)


def arrived(host: SimHost, *datagrams: bytes, source: Locator) -> list[bytes]:
    """What is delivered of DATAGRAMS that came as one train."""
    outputs = host.node.handle_datagrams(b"".join(datagrams), len(datagrams[0]), source, host.net.now)
    return [bytes(output.packet) for output in outputs if isinstance(output, Deliver)]


def test_a_train_may_change_sessions() -> None:
    """As after a rekey; what was opened first is still there when the rest is."""
    net = Network(21)
    a, b = pair(net)
    packets = [packet(b, a, bytes((number,)) * 400) for number in range(4)]
    old = [sealed(b, a, one, KIND_IPV4) for one in packets[:2]]
    before = session_at(b, a)
    b.node.people.log_keys(True, net.now)  # makes a new session
    net.run_until(lambda: session_at(b, a) is not before)
    net.run_for(1)
    new = [sealed(b, a, one, KIND_IPV4) for one in packets[2:]]
    assert arrived(a, *old, *new, source=locator(b)) == packets


def test_a_peer_cannot_write_over_what_another_sent() -> None:
    """It may forge the other's address, so that the kernel makes one train of both."""
    net = Network(22)
    a, b = pair(net)
    c = net.host("c.example")
    net.run_for(0.1)
    meet(net, a, c)
    true, false = packet(b, a, b"b" * 400), packet(b, a, b"c" * 400)
    train = sealed(b, a, true, KIND_IPV4), sealed(c, a, false, KIND_IPV4)
    assert arrived(a, *train, source=locator(b)) == [true]
    spoiled = train[1][:-1] + bytes((train[1][-1] ^ 1,))
    later = sealed(b, a, true, KIND_IPV4)
    assert arrived(a, later, spoiled, source=locator(b)) == [true]


def test_datagrams_of_one_flow_are_delivered_as_one_super_packet() -> None:
    """Those with false addresses, or of another flow, are not part of it."""
    net = Network(24)
    a, b = pair(net)
    addresses = packet(b, a, b"")[12:20]
    body, other = bytes(400), bytes([1]) * 400
    accepted = [udp(body, addresses=addresses), udp(other, addresses=addresses)] * 2
    false = udp(body, addresses=addresses[4:] * 2)
    last = udp(body, addresses=addresses, ports=(5, 6))
    train = b"".join(sealed(b, a, one, KIND_PARTIAL) for one in [*accepted[:2], false, *accepted[2:], last])
    outputs = a.node.handle_datagrams(train, len(train) // 6, locator(b), net.now)
    joined, alone = (one for one in outputs if isinstance(one, Deliver))
    assert joined.offload == Offload(20, 6, 400)
    assert joined.packet[28:] == (body + other) * 2
    assert (bytes(alone.packet), alone.offload) == (last, BEGUN)
    (refused,) = (one for one in outputs if isinstance(one, Refused))
    assert "not this pair's tokens" in str(refused.error)


@pytest.mark.parametrize("seed", range(4))
def test_what_a_train_delivers_is_what_its_sealer_may_say(seed: int) -> None:
    """Of two peers that lie about counters, kinds and tokens, in trains that are cut anywhere."""
    net, random = Network(23), Random(seed)
    a, b = pair(net)
    c = net.host("c.example")
    net.run_for(0.1)
    meet(net, a, c)
    for _ in range(200):
        train, said = b"", set[bytes]()
        for _ in range(random.randrange(1, 6)):
            sender, claimed = random.choice((b, c)), random.choice((b, c))
            body = random.randbytes(random.choice((8, 380)))
            session, inner = session_at(sender, a), packet(claimed, a, body)
            if sender is claimed:
                said.add(inner)
            session.sent += random.choice((0, 0, 1, 300))
            train += session.seal(inner, random.choice((KIND_IPV4, KIND_IPV4, 2, 3, 77)))
        size = random.choice((len(train), 37, 57, 429, 1 + random.randrange(len(train))))
        outputs = a.node.handle_datagrams(train, size, random.choice(SOURCES), net.now)
        delivered = [bytes(output.packet) for output in outputs if isinstance(output, Deliver)]
        assert said.issuperset(delivered)
        assert len(set(delivered)) == len(delivered)
        net.run_for(0.01)


def test_a_peer_can_only_send_as_its_token_to_ours() -> None:
    net = Network(3)
    a, b = pair(net)
    ours = peer_at(a, b).binding
    assert ours is not None
    other = Token(ours.remote_token + 1)
    for source, target in (
        (other, ours.local_token),
        (ours.remote_token, other),
        (ours.local_token, ours.remote_token),
    ):
        with pytest.raises(ProtocolError, match="tokens"):
            a.node.handle_datagram(sealed(b, a, ipv4(source, target, b"x"), KIND_IPV4), locator(b), net.now)


def test_unknown_kinds_are_counted_and_the_peer_counts_as_heard() -> None:
    net = Network(4)
    a, b = pair(net)
    net.run_for(30)
    assert a.node.handle_datagram(sealed(b, a, b"?", 77), locator(b), net.now) == []
    assert a.node.host.counters["unknown_kind"] == 1
    assert peer_at(a, b).mapping.last_heard == net.now


def test_garbage_of_an_authenticated_peer_is_refused() -> None:
    net = Network(5)
    a, b = pair(net)
    for body in (b"", b"\xff" * 100, b"\x00" * 1300, b"\x99" * 1100):
        with pytest.raises(WireError):
            a.node.handle_datagram(sealed(b, a, body, KIND_CONTROL), locator(b), net.now)
    with pytest.raises(WireError):
        a.node.handle_datagram(sealed(b, a, b"\x60" * 40, KIND_IPV4), locator(b), net.now)
    meet(net, a, b)


def test_a_first_datagram_that_is_refused_confirms_its_session_all_the_same() -> None:
    """What it changes must reach the disk and the wire: else tokens would be shown that nobody stored."""
    net = Network(6)
    a, b = net.host("a.example"), net.host("b.example")
    net.run_for(0.1)
    tap = Tap(net)
    tap.stop = lambda sender, transmit: sender is a and bytes(transmit.payload[:4]) != bytes(4)
    a.resolve(b)
    net.run_for(0.2)
    assert b.disk.peers[a.name].timestamp == 0
    b.handle_datagram(sealed(a, b, b"\xff", KIND_CONTROL), locator(a))
    assert b.node.host.counters["refused_first_datagram"] == 1
    assert b.disk.peers[a.name].timestamp > 0
    tap.stop = lambda sender, transmit: False
    meet(net, a, b)
    assert b.disk.bindings[a.name].accepted


def test_tokens_that_a_peer_may_not_choose_change_nothing() -> None:
    net = Network(7)
    a, b = pair(net)
    before = a.token_of(b), b.token_of(a), dict(a.disk.bindings)
    one, two = peer_at(a, b).binding, Token(peer_at(a, b).binding.remote_token + 9)  # type: ignore[union-attr]
    assert one is not None
    evil: list[ControlMessage] = [
        Choose(TokenPair(two, two), 1),
        Choose(TokenPair(one.local_token, two), 9, revoke=True),
        Choose(TokenPair(one.local_token, two), 2**32 - 1),
        Accept(TokenPair(two, one.local_token), 2**32 - 1),
        Offer(TokenPair(two, two), (), ()),
        Offer(None, (one.local_token,), (one.local_token,), 31, 2**32 - 1),
    ]
    for message in evil:
        for sender, victim in ((a, b), (b, a)):
            with contextlib.suppress(PeerError):
                data = seal(sender, victim, message)
                victim._carry_out(victim.node.handle_datagram(data, locator(sender), net.now))
    net.run_for(5)
    assert (a.token_of(b), b.token_of(a), dict(a.disk.bindings)) == before
    meet(net, a, b)


def test_a_close_ends_the_session_and_keeps_the_binding() -> None:
    net = Network(8)
    a, b = pair(net)
    token = a.token_of(b)
    outputs = a.node.handle_datagram(seal(b, a, Close("going down")), locator(b), net.now)
    assert [output.name for output in outputs if isinstance(output, LogEvent)] == ["session.closed"]
    assert peer_at(a, b).sessions.newest is None
    assert len(a.node.host.indexes) == 0
    assert a.token_of(b) == token
    meet(net, a, b)


def test_a_close_that_comes_late_does_not_end_the_next_runs_session() -> None:
    net = Network(9)
    a, b = pair(net)
    late = seal(b, a, Close("going down"))
    b.crash()
    b.boot()
    net.run_for(0.5)
    session = session_at(a, b)
    a._carry_out(a.node.handle_datagram(late, locator(b), net.now))
    assert session_at(a, b) is session
    assert net.run_until(lambda: b.can_reach(a)) < 0.1


def test_data_of_a_session_keep_coming_while_it_expires() -> None:
    net = Network(10)
    a, b = pair(net)
    sent = 0
    for _ in range(450):
        b.send(a, b"n%d" % sent)
        sent += 1
        net.run_for(1)
    assert sum(body[:1] == b"n" for body in a.received) == sent


# --- anything at all


def hostile_world() -> tuple[Network, SimHost, list[bytes]]:
    """A host with a partner, an unanswered handshake and XX open; and true datagrams to spoil."""
    net = Network(99)
    tap = Tap(net)
    missing = parse_name("x.example")
    a = net.host(
        "a.example",
        accept=AcceptPolicy(("*.example",), xx=True),
        listed=(ListedPeer(missing, None, (Locator("192.0.2.200", 5847),)),),
    )
    b = net.host("b.example")
    c = net.host("c.example", in_dns=False, listed=(ListedPeer(a.name, None, (locator(a),)),))
    net.run_for(0.1)
    meet(net, a, b)
    net.hosts.pop(a.name)
    c.resolve(a)
    net.hosts[a.name] = a
    a.node.want_binding(net.result(missing), net.now)
    net.run_for(0.3)
    datagrams = [bytes(t.payload) for sender, t in tap.seen if sender is not a]
    datagrams += [seal(b, a, Keepalive()), seal(b, a, Hint(2**62, (ELSEWHERE,)))]
    datagrams += [bytes(t.payload) for sender, t in tap.seen if sender is a][:20]
    return net, a, datagrams


SOURCES = (ELSEWHERE, Locator("192.0.2.2", 5847), Locator("127.0.0.1", 1), Locator("2001:db8::9", 9))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(
            st.one_of(st.binary(max_size=1400), st.integers(0, 10**6), st.integers(0, 10**6)),
            st.sampled_from(SOURCES),
        ),
        max_size=12,
    ),
    st.integers(0, 2**32),
)
def test_nothing_but_peer_error_comes_of_any_datagram(
    inputs: list[tuple[bytes | int, Locator]], seed: int
) -> None:
    """Arbitrary bytes, true datagrams, and true ones with a few bytes changed; the host stays usable."""
    net, a, datagrams = hostile_world()
    random = Random(seed)
    for what, source in inputs:
        data = what if isinstance(what, bytes) else spoil(datagrams[what % len(datagrams)], random)
        with contextlib.suppress(PeerError):
            a._carry_out(a.node.handle_datagram(data, source, net.now))
        net.run_for(random.choice((0.0, 0.01, 1.0)))
    b = net.hosts["b.example"]
    net.run_until(lambda: b.can_reach(a), limit_s=10)
    net.run_until(lambda: a.can_reach(b), limit_s=10)


def spoil(data: bytes, random: Random) -> bytes:
    spoiled = bytearray(data)
    for _ in range(random.choice((0, 1, 1, 4))):
        where = random.randrange(len(spoiled))
        change = random.choice(("flip", "cut", "add", "zero"))
        if change == "flip":
            spoiled[where] ^= 1 << random.randrange(8)
        elif change == "cut":
            del spoiled[max(1, where) :]
        elif change == "add":
            spoiled += random.randbytes(random.randrange(40))
        else:
            spoiled[where : where + 4] = bytes(4)
    return bytes(spoiled)
