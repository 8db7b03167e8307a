"""What the core asks the world to do, as values.

Outputs are carried out in order: a Store... that stands before a Transmit is
durable before the datagram leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import Any, Literal

from msgspec import Struct

from vipnet.errors import PeerError
from vipnet.types import Fqdn, Instant, Locator, PublicKey, Token
from vipnet.wire.offload import Offload

TrustLevel = Literal["callback", "tofu", "dns", "dnssec", "pinned"]
TRUST_ORDER: tuple[TrustLevel, ...] = ("callback", "tofu", "dns", "dnssec", "pinned")


# --- packets and datagrams


class Fragmentation(Enum):
    """Whether a datagram that is too large for a link may go in fragments."""

    ALLOWED = auto()
    AVOIDED = auto()  # no router may (DF); only our own link, when it turns out too narrow
    FORBIDDEN = auto()  # it asks whether its size passes


class Transmit(Struct, frozen=True, gc=False):
    """Datagrams for one destination.

    source        None leaves the address to the kernel
    segment_size  of all but the last, which may be shorter; None: PAYLOAD is one datagram
    """

    payload: bytes | bytearray | memoryview
    destination: Locator
    source: str | None = None
    segment_size: int | None = None
    fragmentation: Fragmentation = Fragmentation.ALLOWED

    def each(self) -> Iterator[Transmit]:
        """Every datagram by itself."""
        if self.segment_size is None:
            yield self
            return
        payload, size = memoryview(self.payload), self.segment_size
        for start in range(0, len(payload), size):
            datagram = payload[start : start + size]
            yield Transmit(datagram, self.destination, self.source, None, self.fragmentation)


class TooBig(Struct, frozen=True):
    """A datagram to DESTINATION did not pass a link; an input of the core.

    mtu     bytes of an IP packet that pass
    quoted  the beginning of the datagram, as far as the report has it
    local   our own kernel says so, of the host, whatever the port; else a router does, or a forger
    """

    destination: Locator
    mtu: int
    quoted: bytes = b""
    local: bool = False


class Deliver(Struct, frozen=True, gc=False):
    """An IPv4 packet for tun0, or a super-packet; a view is valid until the next input.

    offload  what the kernel has to do before anyone else sees it, None: nothing
    """

    packet: bytes | memoryview
    offload: Offload | None = None


class OwnKeyCloned(Struct, frozen=True):
    """Another machine has our key, or SAID_BY, a partner, says so."""

    said_by: Fqdn


class Refused(Struct, frozen=True):
    """Something from SOURCE was not acceptable: count it."""

    error: PeerError
    source: Locator


# --- DNS


class LookupWanted(Struct, frozen=True):
    """Ask DNS for NAME's address and capability record; answer by Node.handle_lookup.

    authoritative  ask the name's own servers: a resolver's cache would lie
    verify         trust hangs on the answer: validate it (DNSSEC)
    """

    name: Fqdn
    reason: str
    authoritative: bool = False
    verify: bool = False


class LookupResult(Struct, frozen=True):
    """What DNS said of NAME; an input of the core.

    addresses  IP addresses as canonical text, A before AAAA
    key        of the capability record, None where there is none
    port       of the capability record
    failed     no usable answer: nothing is known, which is not "no record"
    secure     DNSSEC vouches for the capability record, or that there is none
    bogus      why that is not what its zone has signed: for people
    """

    name: Fqdn
    addresses: tuple[str, ...] = ()
    key: PublicKey | None = None
    port: int | None = None
    failed: bool = False
    secure: bool = False
    bogus: str | None = None


# --- look-ups by applications


class BindingReady(Struct, frozen=True):
    """NAME has this token: what an application that asks for NAME is told."""

    name: Fqdn
    token: Token


class BindingFailed(Struct, frozen=True):
    """No token for NAME now; `reason` is for people."""

    name: Fqdn
    reason: str


class SessionReady(Struct, frozen=True):
    """There are fresh keys with NAME; `vipnet resolve` tells when."""

    name: Fqdn
    begun_by_us: bool


class SessionKeys(Struct, frozen=True):
    """The keys of a new session with NAME, while People.log_keys() wants them given away.

    local_index, remote_index  in the datagrams to us, and to NAME
    cipher   as crypto.transport.Cipher calls it
    sealing  key of what we send; `opening` of what NAME sends: 32 bytes each
    """

    name: Fqdn
    local_index: int
    remote_index: int
    cipher: str
    sealing: bytes
    opening: bytes


class PathAnswered(Struct, frozen=True):
    """A challenge to NAME at LOCATOR was answered: `vipnet ping` waits for it."""

    name: Fqdn
    locator: Locator
    rtt_s: float


# --- addresses of this host


class SeenAt(Struct, frozen=True):
    """Peer NAME reaches this host at HOST, an IP address: behind a NAT, none of its own."""

    name: Fqdn
    host: str


class UseLocalToken(Struct, frozen=True):
    """With the peer behind `remote` this host is called `local`, not its own token."""

    local: Token
    remote: Token


# --- durable state; also what Node is started with


class StoreClock(Struct, frozen=True):
    """Greatest handshake timestamp and move number ever used, microseconds."""

    timestamp: int
    move_number: int


class StoreOwnToken(Struct, frozen=True):
    token: Token


class StoreBinding(Struct, frozen=True):
    """Insert or replace the binding with NAME.

    accepted     False: reserved, not shown to applications yet
    expires_at   seconds since 1970
    """

    name: Fqdn
    local_token: Token
    remote_token: Token
    generation: int
    accepted: bool
    expires_at: float


class DropBinding(Struct, frozen=True):
    name: Fqdn


class StoreQuarantine(Struct, frozen=True):
    """TOKEN stood for NAME; no other name gets it before `until` (seconds since 1970)."""

    token: Token
    name: Fqdn
    until: float


class StorePeer(Struct, frozen=True):
    """Insert or replace what is known of a peer.

    timestamp      greatest handshake timestamp seen from it
    active         was an active partner: spoken to first after a restart
    contacted      we asked for it first, so that it may open sessions to us
    own_key        the key it knows us by, None: the one we have when this is read
    previous_keys  that it had before `key`, the latest last; they never come back
    """

    name: Fqdn
    key: PublicKey
    trust: TrustLevel
    timestamp: int = 0
    locators: tuple[Locator, ...] = ()
    move_number: int = 0
    active: bool = False
    contacted: bool = False
    own_key: PublicKey | None = None
    previous_keys: tuple[PublicKey, ...] = ()


class DropPeer(Struct, frozen=True):
    name: Fqdn


class StoreOldKey(Struct, frozen=True):
    """A key that this host had, for peers that were not told of its successor.

    until  seconds since 1970
    """

    public: PublicKey
    private: bytes
    until: float


class DropOldKey(Struct, frozen=True):
    public: PublicKey


StoreOutput = (
    StoreClock
    | StoreOwnToken
    | StoreBinding
    | DropBinding
    | StoreQuarantine
    | StorePeer
    | DropPeer
    | StoreOldKey
    | DropOldKey
)


class StoredState(Struct):
    """All that survives a restart."""

    clock: StoreClock = StoreClock(0, 0)
    own_token: Token | None = None
    peers: list[StorePeer] = []
    bindings: list[StoreBinding] = []
    quarantine: list[StoreQuarantine] = []
    old_keys: list[StoreOldKey] = []


# --- moves, for people


class PartnerMove(Struct, frozen=True):
    """How one partner learned of a move: milliseconds after the event, None: not happened.

    replayed  datagrams that were sent again
    dropped   datagrams and packets to it that the stores had no room for, since its move before
    """

    name: Fqdn
    hint_ms: float | None = None
    ack_ms: float | None = None
    lookup_ms: float | None = None
    validated_ms: float | None = None
    replayed: int = 0
    replayed_bytes: int = 0
    dropped: int = 0
    gap_ms: float | None = None
    outcome: Literal["acked", "dns", "timeout"] | None = None


class MoveReport(Struct, frozen=True):
    """One change of this host's locators. The last report with an `id` replaces earlier ones."""

    id: int
    cause: str
    at: Instant
    old: tuple[Locator, ...]
    new: tuple[Locator, ...]
    partners: tuple[PartnerMove, ...] = ()


class LogEvent(Struct, frozen=True):
    """An event name that never changes, and what varies as fields."""

    name: str
    fields: dict[str, Any]
    level: Literal["debug", "info", "warning"] = "info"


Output = (
    Transmit
    | Deliver
    | Refused
    | OwnKeyCloned
    | LookupWanted
    | BindingReady
    | BindingFailed
    | SessionReady
    | SessionKeys
    | PathAnswered
    | SeenAt
    | UseLocalToken
    | StoreOutput
    | MoveReport
    | LogEvent
)
