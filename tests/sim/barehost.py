"""One host of a search: a node, a disk, an address, and nothing that cannot be copied."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from tests.sim.disk import Disk
from tests.sim.opencrypto import Draws, public_of

from vipnet.core.host import Host
from vipnet.core.node import Node
from vipnet.core.peer import Peer
from vipnet.core.tokens import TokenSpace
from vipnet.core.trust import AcceptPolicy
from vipnet.policy import DEFAULT_PORT, Policy
from vipnet.types import Instant, Locator, parse_name

POLICY = Policy(lease_s=3600.0)  # longer than any life: leases are not this search's matter
_EPOCH_US = 1_000_000_000_000_000  # each host's wall clock stands still at a time of its own


@dataclass
class Flight:
    """A datagram under way."""

    payload: bytes
    source: Locator
    target: Locator


@dataclass
class BareHost:
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
        space.choose_own(self.name, host.unix_s)
        return self.node

    def next_timeout(self) -> Instant | None:
        return min((at for peer in self.node.peers.values() if (at := peer.next_timeout())), default=None)
