"""Notice that a path died though no event said so.

Data that stays unanswered is the only sign; so that there is always an answer,
who received data and has nothing to send says so by a Keepalive.
"""

from __future__ import annotations

from enum import Enum, auto

from vipnet.core.rtt import RttEstimator
from vipnet.policy import Policy
from vipnet.types import Instant


class LivenessStep(Enum):
    """What is due."""

    KEEPALIVE = auto()
    PROBE = auto()
    DEAD = auto()


class Liveness:
    """Timers of one peer: keepalive, unanswered data, probes. Silent when nothing is sent."""

    def __init__(self, rtt: RttEstimator, policy: Policy) -> None:
        self._rtt, self._policy = rtt, policy
        self._keepalive_at: Instant | None = None
        self._unanswered_at: Instant | None = None
        self._probes = 0

    def reset(self) -> None:
        """A path event: what was known of the path is worth nothing."""
        self._unanswered_at = None
        self._probes = 0

    def sent_data(self, now: Instant) -> None:
        self._keepalive_at = None
        if self._unanswered_at is None:
            self._unanswered_at = Instant(now + max(3 * self._rtt.rtt_s, self._policy.unanswered_s))

    def received_data(self, now: Instant) -> None:
        if self._keepalive_at is None:
            self._keepalive_at = Instant(now + self._policy.keepalive_s)

    def received(self) -> None:
        """Anything authenticated arrived: the path is alive."""
        self._unanswered_at = None
        self._probes = 0

    def next_timeout(self) -> Instant | None:
        return min((at for at in (self._keepalive_at, self._unanswered_at) if at is not None), default=None)

    def handle_timeout(self, now: Instant) -> list[LivenessStep]:
        steps = []
        if self._keepalive_at is not None and now >= self._keepalive_at:
            self._keepalive_at = None
            steps.append(LivenessStep.KEEPALIVE)
        if self._unanswered_at is not None and now >= self._unanswered_at:
            if self._probes < self._policy.probes:
                self._probes += 1
                self._unanswered_at = Instant(now + max(self._rtt.rtt_s, self._policy.probe_gap_min_s))
                steps.append(LivenessStep.PROBE)
            else:
                # Dead until something arrives; more data asks again.
                self.reset()
                steps.append(LivenessStep.DEAD)
        return steps
