"""Notice that a path died though no event said so.

Data that stays unanswered is the only sign; so that there is always an answer,
who received data and has nothing to send says so by a Keepalive.
"""

from __future__ import annotations

from enum import Enum, auto

from vipnet.core.rtt import RttEstimator
from vipnet.policy import Policy
from vipnet.types import Instant

_SLACK_S = 0.05  # so much later than due may a keepalive come without a doubt


class LivenessStep(Enum):
    """What is due."""

    KEEPALIVE = auto()
    PROBE = auto()  # our data is unanswered: is the peer there, or elsewhere?
    DEAD = auto()  # it is not
    PROBE_QUIET = auto()  # its data stopped: has its side, or a NAT, lost us?
    SEARCH = auto()  # no answer to that: try everywhere


class Liveness:
    """Timers of one peer: keepalive, unanswered data, probes. Silent when nothing is sent."""

    def __init__(self, rtt: RttEstimator, policy: Policy) -> None:
        self._rtt, self._policy = rtt, policy
        self._keepalive_at: Instant | None = None
        self._unanswered_at: Instant | None = None
        self._unanswered_from: Instant | None = None
        self._probes = 0
        self._quiet_at: Instant | None = None
        self._quiet_probes = 0
        self._nat_at: Instant | None = None
        self._last_data: Instant | None = None
        self._sent_at: Instant | None = None

    def reset(self) -> None:
        """A path event: what was known of the path is worth nothing."""
        self._unanswered_at = self._unanswered_from = None
        self._probes = 0

    def sent_data(self, now: Instant) -> None:
        self._keepalive_at = None
        self._sent_at = now
        self._note_data(now)
        if self._unanswered_at is None:
            self._unanswered_from = now
            self._unanswered_at = Instant(now + max(3 * self._rtt.rtt_s, self._policy.unanswered_s))

    def is_sending(self, now: Instant) -> bool:
        """Whether a peer that hears us had data of us within the time after which it would ask."""
        return self._sent_at is not None and now - self._sent_at < self._policy.quiet_s

    def received_data(self, now: Instant) -> None:
        self._note_data(now)
        if self._keepalive_at is None:
            self._keepalive_at = Instant(now + self._policy.keepalive_s)
        self._quiet_at = Instant(now + self._policy.quiet_s)

    def received(self) -> None:
        """Anything authenticated arrived: the path is alive."""
        self._unanswered_at = self._unanswered_from = None
        self._probes = 0
        if self._quiet_probes:
            self._quiet_at, self._quiet_probes = None, 0

    def overdue(self, now: Instant) -> bool:
        """Whether our data has been unanswered for longer than a peer that has it stays silent."""
        since = self._unanswered_from
        if since is None or now - since < self._policy.keepalive_s:
            return False
        return now - since > self._policy.keepalive_s + max(2 * self._rtt.rtt_s, _SLACK_S)

    def next_timeout(self) -> Instant | None:
        deadlines = (self._keepalive_at, self._unanswered_at, self._quiet_at, self._nat_at)
        return min((at for at in deadlines if at is not None), default=None)

    def handle_timeout(self, now: Instant) -> list[LivenessStep]:
        steps = []
        if self._keepalive_at is not None and now >= self._keepalive_at:
            self._keepalive_at = None
            steps.append(LivenessStep.KEEPALIVE)
        if self._nat_at is not None and now >= self._nat_at:
            # Within the lease only: who has no traffic is silent, NAT or not.
            within_lease = now < (self._last_data or now) + self._policy.lease_s
            self._nat_at = Instant(now + self._policy.nat_keepalive_s) if within_lease else None
            if within_lease:
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
        if self._quiet_at is not None and now >= self._quiet_at:
            steps.append(LivenessStep.SEARCH if self._quiet_probes else LivenessStep.PROBE_QUIET)
            self._quiet_at = self._next_quiet(now)
            self._quiet_probes += 1
        return steps

    def _note_data(self, now: Instant) -> None:
        self._last_data = now
        if self._policy.nat_keepalive_s and self._nat_at is None:
            self._nat_at = Instant(now + self._policy.nat_keepalive_s)

    def _next_quiet(self, now: Instant) -> Instant | None:
        if self._quiet_probes == 0:
            return Instant(now + max(3 * self._rtt.rtt_s, self._policy.quiet_retry_s))
        if self._quiet_probes > len(self._policy.quiet_search_s):
            return None
        return Instant(now + self._policy.quiet_search_s[self._quiet_probes - 1])
