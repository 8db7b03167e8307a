"""What must hold after every step, whatever happens.

- The two ends of a binding agree.
- No token stands for two names on a host, ever, until it loses its store.
- No counter is sealed twice under a key.
- No packet is delivered twice, nor to another host than the one that was meant.
- A lane that is kept for a peer's packets is the one that would be made now.
- When it is quiet, hosts that talk have right mappings within QUIET_BOUND_S (`Quiet`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest.mock import patch

from msgspec import structs
from tests.sim.disk import Disk
from tests.sim.network import Network, SimHost

from vipnet.core import session
from vipnet.core.express import lane_of
from vipnet.core.node import Node
from vipnet.core.outputs import StoreBinding
from vipnet.crypto.transport import Cipher, SealingKey
from vipnet.types import Fqdn, Token
from vipnet.wire import control
from vipnet.wire.datagram import KIND_CONTROL

# Seconds during which nothing but packets happens to the two, with links that lose at most a twentieth.
# The longest pause between attempts to find somebody is 6.25 s: a handshake that was long in vain tries
# again after 5 s and up to a quarter. Three of them, because one may just have begun and one may be lost.
QUIET_BOUND_S = 20.0


class ViolationError(AssertionError):
    """Something happened that must not, between these hosts."""

    def __init__(self, text: str, *hosts: SimHost) -> None:
        super().__init__(text)
        self.hosts = hosts


@dataclass
class Seals:
    """What was sealed: the last counter of each key, and how many messages of each kind."""

    last: dict[bytes, int] = field(default_factory=dict)
    messages: Counter[str] = field(default_factory=Counter)


@contextmanager
def watched_seals() -> Iterator[Seals]:
    """Counters of every key made meanwhile, by any node of the process, only rise."""
    seals = Seals()

    class WatchedKey(SealingKey):
        __slots__ = ("_key",)

        def __init__(self, key: bytes, cipher: Cipher) -> None:
            super().__init__(key, cipher)
            self._key = key

        def seal(self, receiver_index: int, counter: int, plaintext: bytes | memoryview) -> bytes:
            if counter <= seals.last.get(self._key, -1):
                raise ViolationError(f"counter {counter} is sealed after {seals.last[self._key]}")
            seals.last[self._key] = counter
            if plaintext[-1] == KIND_CONTROL:
                seals.messages[type(control.decode(bytes(plaintext[:-1]))).__name__] += 1
            return super().seal(receiver_index, counter, plaintext)

    with patch.object(session, "SealingKey", WatchedKey):
        yield seals


class Properties:
    """Looks at every host that did something in a step.

    Packets have to be made by `body`, so that it can be told where they belong.

    delivered  how many packets
    lanes      how often one was looked at
    newest     the number of the last packet that came from one host to another
    """

    def __init__(self, net: Network) -> None:
        self.net = net
        self.delivered = self.lanes = 0
        self.newest: dict[tuple[Fqdn, Fqdn], int] = {}
        self._numbers: dict[tuple[Fqdn, Fqdn], set[int]] = {}
        self._shown: dict[Fqdn, tuple[Node, list[StoreBinding]]] = {}
        self._stood_for: dict[Fqdn, tuple[Disk, dict[Token, Fqdn]]] = {}
        net.after_step = self.check

    def check(self) -> None:
        touched, self.net.touched = self.net.touched, {}
        for host in touched:
            while host.received:
                self._check_delivered(host, host.received.popleft())
            if host.up:
                self._check_bindings(host)
                self._check_lanes(host)

    def _check_lanes(self, host: SimHost) -> None:
        """What makes a lane void makes it void at once: the short way of a packet asks nothing else."""
        now = self.net.now
        for peer in host.node.peers.values():
            kept = peer.lane
            if kept is None or now >= kept.until:
                continue
            anew = lane_of(peer, now)
            if anew is None or structs.replace(anew, until=kept.until) != kept or anew.until < kept.until:
                raise ViolationError(f"{host.name} keeps {kept} for {peer.name}, which is {anew} now", host)
            self.lanes += 1

    def _check_delivered(self, host: SimHost, packet: bytes) -> None:
        sender, receiver, number = parse_body(packet)
        if receiver != host.name:
            raise ViolationError(f"{host.name} was given a packet for {receiver}", host)
        numbers = self._numbers.setdefault((sender, receiver), set())
        if number in numbers:
            raise ViolationError(
                f"packet {number} of {sender} is delivered twice", host, self.net.hosts[sender]
            )
        numbers.add(number)
        self.newest[sender, receiver] = max(number, self.newest.get((sender, receiver), -1))
        self.delivered += 1

    def _check_bindings(self, host: SimHost) -> None:
        shown = [peer.binding for peer in host.node.peers.values() if peer.binding is not None]
        if self._shown.get(host.name) == (host.node, shown):
            return
        self._shown[host.name] = host.node, shown
        remotes = {binding.remote_token for binding in shown}
        if len(remotes) < len(shown):
            raise ViolationError(f"{host.name}: a token stands for two names", host)
        if not remotes.isdisjoint(binding.local_token for binding in shown):
            raise ViolationError(f"{host.name}: one token is its own and a peer's", host)
        disk, stood_for = self._stood_for.get(host.name, (None, {}))
        if disk is not host.disk:
            stood_for = {}
            self._stood_for[host.name] = host.disk, stood_for
        for binding in shown:
            before = stood_for.setdefault(binding.remote_token, binding.name)
            if before != binding.name:
                raise ViolationError(f"{host.name}: {binding.remote_token} stood for {before} before", host)
            self._check_agreed(host, self.net.hosts[binding.name], binding)

    def _check_agreed(self, host: SimHost, other: SimHost, ours: StoreBinding) -> None:
        peer = other.node.peers.get(host.name) if other.up else None
        theirs = None if peer is None else peer.binding
        if theirs is None or (theirs.remote_token, theirs.local_token) == (
            ours.local_token,
            ours.remote_token,
        ):
            return
        raise ViolationError(f"{host.name} and {other.name} call each other by different tokens", host, other)


def body(sender: SimHost, receiver: SimHost, number: int) -> bytes:
    """A packet's body, 64 bytes or more; NUMBER only once for this sender and receiver."""
    return f"{sender.name} {receiver.name} {number} ".encode().ljust(64, b".")


def parse_body(packet: bytes) -> tuple[Fqdn, Fqdn, int]:
    sender, receiver, number, _ = packet.decode().split(" ", 3)
    return Fqdn(sender), Fqdn(receiver), int(number)


def is_right(host: SimHost, other: SimHost) -> bool:
    """Whether HOST's packets to OTHER go to where it really is."""
    peer = host.node.peers.get(other.name)
    return peer is not None and peer.mapping.current in other.reached_at
