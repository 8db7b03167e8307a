"""Two whole nodes, and everything that may befall them next, as choices.

Time stands still while anything is in flight: a datagram takes no time, and may be
lost instead. It goes on, to the next timer, when nothing is. So what a search
chooses is the order of deliveries, losses, moves, restarts, DNS and timers, which
is what the protocol can be wrong about; how long each takes is left to
`tests.sim.network`.

- Links are FIFO, one each way; `overtakes` lets a datagram pass the one before it.
- A move takes a host to an address that nobody had; what is under way to the old
  one is lost. Its DNS update arrives when nothing is in flight, or, for one of
  `lates`, only after the next timer.
- A restart is a kill -9 with the store kept, and a start at once.
- An application of each host sends a packet whenever nothing is in flight, and
  right after each move and restart of its host, until its `packets` are sent. When
  all is quiet and no timer is near, there is a rest of a few seconds, and then the
  same again.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from io import BytesIO
from ipaddress import IPv4Address, IPv4Network

from msgspec import Struct
from tests.sim.disk import Disk
from tests.sim.host import ipv4
from tests.sim.opencrypto import Draws, public_of

from vipnet.core.host import Host
from vipnet.core.node import Node
from vipnet.core.outputs import Deliver, LookupResult, LookupWanted, Output, Transmit
from vipnet.core.peer import Peer
from vipnet.core.tokens import TokenSpace
from vipnet.core.trust import AcceptPolicy
from vipnet.crypto.noise import KEY_SIZE
from vipnet.errors import PeerError
from vipnet.policy import DEFAULT_PORT, Policy
from vipnet.types import Instant, Locator, Token, parse_name
from vipnet.wire import control
from vipnet.wire.control import ControlMessage
from vipnet.wire.datagram import HEADER_SIZE, KIND_IPV4, TAG_SIZE, DataHeader, is_handshake
from vipnet.wire.handshake import (
    HandshakeDatagram,
    HandshakeType,
    InitPayload,
    ResponsePayload,
    StalePayload,
    decode_handshake,
    decode_init_payload,
    decode_response_payload,
)

Choice = tuple[str, str]  # what, and to which host

POLICY = Policy(lease_s=3600.0)  # longer than any life: leases are not this search's matter
HORIZON_S = 10.0  # later timers (leases, keys) are not served: no search lives for so long
REST_S = 5.1
PEACE_MAX_S = 10.0  # after all is quiet, so long may it take until a packet arrives
_EPOCH_US = 1_000_000_000_000_000  # each host's wall clock stands still at a time of its own


class ViolationError(AssertionError):
    """A property does not hold."""


@dataclass
class Budget:
    """How often something may still happen."""

    moves: int = 0
    losses: int = 0
    restarts: int = 0
    lates: int = 0
    overtakes: int = 0

    def as_tuple(self) -> tuple[int, ...]:
        return (self.moves, self.losses, self.restarts, self.lates, self.overtakes)


@dataclass
class Flight:
    """A datagram under way."""

    payload: bytes
    source: Locator
    target: Locator


@dataclass
class TwoHost:
    """One of the two: a node, a disk, an address."""

    letter: str
    draws: Draws
    packets: int
    disk: Disk = field(default_factory=Disk)
    moves: int = 0
    sent: int = 0
    delivered: list[bytes] = field(default_factory=list)
    inbound: deque[Flight] = field(default_factory=deque)
    unpublished: str | None = None  # address of an update of DNS that has not arrived
    asks: bool = False  # a look-up of the other host is under way

    def __post_init__(self) -> None:
        self.name = parse_name(f"{self.letter}.example")
        self.private_key = self.letter.encode() * 32
        self.public_key = public_of(self.private_key)

    @property
    def locator(self) -> Locator:
        return Locator(f"192.0.2.{10 * (ord(self.letter) - 96) + self.moves}", DEFAULT_PORT)

    def packets_sent(self) -> set[bytes]:
        return {f"{self.letter}{number + 1}".encode() for number in range(self.sent)}

    def unix_us(self) -> int:
        return ord(self.letter) * _EPOCH_US

    @property
    def peer(self) -> Peer:
        """The other host, as this one sees it."""
        (peer,) = self.node.peers.values()
        return peer

    def new_node(self) -> Node:
        space = TokenSpace(IPv4Network("240.0.0.0/4"))
        stored = self.disk.load()
        host = Host(
            self.name,
            self.private_key,
            policy=POLICY,
            space=space,
            accept=AcceptPolicy(("*.example",)),
            random_bytes=self.draws.draw,
            unix_us=self.unix_us,
            clock=stored.clock,
        )
        self.node = Node(host, stored)
        self.node._order = _Order()  # type: ignore[assignment] # as itertools.count, and can be pickled
        space.choose_own(self.name, host.unix_s)
        return self.node

    def next_timeout(self) -> Instant | None:
        return min((at for peer in self.node.peers.values() if (at := peer.next_timeout())), default=None)


_values: list[object] = []
_numbers: dict[object, int] = {}


def _share(value: Hashable) -> tuple[Callable[[int], object], tuple[int]]:
    """Values that never change are not copied."""
    number = _numbers.get(value)
    if number is None:
        number = _numbers[value] = len(_values)
        _values.append(value)
    return _shared, (number,)


def _shared(number: int) -> object:
    return _values[number]


_SHARED = dict.fromkeys((IPv4Address, IPv4Network, Locator, Policy, AcceptPolicy), _share)


class _Order:
    def __init__(self) -> None:
        self._next = 0

    def __next__(self) -> int:
        self._next += 1
        return self._next


class World:
    """Both hosts and what is between them.

    packets  of each application, from one rest to the next
    calm     moves and restarts begin only while nothing is in flight; others may follow at once
    watch    sees what is sent, for diagrams
    """

    def __init__(self, budget: Budget, packets: int, *, calm: bool = False) -> None:
        self.packets, self.calm = packets, calm
        self.struck = False  # the last that happened was a move or a restart
        self.now = self.born = Instant(1000.0)
        self.left, self.used = budget, Budget()
        self.hosts = {letter: TwoHost(letter, Draws(letter), 0) for letter in "ab"}
        self.zone = {host.name: host.locator.host for host in self.hosts.values()}
        self.tokens: tuple[Token, Token] | None = None  # of a and b, once they are agreed
        self.watch: Callable[[float, str, str, bytes], None] | None = None
        for host in self.hosts.values():
            self._boot(host)
        self._introduce()

    def _introduce(self) -> None:
        """The two have a session, tokens and traffic; then everything is quiet."""
        a, b = self.hosts.values()
        self._carry_out(a, a.node.want_binding(self._result(b), self.now))
        self._drain()
        for host in (a, b):
            self._send(host)
            self._drain()
        while not self.is_settled():
            self._serve_next_timer()
            self._drain()
        binding = a.peer.binding
        assert binding is not None
        self.tokens = (binding.local_token, binding.remote_token)
        # Long enough for the session to be no party to a crossing of handshakes.
        self.born = self.now
        self._rest()
        for host in (a, b):
            host.sent = 0
            host.delivered.clear()

    def freeze(self) -> bytes:
        """A copy, to be thawed any number of times: several times as fast as copy.deepcopy."""
        frozen = BytesIO()
        pickler = pickle.Pickler(frozen, pickle.HIGHEST_PROTOCOL)
        pickler.dispatch_table = _SHARED
        pickler.dump(self)
        return frozen.getvalue()

    @staticmethod
    def thaw(frozen: bytes) -> World:
        world: World = pickle.loads(frozen)
        return world

    # --- what may happen

    def choices(self) -> list[Choice]:
        """What may happen next; [] at the end of this life.

        While datagrams are in flight to both hosts, only one of them acts: what a host
        does depends on nothing but itself and what has reached it, so every run is
        equal to one in which a acts first. With `overtakes` this is not so: what the
        other sends meanwhile could pass what is there.
        """
        acting = [host for host in self.hosts.values() if host.inbound]
        if not acting:
            return self._quiet_choices()
        if not self.left.overtakes:
            acting = acting[:1]
        choices: list[Choice] = []
        for host in acting:
            choices.append(("deliver", host.letter))
            if self.left.losses:
                choices.append(("lose", host.letter))
            if self.left.overtakes and len(host.inbound) > 1:
                choices.append(("overtake", host.letter))
        if self.calm and not self.struck:
            return choices
        for host in self.hosts.values() if self.left.overtakes or self.calm else acting:
            choices += self._strokes_of_fate(host)
        return choices

    def _quiet_choices(self) -> list[Choice]:
        if self.is_settled():
            return [("rest", "")] if any(self.left.as_tuple()) else []
        choices: list[Choice] = []
        for host in self.hosts.values():
            choices += self._strokes_of_fate(host)
        waiting = [host for host in self.hosts.values() if host.unpublished is not None]
        if waiting:
            choices += [("publish", host.letter) for host in waiting]
            if self.left.lates and self._soon():
                choices.append(("late", ""))
        else:
            choices.append(("go on", ""))
        return choices

    def _strokes_of_fate(self, host: TwoHost) -> list[Choice]:
        choices: list[Choice] = []
        if self.left.moves:
            choices.append(("move", host.letter))
        if self.left.restarts:
            choices.append(("restart", host.letter))
        return choices

    def is_settled(self) -> bool:
        """Nothing is in flight, asked or to be sent, and no timer is due soon."""
        if any(host.inbound or host.asks or host.packets or host.unpublished for host in self.hosts.values()):
            return False
        return not self._soon()

    def _soon(self) -> bool:
        due = self._next_timer()
        return due is not None and due - self.now <= HORIZON_S

    # --- what happens

    def do(self, choice: Choice) -> None:
        """Let it happen. Raise ViolationError when it breaks a promise at once."""
        what, letter = choice
        self.struck = what in ("move", "restart")
        host = self.hosts.get(letter)
        if host is None:
            if what == "rest":
                self._rest()
            else:
                self._go_on(late=what == "late")
            return
        match what:
            case "deliver":
                self._deliver(host, host.inbound.popleft())
            case "overtake":
                self._spend("overtakes")
                first = host.inbound.popleft()
                second = host.inbound.popleft()
                host.inbound.appendleft(first)
                self._deliver(host, second)
            case "lose":
                self._spend("losses")
                host.inbound.popleft()
            case "move":
                self._spend("moves")
                self._move(host)
            case "restart":
                self._spend("restarts")
                self._boot(host)
            case "publish":
                self._publish(host)
        if what in ("move", "restart") and host.packets:
            host.packets -= 1
            self._send(host)

    def _spend(self, what: str) -> None:
        setattr(self.left, what, getattr(self.left, what) - 1)
        setattr(self.used, what, getattr(self.used, what) + 1)

    def _go_on(self, *, late: bool) -> None:
        """Nothing is in flight: DNS answers, applications send, or time goes on."""
        if late:
            self._spend("lates")
        asking = [host for host in self.hosts.values() if host.asks]
        talking = [host for host in self.hosts.values() if host.packets]
        for host in asking:
            self._answer(host)
        if asking:
            return
        for host in talking:
            host.packets -= 1
            self._send(host)
        if not talking:
            self._serve_next_timer()

    def _rest(self) -> None:
        """Longer than anything is kept for a replay, and than handshakes may be apart that cross."""
        self.now = Instant(self.now + REST_S)
        for host in self.hosts.values():
            host.packets = self.packets
            host.node.handle_timeout(self.now)

    def _deliver(self, host: TwoHost, flight: Flight) -> None:
        try:
            outputs = host.node.handle_datagram(flight.payload, flight.source, self.now)
        except PeerError:
            return
        self._carry_out(host, outputs)

    def _move(self, host: TwoHost) -> None:
        host.moves += 1
        host.unpublished = host.locator.host
        host.inbound.clear()
        self._carry_out(host, host.node.handle_locators((host.locator,), "address", self.now))

    def _boot(self, host: TwoHost) -> None:
        node = host.new_node()
        host.asks = False
        self._carry_out(host, node.start(self.now))
        self._carry_out(host, node.handle_locators((host.locator,), "start", self.now))

    def _publish(self, host: TwoHost) -> None:
        assert host.unpublished is not None
        self.zone[host.name], host.unpublished = host.unpublished, None

    def _answer(self, host: TwoHost) -> None:
        host.asks = False
        self._carry_out(host, host.node.handle_lookup(self._result(self.other(host)), self.now))

    def _result(self, host: TwoHost) -> LookupResult:
        return LookupResult(host.name, (self.zone[host.name],), host.public_key, DEFAULT_PORT)

    def _send(self, host: TwoHost) -> None:
        """A packet of an application, unlike any before."""
        binding = host.peer.binding
        if binding is None:
            raise ViolationError(f"{host.name} has no token for its partner any more")
        host.sent += 1
        packet = ipv4(binding.local_token, binding.remote_token, f"{host.letter}{host.sent}".encode())
        self._carry_out(host, host.node.handle_packet(packet, self.now))

    def _next_timer(self) -> Instant | None:
        return min((at for host in self.hosts.values() if (at := host.next_timeout())), default=None)

    def _serve_next_timer(self) -> None:
        due = self._next_timer()
        assert due is not None
        self.now = Instant(max(self.now, due))
        for host in self.hosts.values():
            if (at := host.next_timeout()) is not None and at <= self.now:
                self._carry_out(host, host.node.handle_timeout(self.now))
                if host.next_timeout() == at:
                    raise ViolationError(f"{host.name} does not serve its timer")

    def _drain(self) -> None:
        """Let everything arrive that is in flight; DNS answers."""
        while any(host.inbound or host.asks for host in self.hosts.values()):
            for host in self.hosts.values():
                if host.inbound:
                    self._deliver(host, host.inbound.popleft())
                elif host.asks:
                    self._answer(host)

    def other(self, host: TwoHost) -> TwoHost:
        return self.hosts["b" if host.letter == "a" else "a"]

    def _carry_out(self, host: TwoHost, outputs: list[Output]) -> None:
        other = self.other(host)
        for output in outputs:
            match output:
                case Transmit():
                    arrives = output.destination == other.locator
                    if self.watch is not None:
                        to = other.letter if arrives else str(output.destination)
                        self.watch(self.now, host.letter, to, bytes(output.payload))
                    if arrives:
                        other.inbound.append(Flight(bytes(output.payload), host.locator, other.locator))
                case Deliver():
                    body = bytes(output.packet)[20:]
                    if body in host.delivered:
                        raise ViolationError(f"{host.name} gets {body!r} twice")
                    host.delivered.append(body)
                case LookupWanted():
                    if host.asks:
                        raise ViolationError(f"{host.name} asks DNS while an answer is under way")
                    host.asks = True
                case _:
                    host.disk.apply(output)

    # --- what holds

    def check(self) -> None:
        """In every state. Raise ViolationError."""
        if self.tokens is None:
            return
        for host, tokens in zip(self.hosts.values(), (self.tokens, self.tokens[::-1]), strict=True):
            binding, stored = host.peer.binding, host.disk.bindings[self.other(host).name]
            if binding is None or (binding.local_token, binding.remote_token) != tokens:
                raise ViolationError(f"{host.name} has the binding {binding}, agreed were {tokens}")
            if stored != binding:
                raise ViolationError(f"{host.name} has {binding} in memory, {stored} on disk")
            due, served = host.next_timeout(), host.node.next_timeout()
            if due is not None and (served is None or served > due):
                raise ViolationError(f"{host.name} has a timer at {due}, its node wakes at {served}")
            if host.peer.mapping.move_number > self.other(host).node.host.move_number:
                raise ViolationError(f"{host.name} believes a move that its partner never made")

    def check_settled(self) -> float:
        """Once all is quiet: mappings are right, nothing that is kept was lost, and a packet arrives.

        Uses this world up. Return how long it took until a packet each way arrived, seconds.
        """
        for host in self.hosts.values():
            other = self.other(host)
            if host.peer.mapping.current != other.locator:
                raise ViolationError(f"{host.name} believes its partner at {host.peer.mapping.current}")
            if not (self.used.losses or self.used.restarts) and len(host.delivered) != other.sent:
                raise ViolationError(f"{other.name} sent {other.sent} packets, {host.delivered} arrived")
        begun_at = self.now
        wanted = {}
        for host in self.hosts.values():
            self._send(host)
            wanted[self.other(host).letter] = f"{host.letter}{host.sent}".encode()
        self._drain()
        while not all(packet in self.hosts[letter].delivered for letter, packet in wanted.items()):
            self._serve_next_timer()
            self._drain()
            if self.now - begun_at > PEACE_MAX_S:
                raise ViolationError(f"quiet for long, and a packet does not arrive in {PEACE_MAX_S} s")
        return self.now - begun_at


class Parts(Struct, frozen=True):
    """What a datagram says, to one who has no key: `opencrypto` hides nothing.

    content  a control message, the body of an application's packet, or a HandshakeDatagram
    payload  of a handshake; `drawn`: the random keys that stand in it
    """

    content: ControlMessage | HandshakeDatagram | bytes
    index: int
    key: bytes = b""
    counter: int = 0
    payload: InitPayload | ResponsePayload | StalePayload | None = None
    drawn: tuple[bytes, ...] = ()


def read_datagram(data: bytes) -> Parts:
    if is_handshake(data):
        datagram = decode_handshake(data)
        assert isinstance(datagram, HandshakeDatagram)
        noise = datagram.noise
        if datagram.type is HandshakeType.IK_INIT:
            payload = decode_init_payload(noise[3 * KEY_SIZE :])
            return Parts(datagram, datagram.sender, payload=payload, drawn=(noise[:KEY_SIZE],))
        answer = decode_response_payload(noise[KEY_SIZE + TAG_SIZE :])
        return Parts(datagram, datagram.receiver, payload=answer, drawn=(noise[:KEY_SIZE],))
    header = DataHeader.decode(data)
    plaintext, key = data[HEADER_SIZE:-TAG_SIZE], data[-TAG_SIZE:]
    body = plaintext[:-1]
    content = body[20:] if plaintext[-1] == KIND_IPV4 else control.decode(body)
    return Parts(content, header.receiver_index, key, header.counter)
