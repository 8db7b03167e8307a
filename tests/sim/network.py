"""A network of whole nodes in one process: virtual clock, seeded randomness, hostile links.

    net = Network(seed=1, latency_s=0.02)
    a, b = net.host("a.example"), net.host("b.example")
    net.run_until(lambda: a.can_reach(b))
    a.move_to("198.51.100.7")

A seed reproduces a run exactly. Nothing here sleeps, opens a socket or reads a clock.
`net.trace` keeps what happened; `net.diagram()` draws it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from itertools import count
from random import Random

from vipnet.core.host import Host
from vipnet.core.node import Node
from vipnet.core.outputs import (
    BindingFailed,
    BindingReady,
    Deliver,
    DropBinding,
    DropPeer,
    LogEvent,
    LookupResult,
    LookupWanted,
    MoveReport,
    Output,
    PathAnswered,
    StoreBinding,
    StoreClock,
    StoredState,
    StoreOwnToken,
    StorePeer,
    StoreQuarantine,
    Transmit,
    UseLocalToken,
)
from vipnet.core.tokens import TokenSpace
from vipnet.core.trust import AcceptPolicy, ListedPeer
from vipnet.errors import PeerError
from vipnet.policy import DEFAULT_PORT, Policy
from vipnet.types import Fqdn, Instant, Locator, Token, parse_name

_UNIX_START_S = 1_700_000_000.0
_FIRST_ADDRESS = int(IPv4Address("192.0.2.1"))
PROTOCOL = 253  # inner packets carry an experiment's protocol number (RFC 3692)


@dataclass
class Disk:
    """What survives a crash."""

    clock: StoreClock = field(default_factory=lambda: StoreClock(0, 0))
    own_token: Token | None = None
    peers: dict[Fqdn, StorePeer] = field(default_factory=dict)
    bindings: dict[Fqdn, StoreBinding] = field(default_factory=dict)
    quarantine: dict[Token, StoreQuarantine] = field(default_factory=dict)

    def apply(self, output: Output) -> None:
        match output:
            case StoreClock():
                self.clock = output
            case StoreOwnToken():
                self.own_token = output.token
            case StorePeer():
                self.peers[output.name] = output
            case DropPeer():
                self.peers.pop(output.name, None)
            case StoreBinding():
                self.bindings[output.name] = output
            case DropBinding():
                self.bindings.pop(output.name, None)
            case StoreQuarantine():
                self.quarantine[output.token] = output

    def load(self) -> StoredState:
        return StoredState(
            self.clock,
            self.own_token,
            list(self.peers.values()),
            list(self.bindings.values()),
            list(self.quarantine.values()),
        )


class Network:
    """Links with delay, loss, reordering and duplication; a DNS with delay; a clock.

    blocked     pairs of IP addresses between which nothing passes
    dns_down    no look-up is answered, no update arrives
    """

    def __init__(
        self,
        seed: int,
        *,
        latency_s: float = 0.02,
        loss: float = 0.0,
        duplication: float = 0.0,
        jitter_s: float = 0.0,
        dns_latency_s: float = 0.01,
    ) -> None:
        self.seed, self.random = seed, Random(seed)
        self.now = Instant(1000.0)
        self.latency_s, self.loss, self.duplication, self.jitter_s = latency_s, loss, duplication, jitter_s
        self.dns_latency_s = dns_latency_s
        self.dns_down = False
        self.blocked: set[frozenset[str]] = set()
        self.hosts: dict[str, SimHost] = {}
        self.zone: dict[Fqdn, str] = {}
        self.trace: list[tuple[float, str, str, str]] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._addresses = count(_FIRST_ADDRESS)

    def host(self, name: str, **options: object) -> SimHost:
        host = SimHost(self, parse_name(name), **options)  # type: ignore[arg-type]
        self.hosts[name] = host
        host.boot()
        host.move_to(self.new_address(), cause="start")
        return host

    def new_address(self) -> str:
        return str(IPv4Address(next(self._addresses)))

    def at(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay_s, next(self._order), action))

    # --- time

    def run_until(self, condition: Callable[[], bool], limit_s: float = 60.0) -> float:
        """Let virtual time pass until CONDITION; return the seconds. AssertionError after LIMIT_S."""
        start = self.now
        while not condition():
            if not self._step(start + limit_s):
                raise AssertionError(f"not within {limit_s} s (seed {self.seed})\n{self.diagram()}")
        return self.now - start

    def run_for(self, seconds: float) -> None:
        end = self.now + seconds
        while self._step(end):
            pass
        self.now = Instant(end)

    def _step(self, end: float) -> bool:
        """The next event up to END; False when there is none."""
        timers = [(host.next_timeout(), host) for host in self.hosts.values()]
        due = min(((at, host) for at, host in timers if at is not None), key=lambda x: x[0], default=None)
        event_at = self._events[0][0] if self._events else None
        if due is not None and (event_at is None or due[0] <= event_at):
            if due[0] > end:
                return False
            self.now = Instant(max(self.now, due[0]))
            due[1].handle_timeout()
            return True
        if event_at is None or event_at > end:
            return False
        _, _, action = heapq.heappop(self._events)
        self.now = Instant(max(self.now, event_at))
        action()
        return True

    # --- datagrams and DNS

    def send(self, sender: SimHost, transmit: Transmit) -> None:
        source, target = sender.locator, transmit.destination
        if source is None:
            return
        payload = bytes(transmit.payload)
        receiver = next((host for host in self.hosts.values() if host.is_at(target)), None)
        name = receiver.name if receiver is not None else str(target)
        label = f"{len(payload)} bytes" if payload[:4] != bytes(4) else f"handshake {payload[5]}"
        lost = self.random.random() < self.loss or frozenset((source.host, target.host)) in self.blocked
        self.note(sender.name, name, label + (" LOST" if lost else ""))
        if lost:
            return
        copies = 2 if self.random.random() < self.duplication else 1
        for _ in range(copies):
            delay_s = self.latency_s + self.random.random() * self.jitter_s
            self.at(delay_s, lambda: self._arrive(payload, source, target))

    def _arrive(self, payload: bytes, source: Locator, target: Locator) -> None:
        for host in list(self.hosts.values()):
            if host.is_at(target) and host.up:
                host.handle_datagram(payload, source)

    def publish(self, name: Fqdn, address: str) -> None:
        if not self.dns_down:
            self.at(self.dns_latency_s, lambda: self.zone.__setitem__(name, address))

    def lookup(self, host: SimHost, wanted: LookupWanted) -> None:
        host.lookups.append(wanted)
        self.note(host.name, "DNS", f"{wanted.name}: {wanted.reason}")
        # The answer is what the server has when the question arrives.
        failed = self.dns_down or host.locator is None
        self.at(self.dns_latency_s / 2, lambda: self._answer(host, wanted, failed))

    def _answer(self, host: SimHost, wanted: LookupWanted, failed: bool) -> None:
        result = LookupResult(wanted.name, failed=True) if failed else self.result(wanted.name)
        self.at(0.3 if failed else self.dns_latency_s / 2, lambda: host.handle_lookup(result))

    def result(self, name: Fqdn) -> LookupResult:
        target = self.hosts.get(name)
        addresses = (self.zone[name],) if name in self.zone else ()
        if target is None or not target.in_dns:
            return LookupResult(name, addresses)
        return LookupResult(name, addresses, target.public_key, DEFAULT_PORT)

    # --- for people

    def note(self, source: str, target: str, text: str) -> None:
        self.trace.append((self.now, source, target, text))

    def diagram(self, last: int = 40) -> str:
        return "\n".join(
            f"{at:10.4f}  {source} -> {to}: {text}" for at, source, to, text in self.trace[-last:]
        )


class SimHost:
    """One host: a node, a disk, an address; and the outputs that tests look at."""

    def __init__(
        self,
        net: Network,
        name: Fqdn,
        *,
        policy: Policy | None = None,
        accept: AcceptPolicy | None = None,
        listed: tuple[ListedPeer, ...] = (),
        subnet: str = "240.0.0.0/4",
        private_key: bytes | None = None,
        in_dns: bool = True,
    ) -> None:
        self.net, self.name = net, name
        self.policy = policy or Policy()
        self.accept = accept or AcceptPolicy(("*.example",))
        self.listed, self.subnet = listed, IPv4Network(subnet)
        self.private_key = private_key or net.random.randbytes(32)
        self.in_dns = in_dns
        self.disk = Disk()
        self.up = False
        self.locator: Locator | None = None
        self.aliases: set[Locator] = set()  # where it can be reached besides
        self.received: deque[bytes] = deque()
        self.icmp: list[bytes] = []
        self.moves: dict[int, MoveReport] = {}
        self.logs: list[LogEvent] = []
        self.lookups: list[LookupWanted] = []
        self.failed: dict[Fqdn, str] = {}
        self.local_tokens: set[UseLocalToken] = set()
        self.clock_error_s = 0.0
        self.refused: dict[str, int] = {}
        self._serial = count()
        self._probes: dict[Fqdn, tuple[int, Instant]] = {}

    def is_at(self, locator: Locator) -> bool:
        return locator == self.locator or locator in self.aliases

    # --- life

    def boot(self) -> None:
        self.up = True
        space = TokenSpace(self.subnet)
        stored = self.disk.load()
        host = Host(
            self.name,
            self.private_key,
            policy=self.policy,
            space=space,
            accept=self.accept,
            random_bytes=self.net.random.randbytes,
            unix_us=lambda: int((_UNIX_START_S + self.net.now + self.clock_error_s) * 1e6),
            clock=stored.clock,
        )
        self.node = Node(host, stored, self.listed)
        self.public_key = host.public_key
        space.choose_own(self.name, host.unix_s)
        self._carry_out(self.node.start(self.net.now))
        if self.locator is not None:
            self._carry_out(self.node.handle_locators((self.locator,), "start", self.net.now))

    def crash(self) -> None:
        """As by kill -9: only the disk is left."""
        self.up = False

    def move_to(self, address: str | None, *, cause: str = "address", publish: bool = True) -> None:
        self.locator = None if address is None else Locator(address, DEFAULT_PORT)
        if address is not None and publish and self.in_dns:
            self.net.publish(self.name, address)
        if self.up:
            locators = () if self.locator is None else (self.locator,)
            self._carry_out(self.node.handle_locators(locators, cause, self.net.now))

    # --- inputs

    def handle_datagram(self, data: bytes, source: Locator) -> None:
        try:
            self._carry_out(self.node.handle_datagram(data, source, self.net.now))
        except PeerError as error:
            key = type(error).__name__
            self.refused[key] = self.refused.get(key, 0) + 1

    def handle_lookup(self, result: LookupResult) -> None:
        if self.up:
            self._carry_out(self.node.handle_lookup(result, self.net.now))

    def next_timeout(self) -> Instant | None:
        return self.node.next_timeout() if self.up else None

    def handle_timeout(self) -> None:
        self._carry_out(self.node.handle_timeout(self.net.now))

    # --- applications

    def resolve(self, other: SimHost) -> None:
        """What the resolver does for an application that asks for OTHER's name."""
        self._carry_out(self.node.want_binding(self.net.result(other.name), self.net.now))

    def token_of(self, other: SimHost) -> Token | None:
        peer = self.node.peers.get(other.name)
        return None if peer is None or peer.binding is None else peer.binding.remote_token

    def send(self, other: SimHost, body: bytes) -> None:
        """A packet from an application to OTHER's token; it must be known."""
        peer = self.node.peers[other.name]
        assert peer.binding is not None
        packet = ipv4(peer.binding.local_token, peer.binding.remote_token, body)
        self._carry_out(self.node.handle_packet(packet, self.net.now))

    def can_reach(self, other: SimHost) -> bool:
        """Whether a packet sent since this was last true arrived; one is sent every 10 ms."""
        number, next_at = self._probes.get(other.name, (next(self._serial), self.net.now))
        marker = f"{self.name} to {other.name}, {number}".encode()
        if marker in other.received:
            del self._probes[other.name]
            return True
        if self.net.now >= next_at:
            next_at = Instant(self.net.now + 0.01)
            self.net.at(0.01, lambda: None)  # so that time passes though nothing else happens
            if self.token_of(other) is not None:
                self.send(other, marker)
            elif other.name not in self.node.peers or self.node.peers[other.name].wanted_until is None:
                self.resolve(other)
        self._probes[other.name] = (number, next_at)
        return False

    # --- outputs

    def _carry_out(self, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Transmit():
                    self.net.send(self, output)
                case Deliver():
                    packet = bytes(output.packet)
                    (self.received if packet[9] == PROTOCOL else self.icmp).append(
                        packet[20:] if packet[9] == PROTOCOL else packet
                    )
                case LookupWanted():
                    self.net.lookup(self, output)
                case BindingReady():
                    self.failed.pop(output.name, None)
                case BindingFailed():
                    self.failed[output.name] = output.reason
                case PathAnswered():
                    pass
                case UseLocalToken():
                    self.local_tokens.add(output)
                case MoveReport():
                    self.moves[output.id] = output
                case LogEvent():
                    self.logs.append(output)
                case _:
                    self.disk.apply(output)


def ipv4(source: IPv4Address, destination: IPv4Address, body: bytes) -> bytes:
    """An IPv4 packet without options; the header checksum stays 0, nobody here looks at it."""
    size = (20 + len(body)).to_bytes(2, "big")
    return b"\x45\0" + size + bytes(5) + bytes((PROTOCOL, 0, 0)) + source.packed + destination.packed + body
