"""What a move lost is sent again, and nobody waits for a bulk transfer's part of it but the transfer."""

from __future__ import annotations

from tests.core.pairs import Tap, pair, peer_at
from tests.core.test_express import SEGMENTS, between, super_packet
from tests.sim.network import Network, SimHost

from vipnet.core import replay
from vipnet.core.outputs import Output, Transmit
from vipnet.wire.inner import PROTOCOL_TCP, PROTOCOL_UDP
from vipnet.wire.offload import Packet

ROUNDS = 10
SMALL = 60  # bytes of a datagram; the end of a train has more


def lost_traffic() -> tuple[SimHost, SimHost]:
    """A has sent super-packets and small packets in turn, of which B has got nothing, and noticed."""
    net = Network(1)
    a, b = pair(net)
    tap = Tap(net)
    tap.stop = lambda sender, _: sender is a
    since = net.now
    for number in range(ROUNDS):
        net.run_for(0.001)
        a._carry_out(a.node.handle_packets([super_packet(a, b, number)], net.now))
        a._carry_out(a.node.handle_packets([Packet(between(a, b, b"%d" % number))], net.now))
    tap.stop = lambda sender, _: False
    peer_at(a, b).doubt_path(since)
    return a, b


def small(a: SimHost, b: SimHost, body: bytes) -> bytes:
    packet = bytearray(between(a, b, body))
    packet[9] = PROTOCOL_UDP
    return bytes(packet)


def sizes(outputs: list[Output]) -> list[int]:
    return [len(output.payload) for output in outputs if isinstance(output, Transmit)]


def test_what_nobody_else_sends_again_goes_first() -> None:
    a, b = lost_traffic()
    first = sizes(replay.begin(peer_at(a, b), peer_at(b, a).reports(), a.net.now))
    assert max(first[:ROUNDS]) <= SMALL < min(first[ROUNDS:])
    assert len(first) < ROUNDS * SEGMENTS, "the rest in steps"


def test_fresh_packets_pass_a_bulk_replay_and_the_bulk_waits() -> None:
    a, b = lost_traffic()
    peer, net = peer_at(a, b), a.net
    before, fresh, late = small(a, b, b"waits"), small(a, b, b"fresh"), super_packet(a, b, fill=ROUNDS)
    peer.wait([late, Packet(before)])
    a._carry_out(replay.begin(peer, peer_at(b, a).reports(), net.now))
    assert len(peer.backlog) == 1
    a._carry_out(a.node.handle_packets([late, Packet(fresh)], net.now))
    assert len(peer.backlog) == 2
    net.run_until(lambda: not peer.replaying and not len(peer.backlog))
    net.run_for(1)
    arrived = [bytes(packet) for packet in b.icmp]
    bulk = [packet[-1] for packet in arrived if packet[9] == PROTOCOL_TCP]
    assert bulk == sorted(bulk), "as it was sent"
    assert bulk.count(ROUNDS) > SEGMENTS
    assert arrived.index(before) < arrived.index(fresh) < len(arrived) / 2, "a replay takes several steps"
