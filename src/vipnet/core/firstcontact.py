"""First handshakes with hosts that DNS has no key of.

XX towards a peer that is listed by name: the key that it shows is kept (trust on first use).
IK towards a name that a stranger claims: if its key is at home where DNS says that the name
is, it is believed (call-back), which proves only who holds that address now.
"""

from __future__ import annotations

from typing import Final

from vipnet.core.host import Host
from vipnet.core.initiator import Initiator
from vipnet.core.locators import usable_only
from vipnet.core.mapping import Mapping
from vipnet.core.outputs import BindingFailed, LookupResult, LookupWanted, Output, Transmit
from vipnet.core.rtt import RttEstimator
from vipnet.core.trust import ListedPeer
from vipnet.types import Fqdn, Instant, Locator, PublicKey

CALL_BACK_S: Final = 3.0  # three tries; a false claim is in the way of the true one for so long


class FirstContact:
    """Until the key is known there is no Peer: nothing can be agreed with an unknown key.

    claimed  the key that a stranger showed, None: XX
    """

    def __init__(self, host: Host, listed: ListedPeer, claimed: PublicKey | None = None) -> None:
        self.listed, self.claimed = listed, claimed
        self.host = host
        self.give_up_at: Instant | None = None
        self.mapping = Mapping(listed.locators)
        self.initiator = Initiator(host, listed.name, RttEstimator(host.policy))
        self.wanted_until: Instant | None = None

    @property
    def name(self) -> Fqdn:
        return self.listed.name

    def want(self, now: Instant) -> None:
        self.wanted_until = Instant(now + self.host.policy.resolve_timeout_s)
        self.initiator.hurry(now)

    def call_back(self, result: LookupResult, source: Locator, now: Instant) -> None:
        """Somebody at SOURCE claims the name; DNS says RESULT of it."""
        self.add_looked_up(result)
        if source.host in result.addresses:  # another port than the usual one
            self.mapping.add_looked_up(usable_only([source], self.host.space.subnet, self.host.locators))
        self.give_up_at = Instant(now + CALL_BACK_S)
        self.initiator.begin(now)

    def add_looked_up(self, result: LookupResult) -> None:
        """What DNS says of the peer's place, where it can be true."""
        port = result.port or self.host.port
        named = [Locator(address, port) for address in result.addresses]
        self.mapping.add_looked_up(usable_only(named, self.host.space.subnet, self.host.locators))

    def next_timeout(self) -> Instant | None:
        deadlines = (self.initiator.next_timeout(), self.wanted_until, self.give_up_at)
        return min((at for at in deadlines if at is not None), default=None)

    def handle_timeout(self, now: Instant) -> list[Output]:
        """A try is due, or an application has waited long enough."""
        outputs: list[Output] = []
        if self.wanted_until is not None and now >= self.wanted_until:
            self.wanted_until = None
            outputs.append(BindingFailed(self.name, f"{self.name} does not answer"))
        at = self.initiator.next_timeout()
        return outputs if at is None or now < at else outputs + self._try(now)

    def _try(self, now: Instant) -> list[Output]:
        if self.initiator.gave_up(now):
            self.host.forget_indexes(self.initiator.stop())
            return []
        candidates = self.mapping.candidates()
        if not candidates or not self.host.locators:
            self.initiator.postpone(now)
            return [LookupWanted(self.name, "no locator known")]
        outputs: list[Output] = []
        if self.claimed is None:
            attempt, forgotten = self.initiator.new_xx(now)
        else:
            own, psk = self.host.key, self.listed.psk
            attempt, forgotten = self.initiator.new_init(own, self.claimed, psk, None, (), now)
            outputs.append(self.host.clock)
        self.host.forget_indexes(forgotten)
        self.host.indexes[attempt.index] = (self, attempt)
        return outputs + [Transmit(attempt.datagram.encode(), locator) for locator in candidates]
