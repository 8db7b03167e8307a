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

from collections.abc import Callable
from dataclasses import dataclass

from tests.sim.barehost import BareHost, Flight
from tests.sim.frozen import freeze, thaw
from tests.sim.host import ipv4
from tests.sim.opencrypto import Draws

from vipnet.core.outputs import Deliver, LookupResult, LookupWanted, Output, Transmit
from vipnet.errors import PeerError
from vipnet.policy import DEFAULT_PORT
from vipnet.types import Instant, Token

Choice = tuple[str, str]  # what, and to which host

HORIZON_S = 10.0  # later timers (leases, keys) are not served: no search lives for so long
REST_S = 5.1
PEACE_MAX_S = 10.0  # after all is quiet, so long may it take until a packet arrives


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
        self.hosts = {letter: BareHost(letter, Draws(letter), 0) for letter in "ab"}
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
        return freeze(self)

    @staticmethod
    def thaw(frozen: bytes) -> World:
        world: World = thaw(frozen)
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

    def _strokes_of_fate(self, host: BareHost) -> list[Choice]:
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

    def _deliver(self, host: BareHost, flight: Flight) -> None:
        try:
            outputs = host.node.handle_datagram(flight.payload, flight.source, self.now)
        except PeerError:
            return
        self._carry_out(host, outputs)

    def _move(self, host: BareHost) -> None:
        host.moves += 1
        host.unpublished = host.locator.host
        host.inbound.clear()
        self._carry_out(host, host.node.handle_locators((host.locator,), "address", self.now))

    def _boot(self, host: BareHost) -> None:
        node = host.new_node()
        host.asks = False
        self._carry_out(host, node.start(self.now))
        self._carry_out(host, node.handle_locators((host.locator,), "start", self.now))

    def _publish(self, host: BareHost) -> None:
        assert host.unpublished is not None
        self.zone[host.name], host.unpublished = host.unpublished, None

    def _answer(self, host: BareHost) -> None:
        host.asks = False
        self._carry_out(host, host.node.handle_lookup(self._result(self.other(host)), self.now))

    def _result(self, host: BareHost) -> LookupResult:
        return LookupResult(host.name, (self.zone[host.name],), host.public_key, DEFAULT_PORT)

    def _send(self, host: BareHost) -> None:
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

    def other(self, host: BareHost) -> BareHost:
        return self.hosts["b" if host.letter == "a" else "a"]

    def _carry_out(self, host: BareHost, outputs: list[Output]) -> None:
        other = self.other(host)
        for output in outputs:
            match output:
                case Transmit():
                    arrives = output.destination == other.locator
                    for datagram in map(bytes, (one.payload for one in output.each())):
                        if self.watch is not None:
                            to = other.letter if arrives else str(output.destination)
                            self.watch(self.now, host.letter, to, datagram)
                        if arrives:
                            other.inbound.append(Flight(datagram, host.locator, other.locator))
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

    def _has_reached(self, host: BareHost, begun: dict[str, int]) -> bool:
        """Whether a packet that HOST sent after those BEGUN has arrived."""
        before = {f"{host.letter}{number + 1}".encode() for number in range(begun[host.letter])}
        return bool((host.packets_sent() - before).intersection(self.other(host).delivered))

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
        begun = {host.letter: host.sent for host in self.hosts.values()}
        while behind := [host for host in self.hosts.values() if not self._has_reached(host, begun)]:
            # What is sealed for a run of the partner's daemon that is over is lost with it; the next is not.
            if self.used.restarts or self.now == begun_at:
                for host in behind:
                    self._send(host)
                self._drain()
            if all(self._has_reached(host, begun) for host in behind):
                break
            self._serve_next_timer()
            self._drain()
            if self.now - begun_at > PEACE_MAX_S:
                raise ViolationError(f"quiet for long, and a packet does not arrive in {PEACE_MAX_S} s")
        return self.now - begun_at
