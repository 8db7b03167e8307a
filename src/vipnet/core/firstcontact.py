"""XX towards a peer that is listed by name without a key: trust on first use."""

from __future__ import annotations

from vipnet.core.host import Host
from vipnet.core.initiator import Initiation, Initiator
from vipnet.core.locators import usable_only
from vipnet.core.mapping import Mapping
from vipnet.core.outputs import LookupResult, LookupWanted, Output, Transmit
from vipnet.core.rtt import RttEstimator
from vipnet.core.trust import ListedPeer
from vipnet.types import Fqdn, Instant, Locator
from vipnet.wire.handshake import CookieReply


class FirstContact:
    """Until the key is known there is no Peer: nothing can be agreed with an unknown key."""

    def __init__(self, host: Host, listed: ListedPeer) -> None:
        self.listed = listed
        self.host = host
        self.mapping = Mapping(listed.locators)
        self.initiator = Initiator(host, listed.name, RttEstimator(host.policy))
        self.wanted_until: Instant | None = None

    @property
    def name(self) -> Fqdn:
        return self.listed.name

    def want(self, now: Instant) -> None:
        self.wanted_until = Instant(now + self.host.policy.resolve_timeout_s)
        self.initiator.hurry(now)

    def add_looked_up(self, result: LookupResult) -> None:
        """What DNS says of the peer's place, where it can be true."""
        port = result.port or self.host.port
        named = [Locator(address, port) for address in result.addresses]
        self.mapping.add_looked_up(usable_only(named, self.host.space.subnet, self.host.locators))

    def next_timeout(self) -> Instant | None:
        deadlines = (self.initiator.next_timeout(), self.wanted_until)
        return min((at for at in deadlines if at is not None), default=None)

    def handle_timeout(self, now: Instant) -> list[Output]:
        """A try is due. The node looks at wanted_until."""
        at = self.initiator.next_timeout()
        if at is None or now < at:
            return []
        if self.initiator.gave_up(now):
            self.forget(self.initiator.stop())
            return []
        candidates = self.mapping.candidates()
        if not candidates or not self.host.locators:
            self.initiator.postpone(now)
            return [LookupWanted(self.name, "no locator known")]
        attempt, forgotten = self.initiator.new_xx(now)
        self.forget(forgotten)
        self.host.indexes[attempt.index] = (self, attempt)
        return [Transmit(attempt.datagram.encode(), locator) for locator in candidates]

    def handle_cookie(
        self, attempt: Initiation, reply: CookieReply, source: Locator, now: Instant
    ) -> list[Output]:
        return [Transmit(self.initiator.read_cookie(attempt, reply, now), source)]

    def forget(self, indexes: list[int]) -> None:
        for index in indexes:
            self.host.indexes.pop(index, None)
