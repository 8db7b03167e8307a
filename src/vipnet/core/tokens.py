"""Which 32-bit address stands for which name on this host (paper section 3.1).

A token is *free* when an application could get it without ever finding two
hosts behind one address. Everything in this module is arithmetic and
book-keeping; how two hosts agree is in `negotiation`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from vipnet.core.outputs import DropBinding, StoreBinding, StoredState, StoreOutput, StoreQuarantine
from vipnet.errors import ConfigError
from vipnet.types import Fqdn, Token

CANDIDATES_MAX: Final = 4096  # draws per name in a large subnet; a name needs one or two
DRAWS_PER_ADDRESS: Final = 32  # in a small one: an address is missed once in e^32 draws
SMALLEST_PREFIX: Final = 28  # 14 addresses
LARGEST_PREFIX: Final = 4
# Never in a subnet of tokens: applications and kernels treat them as special (RFC 6890, RFC 919).
LIMITED_BROADCAST: Final = IPv4Network("255.0.0.0/8")
FORBIDDEN: Final = (IPv4Network("0.0.0.0/8"), IPv4Network("127.0.0.0/8"), IPv4Network("224.0.0.0/4"))


def candidate(name: Fqdn, n: int, subnet: IPv4Network) -> Token:
    """Return the address that NAME would like with its N-th draw.

    base + (first 8 bytes, big endian, of BLAKE2s-256(name | 0 | n u32)) mod size

    The zero byte keeps `a` with one number apart from `a1` with another; no
    name contains it. The result may be an address that nobody can have:
    `candidates` skips those.
    """
    digest = hashlib.blake2s(name.encode("ascii") + b"\0" + n.to_bytes(4, "big")).digest()
    offset = int.from_bytes(digest[:8], "big") % subnet.num_addresses
    return Token(IPv4Address(int(subnet.network_address) + offset))


def candidates(name: Fqdn, subnet: IPv4Network, exclude: tuple[IPv4Network, ...] = ()) -> Iterator[Token]:
    """Yield NAME's candidates in order of n, each once, and end after a bounded number.

    What cannot be a token is skipped, never renumbered: an exclusion on one
    host leaves the rest of the sequence as it is on all others.
    """
    draws = min(CANDIDATES_MAX, DRAWS_PER_ADDRESS * subnet.num_addresses)
    seen: set[Token] = set()
    for n in range(draws):
        token = candidate(name, n, subnet)
        if token not in seen and is_usable(token, subnet, exclude):
            seen.add(token)
            yield token


def is_usable(token: Token, subnet: IPv4Network, exclude: tuple[IPv4Network, ...] = ()) -> bool:
    """Tell whether TOKEN could stand for a host in SUBNET at all."""
    return (
        token in subnet
        and token not in (subnet.network_address, subnet.broadcast_address)
        and token not in LIMITED_BROADCAST
        and not any(token in network for network in exclude)
    )


class TokenSpace:
    """The ledger of one host: who uses which token, now or lately.

    At most one binding a peer. A *reservation* is a binding that is not
    accepted yet: it holds its tokens, but may expire. A token in *quarantine*
    stood for a name, and may stand for that name only.

    refused  candidates and proposals that were not free here, since the start
    """

    def __init__(self, subnet: IPv4Network, exclude: tuple[IPv4Network, ...] = ()) -> None:
        """Raise ConfigError when SUBNET cannot hold tokens."""
        if not LARGEST_PREFIX <= subnet.prefixlen <= SMALLEST_PREFIX:
            raise ConfigError(
                f"tun.subnet = {subnet}: must be between /{LARGEST_PREFIX} and /{SMALLEST_PREFIX}"
            )
        for network in FORBIDDEN:
            if subnet.overlaps(network):
                raise ConfigError(f"tun.subnet = {subnet} overlaps {network}, not for hosts: choose another")
        self.subnet = subnet
        self.exclude = exclude
        self.own_token: Token | None = None
        self.refused = 0
        self._own_name: Fqdn | None = None
        self._bindings: dict[Fqdn, StoreBinding] = {}
        self._name_of: dict[Token, Fqdn] = {}  # remote tokens
        self._locals: dict[Token, int] = {}  # local tokens, by how many bindings
        self._quarantine: dict[Token, StoreQuarantine] = {}
        self._host_networks: tuple[IPv4Network, ...] = ()
        self._capacity = _capacity(subnet, exclude)

    # --- from outside

    def load(self, state: StoredState) -> tuple[StoreOutput, ...]:
        """Take over what survived a restart; return what to drop from the store.

        A binding is dropped when the configured subnet does not hold it any
        more, or when it contradicts an earlier one (a store that was edited).
        """
        if state.own_token is not None and is_usable(state.own_token, self.subnet, self.exclude):
            self.own_token = state.own_token
        self._quarantine = {entry.token: entry for entry in state.quarantine}
        dropped: list[StoreOutput] = []
        for binding in sorted(state.bindings, key=lambda binding: not binding.accepted):
            if self._fits(binding):
                self.bind(binding)
            else:
                dropped.append(DropBinding(binding.name))
        return tuple(dropped)

    def set_host_networks(self, networks: Iterable[IPv4Network]) -> None:
        """Say which addresses and routes the host has for itself, other than vipnet's own.

        Only what lies inside the subnet is in the way of a token: the kernel
        would follow it instead of our route. Wider routes lose against ours.
        """
        self._host_networks = tuple(network for network in networks if network.subnet_of(self.subnet))

    def choose_own(self, own_name: Fqdn, unix_now: float) -> Token:
        """Return the token that this host has with every peer, where nothing is in the way.

        The one from the store stays. Raise ConfigError when the subnet has no
        free address.
        """
        self._own_name = own_name
        if self.own_token is None or not self.is_free_local(self.own_token, own_name, unix_now):
            self.own_token = None
            token = next(self.free_locals(own_name, own_name, unix_now), None)
            if token is None:
                raise ConfigError(f"{self.exhausted(own_name)}; choose a larger tun.subnet")
            self.own_token = token
        return self.own_token

    # --- asking

    def binding(self, name: Fqdn) -> StoreBinding | None:
        """Return the binding or the reservation with NAME."""
        return self._bindings.get(name)

    def bindings(self) -> tuple[StoreBinding, ...]:
        return tuple(self._bindings.values())

    def name_of(self, token: Token) -> Fqdn | None:
        """Return the peer that TOKEN stands for, reserved or accepted."""
        return self._name_of.get(token)

    def conflicts(self) -> tuple[StoreBinding, ...]:
        """Return the bindings that an address or route of the host has come in the way of."""
        return tuple(
            binding
            for binding in self._bindings.values()
            if self._is_the_hosts(binding.local_token) or self._is_the_hosts(binding.remote_token)
        )

    def is_free_remote(self, token: Token, name: Fqdn, unix_now: float) -> bool:
        """Tell whether TOKEN may stand for the peer NAME on this host."""
        return (
            self._is_possible(token)
            and self._name_of.get(token, name) == name
            and token != self.own_token
            and token not in self._locals
            and self._last_name_of(token, unix_now) in (None, name)
        )

    def is_free_local(self, token: Token, peer: Fqdn, unix_now: float) -> bool:
        """Tell whether this host may be TOKEN for PEER.

        Many peers may know it by the same token. PEER is no part of the rule
        yet: a token of ours is as good with one as with another.
        """
        del peer
        return (
            self._is_possible(token)
            and token not in self._name_of
            and self._last_name_of(token, unix_now) in (None, self._own_name)
        )

    def free_remotes(self, name: Fqdn, unix_now: float) -> Iterator[Token]:
        """Yield what may stand for NAME here, best first; count what is passed over."""
        for token in candidates(name, self.subnet, self.exclude):
            if self.is_free_remote(token, name, unix_now):
                yield token
            else:
                self.refused += 1

    def free_locals(self, own_name: Fqdn, peer: Fqdn, unix_now: float) -> Iterator[Token]:
        """Yield what this host may be for PEER, its own token first; count what is passed over."""
        own = self.own_token
        if own is not None and self.is_free_local(own, peer, unix_now):
            yield own
        for token in candidates(own_name, self.subnet, self.exclude):
            if token == own:
                continue
            if self.is_free_local(token, peer, unix_now):
                yield token
            else:
                self.refused += 1

    def exhausted(self, name: Fqdn) -> str:
        """Say for people that nothing is free for NAME."""
        taken = len(self._taken())
        return f"no free address for {name} in {self.subnet}: {taken} of {self._capacity} are taken"

    # --- writing; what is returned has to be made durable

    def bind(self, binding: StoreBinding) -> StoreBinding:
        """Write BINDING in place of what there was with its name."""
        self.drop(binding.name)
        self._bindings[binding.name] = binding
        self._name_of[binding.remote_token] = binding.name
        self._locals[binding.local_token] = self._locals.get(binding.local_token, 0) + 1
        return binding

    def drop(self, name: Fqdn) -> tuple[DropBinding, ...]:
        """Strike out the binding with NAME, if any; its tokens are free at once."""
        binding = self._bindings.pop(name, None)
        if binding is None:
            return ()
        del self._name_of[binding.remote_token]
        self._locals[binding.local_token] -= 1
        if not self._locals[binding.local_token]:
            del self._locals[binding.local_token]
        return (DropBinding(name),)

    def hold(self, token: Token, name: Fqdn, until: float) -> tuple[StoreQuarantine, ...]:
        """Keep TOKEN for NAME until then; a longer quarantine stays as it is."""
        held = self._quarantine.get(token)
        if held is not None and held.name == name and held.until >= until:
            return ()
        self._quarantine[token] = StoreQuarantine(token, name, until)
        return (self._quarantine[token],)

    def unhold(self, held: StoreQuarantine, unix_now: float) -> tuple[StoreQuarantine, ...]:
        """End what `hold` began, unless something longer took its place.

        In the store it ends by a time that is over.
        """
        if self._quarantine.get(held.token) != held:
            return ()
        del self._quarantine[held.token]
        return (StoreQuarantine(held.token, held.name, unix_now),)

    def quarantine_s(self, longest_s: float) -> float:
        """Return how long a token that becomes free now is kept from other names.

        LONGEST_S while at most half of the subnet is taken, then less, down to
        nothing when it is full: a host must stay able to meet new peers.
        """
        taken = len(self._taken()) / self._capacity
        return longest_s * min(1.0, max(0.0, 2 * (1 - taken)))

    def expire(self, unix_now: float) -> tuple[StoreOutput, ...]:
        """Strike out reservations whose time is over. Accepted bindings are collected elsewhere."""
        over = [
            binding.name
            for binding in self._bindings.values()
            if not binding.accepted and binding.expires_at <= unix_now
        ]
        self._quarantine = {t: held for t, held in self._quarantine.items() if held.until > unix_now}
        return tuple(output for name in over for output in self.drop(name))

    def room_for_reservation(self, most: int) -> bool:
        """Tell whether one more may be reserved for somebody who is not confirmed yet.

        Never more than MOST, nor than a quarter of a small subnet.
        """
        reserved = sum(not binding.accepted for binding in self._bindings.values())
        return reserved < min(most, max(1, self._capacity // 4))

    # --- rules

    def _is_possible(self, token: Token) -> bool:
        return is_usable(token, self.subnet, self.exclude) and not self._is_the_hosts(token)

    def _is_the_hosts(self, token: Token) -> bool:
        return any(token in network for network in self._host_networks)

    def _last_name_of(self, token: Token, unix_now: float) -> Fqdn | None:
        held = self._quarantine.get(token)
        return held.name if held is not None and held.until > unix_now else None

    def _fits(self, binding: StoreBinding) -> bool:
        """Tell whether a stored binding is possible beside those loaded before it."""
        local, remote = binding.local_token, binding.remote_token
        return (
            is_usable(local, self.subnet, self.exclude)
            and is_usable(remote, self.subnet, self.exclude)
            and local != remote
            and local not in self._name_of
            and remote not in self._locals
            and self._name_of.get(remote, binding.name) == binding.name
            and binding.name not in self._bindings
        )

    def _taken(self) -> set[Token]:
        own = () if self.own_token is None else (self.own_token,)
        return {*self._name_of, *self._locals, *self._quarantine, *own}


def _capacity(subnet: IPv4Network, exclude: tuple[IPv4Network, ...]) -> int:
    """Return how many addresses can be tokens; exclusions that overlap count twice."""
    excluded = [network for network in (*exclude, LIMITED_BROADCAST) if network.subnet_of(subnet)]
    return max(1, subnet.num_addresses - 2 - sum(network.num_addresses for network in excluded))
