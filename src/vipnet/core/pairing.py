"""What the two roles of a negotiation share: one line of the ledger, and steps."""

from __future__ import annotations

from msgspec import Struct

from vipnet.core.outputs import StoreBinding, StoreOutput, StoreQuarantine
from vipnet.core.tokens import TokenSpace
from vipnet.policy import Policy
from vipnet.types import Fqdn, Token
from vipnet.wire.control import TokenMessage, TokenPair


class Step(Struct, frozen=True, kw_only=True):
    """What follows from an input: make `outputs` durable, then send `messages`.

    ready    the binding may be shown to applications from now on
    revoked  was shown and stands no longer: its flows get ICMP host unreachable
    failed   why there is no agreement now, for people
    """

    messages: tuple[TokenMessage, ...] = ()
    outputs: tuple[StoreOutput, ...] = ()
    ready: bool = False
    revoked: StoreBinding | None = None
    failed: str | None = None


class Pairing:
    """One pair of hosts in the ledger of one of them; base of Chooser and Offerer.

    asked  what we said last in this session and still want an answer to
    """

    chooses: bool

    def __init__(self, own_name: Fqdn, peer: Fqdn, space: TokenSpace, policy: Policy) -> None:
        self.own_name, self.peer = own_name, peer
        self.space, self.policy = space, policy
        self.asked: TokenMessage | None = None

    @property
    def entry(self) -> StoreBinding | None:
        """The binding or reservation; the ledger is the only place that knows it."""
        return self.space.binding(self.peer)

    def pair(self, entry: StoreBinding) -> TokenPair:
        local, remote = entry.local_token, entry.remote_token
        return TokenPair(local, remote) if self.chooses else TokenPair(remote, local)

    def local_and_remote(self, pair: TokenPair) -> tuple[Token, Token]:
        return (pair.chooser, pair.other) if self.chooses else (pair.other, pair.chooser)

    def is_free(self, pair: TokenPair, unix_now: float) -> bool:
        local, remote = self.local_and_remote(pair)
        return self.space.is_free_local(local, self.peer, unix_now) and self.space.is_free_remote(
            remote, self.peer, unix_now
        )

    def write(self, pair: TokenPair, generation: int, *, accepted: bool, until: float) -> StoreBinding:
        local, remote = self.local_and_remote(pair)
        return self.space.bind(StoreBinding(self.peer, local, remote, generation, accepted, until))

    def strike_out(self, unix_now: float) -> tuple[StoreOutput, ...]:
        """End the binding: its tokens stood for two hosts, and may go to no other for long."""
        entry = self.entry
        if entry is None:
            return ()
        until = unix_now + self.space.quarantine_s(self.policy.quarantine_s)
        return (*self.space.drop(self.peer), *self.hold(entry, until))

    def hold(self, entry: StoreBinding, until: float) -> tuple[StoreQuarantine, ...]:
        """Keep both tokens of ENTRY from other names."""
        held = self.space.hold(entry.remote_token, self.peer, until)
        if entry.local_token == self.space.own_token:
            return held
        return (*held, *self.space.hold(entry.local_token, self.own_name, until))
