"""Super-packets over changes of place: of a train that lost a part the pieces are opened, and all arrives."""

from __future__ import annotations

from random import Random

import pytest
from tests.core.pairs import pair, peer_at, session_at
from tests.sim.network import Network, SimHost
from tests.wire.test_tcp import ACK, offload_of, tcp

from vipnet.wire.offload import Packet

INTERVAL_S = 0.005
SEGMENTS = 20
SMALL, FULL = 100, 1300  # bytes; of full ones it has to be seen that they arrive
GRAIN = 20  # divides all sizes, that of full ones cut anew too


class Bulk:
    """One TCP connection without a TCP: super-packets, one behind the other, whatever arrives."""

    def __init__(self, net: Network, sender: SimHost, receiver: SimHost, size: int = SMALL) -> None:
        self.net, self.sender, self.receiver = net, sender, receiver
        self.sent, self.stopped, self.size = bytearray(), False, size
        self._addresses = peer_at(receiver, sender).inbound_addresses
        self._send()

    def _send(self) -> None:
        if self.stopped:
            return
        payload = Random(len(self.sent)).randbytes(self.size * SEGMENTS)
        packet = tcp(payload, flags=ACK, sequence=1 + len(self.sent))
        packet = packet[:12] + self._addresses + packet[20:]
        self.sent += payload
        super_packet = Packet(packet, offload_of(packet, self.size))
        self.sender._carry_out(self.sender.node.handle_packets([super_packet], self.net.now))
        self.net.at(INTERVAL_S, self._send)

    def arrived(self) -> list[int]:
        """Which bytes, by the grain; AssertionError for one that is wrong, or has come twice.

        But the very first: nobody acknowledges it here, so the host sends it again after an outage.
        """
        found: list[int] = []
        for packet in self.receiver.icmp:  # what is not the simulator's own protocol
            if packet[9] != 6:
                continue
            at, payload = int.from_bytes(packet[24:28], "big") - 1, packet[40:]
            assert payload == self.sent[at : at + len(payload)]
            found += range(at, at + len(payload), GRAIN)
        later = [at for at in found if at >= self.size]
        assert len(later) == len(set(later))
        return sorted(set(found))


@pytest.mark.parametrize("size", [SMALL, FULL])
@pytest.mark.parametrize("seed", range(8))
def test_moves_lose_no_piece(seed: int, size: int) -> None:
    random = Random(seed)
    net = Network(seed, latency_s=0.02, jitter_s=random.choice((0.0, 0.01)))
    a, b = pair(net)
    net.run_for(0.5)
    assert session_at(a, b).trains is not None
    bulk = Bulk(net, a, b, size)
    for movers in ([a], [b], [a, b]):
        net.run_for(random.uniform(0.1, 0.5))
        for host in movers:
            host.move_to(None)
        net.run_for(random.uniform(0, 0.1))
        for host in movers:
            host.move_to(net.new_address())
        net.run_for(0.8)
    bulk.stopped = True
    net.run_for(2)
    assert bulk.arrived() == list(range(0, len(bulk.sent), GRAIN)), f"seed {seed}"


def test_a_lossy_path_costs_what_it_loses() -> None:
    """A quarter of all datagrams: three quarters of the pieces arrive, though hardly a train is whole."""
    net = Network(1, latency_s=0.02)
    a, b = pair(net)
    net.run_for(0.5)
    bulk = Bulk(net, a, b)
    net.loss = 0.25
    net.run_for(1)
    bulk.stopped = True
    net.run_for(1)
    assert len(bulk.arrived()) * GRAIN > 0.7 * len(bulk.sent)
