"""A model of two hosts that negotiate, for exhaustive and for random search.

It has what the negotiation can notice of the rest of vipnet, and nothing else:

- A datagram that was sent may arrive at any time or never. A sealed one
  arrives once (the replay window), or twice where a search asks for it; what
  is unanswered is sent again, which comes to the same. An init may be replayed.
- An init is answered unless it is older than one that was confirmed. The
  responder's messages in it are provisional until the first sealed datagram.
- A sealed datagram opens only in the lives of the two hosts that made its key.
- A crash takes the memory, sometimes the store too, and sometimes what stood
  for the peer has gone to somebody else by then.

Values that change are replaced, never changed in place, so that a copy of a
world is cheap.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import TypeVar

from msgspec import Struct

from vipnet.core.negotiation import Negotiation, Step
from vipnet.core.outputs import DropBinding, StoreBinding, StoredState, StoreOutput, StoreQuarantine
from vipnet.core.tokens import TokenSpace, candidates
from vipnet.errors import ProtocolError
from vipnet.policy import Policy
from vipnet.types import Fqdn, Instant, Token
from vipnet.wire.control import TokenMessage, TokenPair

SUBNET = IPv4Network("240.0.0.0/28")
CHOOSER, OTHER, THIRD = Fqdn("a.vipip.net"), Fqdn("b.vipip.net"), Fqdn("d.vipip.net")
POLICY = Policy()
NOW = Instant(0.0)
T = TypeVar("T")

Messages = tuple[TokenMessage, ...]


class Key(Struct, frozen=True):
    """A session: who began it by which init, and the lives of the two hosts that agreed on it."""

    initiator: Fqdn
    init: int
    initiator_life: int
    responder_life: int

    def life_of(self, name: Fqdn) -> int:
        return self.initiator_life if name == self.initiator else self.responder_life


class Init(Struct, frozen=True):
    sender: Fqdn
    number: int
    life: int
    messages: Messages


class Response(Struct, frozen=True):
    sender: Fqdn
    key: Key
    messages: Messages


class Sealed(Struct, frozen=True):
    """`message` None: a keepalive, which confirms the handshake."""

    sender: Fqdn
    key: Key
    message: TokenMessage | None


Datagram = Init | Response | Sealed


class Store(Struct, frozen=True):
    """What is on disk, by the outputs alone."""

    own_token: Token
    bindings: frozenset[StoreBinding] = frozenset()
    quarantine: frozenset[StoreQuarantine] = frozenset()

    def apply(self, outputs: tuple[StoreOutput, ...]) -> Store:
        bindings = {row.name: row for row in self.bindings}
        quarantine = {row.token: row for row in self.quarantine}
        for output in outputs:
            match output:
                case StoreBinding():
                    bindings[output.name] = output
                case DropBinding():
                    bindings.pop(output.name, None)
                case StoreQuarantine():
                    quarantine[output.token] = output
                case _:
                    raise AssertionError(f"the negotiation stores {output}")
        return Store(self.own_token, frozenset(bindings.values()), frozenset(quarantine.values()))

    def state(self) -> StoredState:
        return StoredState(
            own_token=self.own_token, bindings=list(self.bindings), quarantine=list(self.quarantine)
        )


class BrokenPromiseError(AssertionError):
    """The protocol broke a promise."""


class Host:
    """One of the two, with what is left of its sessions."""

    def __init__(self, name: Fqdn, store: Store, life: int, unix_now: float) -> None:
        self.name, self.store, self.life = name, store, life
        self.peer = OTHER if name == CHOOSER else CHOOSER
        self.space = TokenSpace(SUBNET)
        assert self.space.load(store.state()) == ()
        self.space.choose_own(name, unix_now)
        self.negotiation = Negotiation(name, self.peer, name == CHOOSER, self.space, POLICY)
        self.known_as: int | None = None  # short for its identity, once it was asked for
        self.told = self.negotiation.binding  # what applications were told
        self.initiated: int | None = None
        self.greatest = 0  # init of the peer that was confirmed
        self.half_open: frozenset[Key] = frozenset()
        self.open: frozenset[Key] = frozenset()

    def copy(self) -> Host:
        twin = shallow(self)
        twin.known_as = None
        twin.space = shallow(self.space)
        for ledger in ("_bindings", "_name_of", "_locals", "_quarantine"):
            setattr(twin.space, ledger, dict(getattr(self.space, ledger)))
        twin.negotiation = shallow(self.negotiation)
        twin.negotiation._space = twin.space
        twin.negotiation._role = shallow(self.negotiation._role)
        twin.negotiation._role.space = twin.space
        return twin

    def identity(self) -> tuple[object, ...]:
        """All that its future depends on."""
        role = {name: value for name, value in vars(self.negotiation._role).items() if name != "space"}
        return (
            self.store,
            self.life,
            self.initiated,
            self.greatest,
            self.half_open,
            self.open,
            self.negotiation._retry_at is None,
            tuple(role.values()),
            frozenset(self.space._bindings.values()),
            frozenset(self.space._quarantine.values()),
        )

    @property
    def shown(self) -> TokenPair | None:
        binding = self.negotiation.binding
        return None if binding is None else self.negotiation._role.pair(binding)

    def follow(self, step: Step) -> Messages:
        """Store what has to be stored, check what a step may do, return what is to be sent."""
        self.store = self.store.apply(step.outputs)
        if frozenset(self.space.bindings()) != self.store.bindings:
            raise BrokenPromiseError(
                f"{self.name} has {self.space.bindings()} in memory, {self.store.bindings} on disk"
            )
        before, self.told = self.told, self.negotiation.binding
        if before is not None and self.told is None and step.revoked != before:
            raise BrokenPromiseError(f"{self.name} showed {before} and does not revoke it")
        if before is not None and self.told is not None and not same_tokens(before, self.told):
            raise BrokenPromiseError(f"{self.name} showed {before} and now {self.told}")
        if step.ready != (before is None and self.told is not None):
            raise BrokenPromiseError(f"{self.name}: ready = {step.ready}, before {before}, now {self.told}")
        return step.messages

    def can_open(self, datagram: Datagram) -> bool:
        match datagram:
            case Init():
                return datagram.number > self.greatest
            case Response():
                return datagram.key.init == self.initiated and datagram.key.initiator_life == self.life
            case Sealed():
                return datagram.key.life_of(self.name) == self.life


class World:
    """Two hosts and every datagram between them that can still do something."""

    def __init__(self, stores: tuple[Store, Store]) -> None:
        self.hosts = {
            CHOOSER: Host(CHOOSER, stores[0], 0, 0.0),
            OTHER: Host(OTHER, stores[1], 0, 0.0),
        }
        self.network: frozenset[Datagram] = frozenset()
        self.unix_now = 0.0
        self.inits = 0

    def copy(self, changing: Fqdn | None = None) -> World:
        twin = shallow(self)
        twin.hosts = dict(self.hosts)
        if changing is not None:
            twin.hosts[changing] = self.hosts[changing].copy()
        return twin

    def identity(self, numbers: dict[tuple[object, ...], int]) -> tuple[object, ...]:
        """All that the future depends on; equal parts of hosts get equal NUMBERS."""
        for host in self.hosts.values():
            if host.known_as is None:
                host.known_as = numbers.setdefault(host.identity(), len(numbers))
        hosts = (host.known_as for host in self.hosts.values())
        return (self.network, self.unix_now, self.inits, *hosts)

    # --- what can happen; each returns the world after it

    def initiate(self, name: Fqdn) -> World:
        world = self.copy(name)
        host = world.hosts[name]
        world.inits += 1
        host.initiated = world.inits
        messages = host.follow(host.negotiation.opening(world.unix_now))
        world._send(Init(name, world.inits, host.life, messages))
        return world

    def deliver(self, datagram: Datagram, *, once: bool = True) -> World:
        """`once`: the replay window refuses it from now on; an init can always come again."""
        receiver = self.hosts[datagram.sender].peer
        world = self.copy(receiver)
        if once and not isinstance(datagram, Init):
            world.network -= {datagram}
        host = world.hosts[receiver]
        match datagram:
            case Init():
                key = Key(datagram.sender, datagram.number, datagram.life, host.life)
                replies = world._handle(host, datagram.messages, provisional=True)
                host.half_open |= {key}
                world._send(Response(host.name, key, replies))
            case Response():
                host.initiated = None
                host.open |= {datagram.key}
                replies = world._handle(host, datagram.messages)
                replies += host.follow(host.negotiation.confirm(world.unix_now, NOW))
                world._seal(host, datagram.key, (*replies, None))
            case Sealed():
                world._open(host, datagram)
        world._forget_the_unopenable()
        return world

    def time_out(self, name: Fqdn) -> World:
        world = self.copy(name)
        host = world.hosts[name]
        due = host.negotiation.next_timeout()
        assert due is not None
        messages = host.follow(host.negotiation.handle_timeout(world.unix_now, due))
        host.negotiation._retry_at = NOW  # the back-off is no part of the model
        host.negotiation._retry_s = POLICY.token_retry_s
        world._seal(host, max(host.open, key=lambda key: key.init), messages)
        return world

    def crash(self, name: Fqdn, *, lose_store: bool = False, given_away: bool = False) -> World:
        """`given_away`: by the time it comes back, the third host has the peer's token."""
        world = self.copy()
        host = world.hosts[name]
        store, greatest = host.store, host.greatest
        before = host.shown
        if lose_store:
            store, greatest = Store(store.own_token), 0
            entry = host.space.binding(host.peer)
            if given_away and entry is not None:
                locals_ = candidates(name, SUBNET)
                local = next(token for token in locals_ if token != entry.remote_token)
                third = StoreBinding(THIRD, local, entry.remote_token, 1, True, 1e9)
                store = Store(local, frozenset({third}))
        host = world.hosts[name] = Host(name, store, host.life + 1, world.unix_now)
        host.greatest = greatest
        if not lose_store and host.shown != before:
            raise BrokenPromiseError(f"{name} showed {before}, and after a restart {host.shown}")
        world._forget_the_unopenable()
        return world

    def wait(self, seconds: float) -> World:
        world = self.copy()
        world.unix_now += seconds
        return world

    # --- peace

    def settle(self) -> World:
        """The network loses what is under way, and from now on nothing any more."""
        world = self.copy()
        world.network = frozenset()
        for name in (CHOOSER, OTHER):
            world = world.initiate(name)
            for _ in range(60):
                if world.network:
                    datagram = min(world.network, key=repr)
                    world = world.deliver(datagram)
                    world.network -= {datagram}
                elif waiting := [
                    host.name for host in world.hosts.values() if host.negotiation.next_timeout() is not None
                ]:
                    world = world.time_out(waiting[0])
                else:
                    break
            else:
                raise BrokenPromiseError("the hosts talk for ever")
        return world

    # --- inside

    def _open(self, host: Host, datagram: Sealed) -> None:
        replies: Messages = ()
        if datagram.key in host.half_open:
            host.half_open -= {datagram.key}
            host.open |= {datagram.key}
            host.greatest = max(host.greatest, datagram.key.init)
            replies = host.follow(host.negotiation.confirm(self.unix_now, NOW))
        if datagram.message is not None:
            replies += self._handle(host, (datagram.message,))
        self._seal(host, datagram.key, replies)

    def _handle(self, host: Host, messages: Messages, *, provisional: bool = False) -> Messages:
        replies: Messages = ()
        for message in messages:
            try:
                step = host.negotiation.handle(message, self.unix_now, NOW, provisional=provisional)
            except ProtocolError as error:
                raise BrokenPromiseError(f"{host.name} blames a correct host: {error}") from error
            replies += host.follow(step)
        return replies

    def _seal(self, host: Host, key: Key, messages: tuple[TokenMessage | None, ...]) -> None:
        for message in messages:
            self._send(Sealed(host.name, key, message))

    def _send(self, datagram: Datagram) -> None:
        if self._can_be_opened(datagram):
            self.network |= {datagram}

    def _forget_the_unopenable(self) -> None:
        self.network = frozenset(filter(self._can_be_opened, self.network))

    def _can_be_opened(self, datagram: Datagram) -> bool:
        return self.hosts[self.hosts[datagram.sender].peer].can_open(datagram)


def shallow(one: T) -> T:
    """As copy.copy, in a third of the time."""
    twin: T = object.__new__(type(one))
    vars(twin).update(vars(one))
    return twin


def same_tokens(one: StoreBinding, other: StoreBinding) -> bool:
    return (one.local_token, one.remote_token) == (other.local_token, other.remote_token)


def stores_where(third_at_chooser: bool, third_at_other: bool) -> tuple[Store, Store]:
    """Empty stores, or such where a third host has what the first choice would be."""
    chooser_own = next(candidates(CHOOSER, SUBNET))
    other_own = next(candidates(OTHER, SUBNET))
    at_chooser = frozenset({StoreBinding(THIRD, chooser_own, other_own, 1, True, 1e9)})
    at_other = frozenset({StoreBinding(THIRD, other_own, chooser_own, 1, True, 1e9)})
    return (
        Store(chooser_own, at_chooser if third_at_chooser else frozenset()),
        Store(other_own, at_other if third_at_other else frozenset()),
    )
