"""Round-trip time, as TCP estimates it (RFC 6298 section 2)."""

from __future__ import annotations

from vipnet.policy import Policy

_ROUGH_MAX_S = 1.0


class RttEstimator:
    """Smoothed RTT and its variation, seconds; `policy.initial_rtt_s` before the first sample."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.srtt_s: float | None = None
        self._variation_s = 0.0
        self._rough = True

    def rough_sample(self, rtt_s: float) -> None:
        """Time an answer that may have taken its author a while: better than nothing, no more."""
        if self._rough:
            # A path that dies before the first clean sample must not be believed in for long.
            rtt_s = min(rtt_s, _ROUGH_MAX_S)
            self.srtt_s, self._variation_s = rtt_s, rtt_s / 2

    def sample(self, rtt_s: float, *, crowded: bool = False) -> None:
        """Time an answer that was given at once.

        crowded  it may have waited behind what a move left to send: the path is no longer than that, no more
        """
        if crowded and not self._rough and rtt_s >= self.rtt_s:
            return
        if self.srtt_s is None or self._rough:
            self.srtt_s, self._variation_s, self._rough = rtt_s, rtt_s / 2, False
        else:
            self._variation_s = 0.75 * self._variation_s + 0.25 * abs(self.srtt_s - rtt_s)
            self.srtt_s = 0.875 * self.srtt_s + 0.125 * rtt_s

    @property
    def rtt_s(self) -> float:
        return self._policy.initial_rtt_s if self.srtt_s is None else self.srtt_s

    @property
    def rto_s(self) -> float:
        """Wait so long for an answer before sending again."""
        variation_s = self.rtt_s / 2 if self.srtt_s is None else self._variation_s
        return max(self.rtt_s + 4 * variation_s, self._policy.rto_min_s)

    @property
    def hint_timeout_s(self) -> float:
        """Wait so long for a HintAck before DNS is asked (paper section 4: 500 ms, always)."""
        policy = self._policy
        if policy.hint_timeout_fixed:
            return policy.hint_timeout_s
        return min(max(3 * self.rtt_s, policy.hint_timeout_min_s), policy.hint_timeout_s)
