"""How one pair of hosts comes to call each other by the same two tokens.

Paper section 3.1 asks for it and leaves the protocol to a technical report;
this one is ours. The host with the lower static key *chooses*, whoever speaks
first; its rules are in `chooser`, the other host's in `offerer`. Here is what
both have in common: when a binding may be shown, and what is said again.
"""

from __future__ import annotations

from msgspec import structs

from vipnet.core.chooser import Chooser
from vipnet.core.offerer import Offerer
from vipnet.core.outputs import StoreBinding
from vipnet.core.pairing import Step
from vipnet.core.tokens import TokenSpace
from vipnet.policy import Policy
from vipnet.types import Fqdn, Instant
from vipnet.wire.control import TokenMessage

__all__ = ["Negotiation", "Step"]

RENEWALS_PER_BINDING = 168  # an expiry moves on in steps, hours of a week: each costs a disk write


class Negotiation:
    """The tokens of one pair of hosts, as one of them sees it.

    In a handshake:

        initiator: opening() goes into message 1
        responder: handle(..., provisional=True) for each, replies into message 2
        initiator: handle(...) for each reply, confirm(); what it replies is sealed
        responder: confirm() at the first sealed datagram, then handle(...) as ever

    where what `confirm` replies is sealed too, ahead of any packet.

    Message 1 can be a replay, or its sender not confirmed yet. So what is
    `provisional` changes no binding or reservation that exists; at most it
    adds one *reservation* for this name, which expires after
    `policy.reservation_s`, and there are never more than
    `policy.reservations` (nor than a quarter of a small subnet). Where there
    is no room the message goes unanswered, and negotiation takes place once
    the handshake is through. It is never shown by the end of the handshake
    alone: the chooser says in the session what it stands by.

    Over an established session `start` begins, `handle` goes on, and what is
    unanswered is sent again (`next_timeout`, `handle_timeout`). Messages may
    be lost, doubled or reordered, but each has to come from a session of this
    run of the daemon, or from message 1 or 2 of a handshake.
    """

    def __init__(
        self,
        own_name: Fqdn,
        peer_name: Fqdn,
        chooser: bool,
        space: TokenSpace,
        policy: Policy,
        stored: StoreBinding | None = None,
    ) -> None:
        """PEER_NAME is known by its key: `chooser` says that ours is the lower one.

        `stored` is written into the ledger, unless it is there already.
        """
        if stored is not None and space.binding(peer_name) is None:
            space.bind(stored)
        role = Chooser if chooser else Offerer
        self._role: Chooser | Offerer = role(own_name, peer_name, space, policy)
        self._policy = policy
        self._space = space
        self._peer = peer_name
        self._retry_at: Instant | None = None
        self._retry_s = policy.token_retry_s
        self._give_up_at = Instant(0.0)

    @property
    def binding(self) -> StoreBinding | None:
        """The binding that may be shown to applications, if there is one."""
        entry = self._role.entry
        return entry if entry is not None and entry.accepted else None

    # --- messages

    def opening(self, unix_now: float) -> Step:
        """Begin in a handshake's message 1; the handshake is what repeats it until `confirm`."""
        self._retry_at = None
        return self._role.opening(unix_now)

    def start(self, unix_now: float, now: Instant) -> Step:
        """Begin over an established session."""
        step = self.opening(unix_now)
        self._schedule(now)
        return step

    def handle(
        self, message: TokenMessage, unix_now: float, now: Instant, *, provisional: bool = False
    ) -> Step:
        """Take a message of the peer; `provisional`: it came in message 1.

        Raise ProtocolError for what a correct host does not say in its role.
        """
        if provisional:
            asked = self._role.asked
            step = self._role.handle(message, unix_now, provisional=True)
            if self._retry_at is not None:
                self._role.asked = asked  # what the session waits for is none of a replay's business
            return step
        asked = self._role.asked
        step = self._role.handle(message, unix_now, provisional=False)
        if self._role.asked is None:
            self._retry_at = None
        elif self._role.asked != asked or self._retry_at is None:
            self._schedule(now)
        return step

    def confirm(self, unix_now: float, now: Instant) -> Step:
        """The handshake is confirmed: response received, or first sealed datagram opened."""
        step = self._role.confirm(unix_now)
        if self._role.asked is None:
            self._retry_at = None
        elif self._retry_at is None:
            self._schedule(now)
        return step

    def next_timeout(self) -> Instant | None:
        return self._retry_at

    def handle_timeout(self, unix_now: float, now: Instant) -> Step:
        """Say again what is unanswered; after `token_give_up_s` say no more until the next opening."""
        del unix_now
        if self._retry_at is None or now < self._retry_at or self._role.asked is None:
            return Step()
        if now >= self._give_up_at:
            self._retry_at = None
            return Step(failed=f"{self._peer} does not answer in the negotiation of tokens")
        self._retry_s = min(2 * self._retry_s, self._policy.token_retry_max_s)
        self._retry_at = Instant(now + self._retry_s)
        return Step(messages=(self._role.asked,))

    def suspend(self) -> None:
        """The session is gone: say nothing more until the next opening."""
        self._retry_at = None

    # --- the life of a binding

    def renew(self, unix_now: float) -> Step:
        """Move the expiry on: there is a session."""
        binding = self.binding
        until = unix_now + self._policy.binding_s
        if binding is None or until - binding.expires_at < self._policy.binding_s / RENEWALS_PER_BINDING:
            return Step()
        return Step(outputs=(self._space.bind(structs.replace(binding, expires_at=until)),))

    def revoke(self, unix_now: float, now: Instant) -> Step:
        """End the binding because something of this host is in its way, and begin anew.

        For a binding in TokenSpace.conflicts().
        """
        binding = self.binding
        outputs = self._role.strike_out(unix_now)
        step = self.start(unix_now, now)
        return structs.replace(step, outputs=(*outputs, *step.outputs), revoked=binding)

    def release(self, unix_now: float) -> Step:
        """Collect the binding: expired, unused for long, and no socket has its token."""
        self._retry_at, self._role.asked = None, None
        return Step(revoked=self.binding, outputs=self._role.strike_out(unix_now))

    # --- timing

    def _schedule(self, now: Instant) -> None:
        if self._role.asked is None:
            self._retry_at = None
            return
        self._retry_s = self._policy.token_retry_s
        self._retry_at = Instant(now + self._retry_s)
        self._give_up_at = Instant(now + self._policy.token_give_up_s)
