"""What all peers of this host share: identity, numbers given once, where we are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from msgspec import Struct

from vipnet.core.clones import REFUSED_S
from vipnet.core.icmp import IcmpAnswers
from vipnet.core.opening import buffer_size
from vipnet.core.outputs import DropOldKey, Output, StoreClock, StoreOldKey, Transmit
from vipnet.core.stash import StashRoom
from vipnet.core.tokens import TokenSpace
from vipnet.core.trust import AcceptPolicy
from vipnet.crypto.noise import public_key
from vipnet.policy import AMPLIFICATION, DEFAULT_PORT, DEFAULT_TUN_MTU, Policy
from vipnet.types import Fqdn, Instant, Locator, PublicKey

if TYPE_CHECKING:
    from vipnet.core.firstcontact import FirstContact
    from vipnet.core.initiator import Initiation
    from vipnet.core.peer import Peer
    from vipnet.core.session import Session

# Numbers used in the last moments before a crash may not have reached the disk.
_RESTART_MARGIN_US = 1_000_000


class OwnKey(Struct, frozen=True):
    """A key pair of this host: X25519, 32 bytes each."""

    private: bytes
    public: PublicKey


class Host:
    """This host. `unix_us` is the wall clock in microseconds; it may jump."""

    def __init__(
        self,
        name: Fqdn,
        private_key: bytes,
        *,
        policy: Policy,
        space: TokenSpace,
        accept: AcceptPolicy,
        random_bytes: Callable[[int], bytes],
        unix_us: Callable[[], int],
        clock: StoreClock,
        has_aes: bool = True,
        port: int = DEFAULT_PORT,
        tun_mtu: int = DEFAULT_TUN_MTU,
    ) -> None:
        self.name = name
        self.key = OwnKey(private_key, public_key(private_key))
        self.old_keys: dict[PublicKey, StoreOldKey] = {}  # the latest last
        self.policy, self.space, self.accept = policy, space, accept
        self.random_bytes, self.unix_us = random_bytes, unix_us
        self.has_aes, self.port = has_aes, port
        self.boot_id = random_bytes(8)
        self.locators: tuple[Locator, ...] = ()
        self.cloned_at: Instant | None = None  # when it was last said that our key is on two machines
        margin_us = _RESTART_MARGIN_US if clock.timestamp else 0
        self._timestamp = clock.timestamp
        self.move_number = clock.move_number + margin_us
        self.indexes: dict[int, tuple[Peer | FirstContact, Session | Initiation]] = {}
        self.remote_tokens: dict[bytes, Peer] = {}  # as in an IPv4 header
        self.stash_room = StashRoom(policy)
        self.lookups_under_way = 0  # for peers; a first contact's are its own
        self.counters: dict[str, int] = {}
        self.logs_keys = False  # every new session's are given away: for debugging
        self.icmp = IcmpAnswers()
        self.tun_mtu = tun_mtu
        self._plaintexts = bytearray()

    def is_cloned(self, now: Instant) -> bool:
        """Whether somebody said not long ago that another machine has our key."""
        return self.cloned_at is not None and now - self.cloned_at < REFUSED_S

    # --- keys

    @property
    def public_key(self) -> PublicKey:
        return self.key.public

    @property
    def own_keys(self) -> list[OwnKey]:
        """The key, and those before it that some peer may still know us by."""
        return [self.key, *(OwnKey(old.private, old.public) for old in self.old_keys.values())]

    def own_key(self, public: PublicKey | None) -> OwnKey:
        """The pair that PUBLIC is of; the present one, if we have that no more."""
        return next((own for own in self.own_keys if own.public == public), self.key)

    def has_key(self, public: PublicKey | None) -> bool:
        """Whether PUBLIC is ours, or was not long ago."""
        return any(public == own.public for own in self.own_keys)

    def load_old_keys(self, stored: Iterable[StoreOldKey]) -> list[Output]:
        """Take what an earlier run has left. One that is the present key was stored before a crash."""
        by_age = sorted(stored, key=lambda old: old.until)
        self.old_keys = {old.public: old for old in by_age if old.public != self.key.public}
        return self.expire_old_keys()

    def old_key(self) -> StoreOldKey:
        """The present key, as it is kept after a rotation."""
        return StoreOldKey(self.key.public, self.key.private, self.unix_s + self.policy.old_key_s)

    def rotate(self, private_key: bytes) -> list[Output]:
        """Have another key from now on; the one before answers those who know no other."""
        old = self.old_key()
        self.old_keys[old.public] = old
        self.key = OwnKey(private_key, public_key(private_key))
        return [old, *self.expire_old_keys()]

    def forget_old_keys(self) -> list[Output]:
        dropped: list[Output] = [DropOldKey(public) for public in self.old_keys]
        self.old_keys = {}
        return dropped

    def expire_old_keys(self) -> list[Output]:
        """Their time is over, or there are too many."""
        if not self.old_keys:
            return []
        unix_s = self.unix_s
        kept = [old for old in self.old_keys.values() if old.until > unix_s][-self.policy.old_keys :]
        dropped = [DropOldKey(public) for public, old in self.old_keys.items() if old not in kept]
        self.old_keys = {old.public: old for old in kept}
        return list(dropped)

    @property
    def unix_s(self) -> float:
        return self.unix_us() / 1e6

    def next_timestamp(self) -> int:
        """Greater than every earlier one; stored before it is sent (see clock)."""
        self._timestamp = max(self.unix_us(), self._timestamp + 1)
        return self._timestamp

    def next_move_number(self) -> int:
        self.move_number = max(self.move_number + 1, self.unix_us())
        return self.move_number

    @property
    def clock(self) -> StoreClock:
        return StoreClock(self._timestamp, self.move_number)

    def sources(self, to: Locator) -> list[str]:
        """Our addresses of the family of TO, best first."""
        is_ipv6 = ":" in to.host
        return [own.host for own in self.locators if (":" in own.host) == is_ipv6]

    def from_everywhere(self, payload: bytes, to: Locator) -> list[Output]:
        """PAYLOAD from each of our addresses, three at most: the first may be the one that is dead.

        Three of what is not longer than what it answers are no amplification (RFC 9000 section 8).
        """
        sources = self.sources(to)
        if len(sources) < 2:
            return [Transmit(payload, to)]
        return [Transmit(payload, to, source) for source in sources[:AMPLIFICATION]]

    def forget_indexes(self, indexes: Iterable[int]) -> None:
        for index in indexes:
            self.indexes.pop(index, None)

    def new_index(self) -> int:
        """A session index that is not in use and cannot be guessed."""
        while True:
            index = int.from_bytes(self.random_bytes(4), "big")
            if index and index not in self.indexes:
                return index

    def plaintexts(self, data_size: int, segment_size: int) -> memoryview:
        """Memory to open datagrams in; what is left in it is overwritten by the next."""
        needed = buffer_size(data_size, segment_size)
        if needed > len(self._plaintexts):
            self._plaintexts = bytearray(2 * needed)
        return memoryview(self._plaintexts)

    def count(self, event: str, number: int = 1) -> None:
        self.counters[event] = self.counters.get(event, 0) + number
