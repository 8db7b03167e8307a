"""One host of the simulator: a node, a disk, addresses; and the outputs that tests look at."""

from __future__ import annotations

from collections import deque
from collections.abc import Set as AbstractSet
from ipaddress import IPv4Address, IPv4Network
from itertools import count
from typing import TYPE_CHECKING

from tests.sim.disk import Disk
from tests.sim.nat import Nat

from vipnet.core.host import Host
from vipnet.core.node import Node
from vipnet.core.outputs import (
    BindingFailed,
    BindingReady,
    Deliver,
    LogEvent,
    LookupResult,
    LookupWanted,
    MoveReport,
    Output,
    PathAnswered,
    SeenAt,
    SessionKeys,
    TooBig,
    Transmit,
    UseLocalToken,
)
from vipnet.core.tokens import TokenSpace
from vipnet.core.trust import AcceptPolicy, ListedPeer
from vipnet.errors import PeerError
from vipnet.policy import DEFAULT_PORT, Policy
from vipnet.types import Fqdn, Instant, Locator, Token

if TYPE_CHECKING:
    from tests.sim.network import Network

_UNIX_START_S = 1_700_000_000.0
PROTOCOL = 253  # inner packets carry an experiment's protocol number (RFC 3692)


class SimHost:
    """A host, and what it is told by people: move, sleep, crash, send.

    up         the daemon runs
    asleep     suspended: time goes on for it, and it does nothing
    locators   its own addresses, best first; `locator` is the best of them
    island     hosts on different islands do not hear each other; DNS is on all of them
    """

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
        self.up = self.asleep = False
        self.locators: tuple[Locator, ...] = ()
        self.nat: Nat | None = None
        self._aliases: frozenset[Locator] = frozenset()
        self.island = 0
        self.received: deque[bytes] = deque()
        self.icmp: list[bytes] = []
        self.moves: dict[int, MoveReport] = {}
        self.told: dict[type, PathAnswered | SeenAt | SessionKeys] = {}  # the last of each kind
        self.logs: list[LogEvent] = []
        self.lookups: list[LookupWanted] = []
        self.failed: dict[Fqdn, str] = {}
        self.local_tokens: set[UseLocalToken] = set()
        self.clock_error_s = 0.0
        self.refused: dict[str, int] = {}
        self._timer_at: Instant | None = None
        self._unanswered: list[LookupResult] = []  # look-ups that sleep has cut off
        self._serial = count()
        self._probes: dict[Fqdn, tuple[int, Instant]] = {}

    # --- life

    @property
    def awake(self) -> bool:
        return self.up and not self.asleep

    def boot(self) -> None:
        self.up, self.asleep = True, False
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
        if self.locators:
            self._carry_out(self.node.handle_locators(self.locators, "start", self.net.now))

    def rotate(self, *, forget_old: bool = False) -> None:
        """`vipnet key rotate`: whoever is there is told; DNS has the new key at once."""
        self.private_key = self.net.random.randbytes(32)
        self._carry_out(self.node.people.rotate(self.private_key, self.net.now, forget_old=forget_old))
        self.public_key = self.node.host.public_key

    def crash(self) -> None:
        """As by kill -9: only the disk is left."""
        self.up = False

    def lose_disk(self) -> None:
        """The store too: another disk, empty."""
        self.up = False
        self.disk = Disk()

    def sleep(self) -> None:
        """Suspended: CLOCK_BOOTTIME, which the core counts by, goes on."""
        self.asleep = True

    def wake(self) -> None:
        """Go on, where the host is now; what became due meanwhile is late."""
        self.asleep = False
        if self.locator is not None and self.in_dns and self.net.zone.get(self.name) != self.locator.host:
            self.net.publish(self.name, self.locator.host)
        if self.up:
            self._carry_out(self.node.handle_locators(self.locators, "wake", self.net.now))
        unanswered, self._unanswered = self._unanswered, []
        for result in unanswered:
            self.handle_lookup(result)

    # --- place

    @property
    def locator(self) -> Locator | None:
        return self.locators[0] if self.locators else None

    @locator.setter
    def locator(self, locator: Locator | None) -> None:
        """Be elsewhere without noticing: behind a NAT, or without an event."""
        self._put(() if locator is None else (locator,))

    def move_to(
        self, address: str | None, *others: str, cause: str = "address", publish: bool = True
    ) -> None:
        """Have ADDRESS and OTHERS from now on, best first; None: be nowhere."""
        addresses = () if address is None else (address, *others)
        self._put(tuple(Locator(own, DEFAULT_PORT) for own in addresses))
        if address is not None and publish and self.in_dns and not self.asleep:
            self.net.publish(self.name, address)
        if self.awake:
            self._carry_out(self.node.handle_locators(self.locators, cause, self.net.now))

    def move_behind(self, nat_address: str | None) -> None:
        """Put a NAT between the host and the network, or take it away; takes effect by the next move."""
        self._put(())
        self.nat = None if nat_address is None else Nat(self, nat_address)

    @property
    def aliases(self) -> AbstractSet[Locator]:
        """Where it can be reached besides, as by a forwarded port."""
        return self._aliases

    @aliases.setter
    def aliases(self, locators: AbstractSet[Locator]) -> None:
        for old in self._aliases:
            self.net.displace(self, old)
        self._aliases = frozenset(locators)
        for new in self._aliases:
            self.net.place(self, new)

    def forgotten_by_nat(self) -> None:
        """The next datagram out comes from another port; what is sent to the old one is lost."""
        if self.nat is not None:
            self.nat.forget()

    @property
    def reached_at(self) -> tuple[Locator, ...]:
        """Where others reach it now."""
        if self.nat is None:
            return self.locators
        return () if self.nat.outside is None else (self.nat.outside,)

    def seems_at(self, source: str | None) -> Locator | None:
        """Where a datagram from the address SOURCE seems to come from; None: it cannot leave."""
        if not self.locators:
            return None
        if self.nat is not None:
            return self.nat.pass_out()
        return next((own for own in self.locators if own.host == source), self.locators[0])

    def _put(self, locators: tuple[Locator, ...]) -> None:
        if self.nat is not None:
            self.nat.forget()
        else:
            for old in self.locators:
                self.net.displace(self, old)
            for new in locators:
                self.net.place(self, new)
        self.locators = locators

    # --- inputs of the node

    def handle_datagram(self, data: bytes, source: Locator) -> None:
        try:
            outputs = self.node.handle_datagram(data, source, self.net.now)
        except PeerError as error:
            self.refused[type(error).__name__] = self.refused.get(type(error).__name__, 0) + 1
            outputs = []
        self._carry_out(outputs)

    def handle_too_big(self, report: TooBig) -> None:
        if self.awake:
            self._carry_out(self.node.handle_too_big(report, self.net.now))

    def handle_lookup(self, result: LookupResult) -> None:
        if self.asleep:
            self._unanswered.append(LookupResult(result.name, failed=True))
        elif self.up:
            self._carry_out(self.node.handle_lookup(result, self.net.now))

    def next_timeout(self) -> Instant | None:
        return self.node.next_timeout() if self.awake else None

    def handle_timeout(self) -> None:
        self._carry_out(self.node.handle_timeout(self.net.now))

    def watch_timer(self) -> None:
        """See that the node is called when it wants to be; once more does no harm."""
        at = self.next_timeout()
        if at is not None and (self._timer_at is None or at < self._timer_at):
            self._timer_at = at
            self.net.timer(at, lambda: self._serve_timer(at))

    def _serve_timer(self, at: Instant) -> None:
        if self._timer_at != at:
            return  # an earlier one took its place
        self._timer_at = None
        due = self.next_timeout()
        if due is not None and due <= self.net.now:
            self.handle_timeout()
        else:
            self.watch_timer()

    # --- applications

    def resolve(self, other: SimHost) -> None:
        """What the resolver does for an application that asks for OTHER's name."""
        self._carry_out(self.node.want_binding(self.net.result(other.name), self.net.now))

    def expect(self, other: SimHost) -> None:
        """An application asks for OTHER's name, which has a token already."""
        self._carry_out(self.node.expect(other.name, self.net.now))

    def token_of(self, other: SimHost) -> Token | None:
        peer = self.node.peers.get(other.name)
        return None if peer is None or peer.binding is None else peer.binding.remote_token

    def send(self, other: SimHost, body: bytes, *, df: bool = False) -> None:
        """A packet from an application to OTHER's token, which must be known; with DF or without."""
        peer = self.node.peers[other.name]
        assert peer.binding is not None
        packet = ipv4(peer.binding.local_token, peer.binding.remote_token, body, df=df)
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
                    for datagram in output.each():
                        self.net.send(self, datagram)
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
                case PathAnswered() | SeenAt() | SessionKeys():
                    self.told[type(output)] = output
                case UseLocalToken():
                    self.local_tokens.add(output)
                case MoveReport():
                    self.moves[output.id] = output
                case LogEvent():
                    self.logs.append(output)
                case _:
                    self.disk.apply(output)
        self.net.touched[self] = None
        self.watch_timer()


def ipv4(source: IPv4Address, destination: IPv4Address, body: bytes, *, df: bool = False) -> bytes:
    """An IPv4 packet without options; the header checksum stays 0, nobody here looks at it."""
    size = (20 + len(body)).to_bytes(2, "big")
    flags = bytes((0x40 if df else 0, 0))
    rest = bytes((0, PROTOCOL, 0, 0)) + source.packed + destination.packed
    return b"\x45\0" + size + bytes(2) + flags + rest + body
