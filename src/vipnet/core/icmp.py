"""What applications are told of packets that do not go where they should."""

from __future__ import annotations

from vipnet.core.outputs import Deliver, Output
from vipnet.core.ratelimit import PerSecond
from vipnet.types import Instant
from vipnet.wire.inner import Unreachable, icmp_unreachable

_PER_S = 100  # RFC 1812 section 4.3.2.8


class IcmpAnswers:
    """ICMP into tun0, but not for every packet of a flood."""

    def __init__(self) -> None:
        self._limit = PerSecond(_PER_S)

    def unreachable(self, packet: bytes, code: Unreachable, now: Instant, mtu: int = 0) -> list[Output]:
        """Tell PACKET's sender. Raise WireError when it is not one whole IPv4 packet."""
        if self._limit.exceeded(now):
            return []
        # From the token itself: the kernel drops an answer that comes from its own address.
        answer = icmp_unreachable(packet, code, packet[16:20], mtu)
        return [] if answer is None else [Deliver(answer)]
