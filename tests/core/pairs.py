"""Two whole hosts that have met, what passes between them, and datagrams as an enemy would make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.sim.network import Network, SimHost

from vipnet.core.outputs import Transmit
from vipnet.core.peer import Peer
from vipnet.core.session import Session
from vipnet.types import Locator
from vipnet.wire import control
from vipnet.wire.control import ControlMessage
from vipnet.wire.datagram import KIND_CONTROL, is_handshake
from vipnet.wire.handshake import HandshakeDatagram, HandshakeType, decode_handshake

ELSEWHERE = Locator("198.51.100.99", 5847)


def pair(net: Network, **options: Any) -> tuple[SimHost, SimHost]:
    """Hosts a and b that reach each other; OPTIONS are for both."""
    a, b = net.host("a.example", **options), net.host("b.example", **options)
    net.run_for(0.1)  # DNS knows both
    meet(net, a, b)
    return a, b


def meet(net: Network, a: SimHost, b: SimHost, limit_s: float = 30) -> None:
    net.run_until(lambda: a.can_reach(b), limit_s)
    net.run_until(lambda: b.can_reach(a), limit_s)


def peer_at(host: SimHost, other: SimHost) -> Peer:
    """What HOST knows of OTHER."""
    return host.node.peers[other.name]


def session_at(host: SimHost, other: SimHost) -> Session:
    session = peer_at(host, other).sessions.sending(host.net.now)
    assert session is not None
    return session


def seal(host: SimHost, other: SimHost, message: ControlMessage) -> bytes:
    """MESSAGE as HOST would say it to OTHER: what follows is who the datagram seems to come from."""
    return session_at(host, other).seal(control.encode(message), KIND_CONTROL)


def locator(host: SimHost) -> Locator:
    assert host.locator is not None
    return host.locator


class Tap:
    """Sees every datagram of a network; `stop` tells which of them get no further."""

    def __init__(self, net: Network) -> None:
        self.seen: list[tuple[SimHost, Transmit]] = []
        self.stop: Callable[[SimHost, Transmit], bool] = lambda sender, transmit: False
        self._send = net.send
        net.send = self._pass  # type: ignore[method-assign]

    def _pass(self, sender: SimHost, transmit: Transmit) -> None:
        self.seen.append((sender, transmit))
        if not self.stop(sender, transmit):
            self._send(sender, transmit)

    def from_host(self, host: SimHost) -> list[Transmit]:
        return [transmit for sender, transmit in self.seen if sender is host]

    def handshakes(self, host: SimHost, kind: HandshakeType) -> list[bytes]:
        """Handshake datagrams of KIND that HOST has sent."""
        sent = [bytes(transmit.payload) for transmit in self.from_host(host)]
        return [data for data in sent if is_handshake(data) and data[5] == kind]


def decoded(data: bytes) -> HandshakeDatagram:
    datagram = decode_handshake(data)
    assert isinstance(datagram, HandshakeDatagram)
    return datagram
