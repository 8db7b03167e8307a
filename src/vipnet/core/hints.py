"""Tell one partner where we are until it answers (paper section 3.2)."""

from __future__ import annotations

from msgspec import Struct

from vipnet.core.rtt import RttEstimator
from vipnet.policy import Policy
from vipnet.types import Instant

_RETRANSMIT_MAX_S = 1.0
_ASKING_S = 15.0  # so long after the move DNS is asked often, then at lookup_idle_retry_s


class HintStep(Struct, frozen=True):
    """What is due: send the hint to every candidate; ask the partner's DNS."""

    send: bool = False
    lookup: bool = False


class HintSender:
    """One move's hint to one partner: retransmission, and the way over DNS.

    At most one look-up is under way: a slow answer is awaited, not multiplied.
    `turn`: how many hints and acks of other partners are handled before this one's ack.
    """

    def __init__(
        self, move_number: int, rtt: RttEstimator, policy: Policy, now: Instant, turn: int = 0
    ) -> None:
        self.move_number = move_number
        self.asked = False  # DNS, at least once
        self._policy = policy
        self._begun_at = now
        self.sent_at = now
        self._rto_s = rtt.rto_s
        fixed = policy.hint_timeout_fixed
        wait_s = 0.0 if fixed else turn * policy.hint_turn_s
        self._retry_at: Instant | None = None if fixed else Instant(now + wait_s + rtt.rto_s)
        self._lookup_at: Instant | None = Instant(now + wait_s + rtt.hint_timeout_s)
        self._lookup_gap_s = policy.hint_timeout_s if policy.hint_timeout_fixed else policy.lookup_retry_s

    def next_timeout(self) -> Instant | None:
        return min((at for at in (self._retry_at, self._lookup_at) if at is not None), default=None)

    def handle_timeout(self, now: Instant, *, may_look_up: bool = True) -> HintStep:
        """What is due. MAY_LOOK_UP: there are not too many look-ups for other partners under way."""
        send = lookup = False
        if self._retry_at is not None and now >= self._retry_at:
            send = True
            self._rto_s = min(2 * self._rto_s, _RETRANSMIT_MAX_S)
            self._retry_at = Instant(now + self._rto_s)
        if self._lookup_at is not None and now >= self._lookup_at:
            # The partner may have moved too; only DNS knows (paper section 3.2, case b).
            lookup = may_look_up
            self.asked = self.asked or lookup
            self._lookup_at = None if lookup else Instant(now + self._policy.lookup_wait_s)
        return HintStep(send, lookup)

    def handle_lookup(self, now: Instant) -> HintStep:
        """DNS answered, or failed to: the hint goes out again, and DNS is asked again later.

        Profile `paper` waits for its time-out even when something else has asked before.
        """
        ours = self._lookup_at is None
        if ours:
            self._lookup_at = Instant(now + self._next_gap_s(now))
        return HintStep(send=ours or not self._policy.hint_timeout_fixed)

    def _next_gap_s(self, now: Instant) -> float:
        policy, gap_s = self._policy, self._lookup_gap_s
        if policy.hint_timeout_fixed:
            return gap_s
        # The partner's own update may land a moment later.
        self._lookup_gap_s = min(2 * gap_s, policy.lookup_retry_max_s)
        return gap_s if now - self._begun_at < _ASKING_S else policy.lookup_idle_retry_s
