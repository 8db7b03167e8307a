"""The paper's VIP <-> IP mapping: where a peer is, and how long that is believed."""

from __future__ import annotations

from collections.abc import Iterable

from vipnet.policy import LOCATORS_MAX, Policy
from vipnet.types import Instant, Locator


def lease_expired(last_heard: Instant | None, now: Instant, policy: Policy) -> bool:
    """No packet from the peer during the last T seconds (paper section 3.2)."""
    return last_heard is None or now - last_heard >= policy.lease_s


class Mapping:
    """Locators of one peer.

    current      where its datagrams go now; None: nowhere yet
    locators     what the peer said of itself, best first; or what DNS says of one never heard
    looked_up    what DNS added since: to be probed, never believed by itself
    move_number  of the newest hint that was believed
    """

    def __init__(self, locators: Iterable[Locator] = (), move_number: int = 0) -> None:
        self.locators = tuple(locators)[:LOCATORS_MAX]
        self.looked_up: tuple[Locator, ...] = ()
        self.current = self.locators[0] if self.locators else None
        self.move_number = move_number
        self.last_heard: Instant | None = None

    def believe(self, locators: Iterable[Locator], current: Locator, move_number: int) -> None:
        """Take over what an authenticated hint or handshake said."""
        self.locators = tuple(locators)[:LOCATORS_MAX]
        self.looked_up = ()
        self.current = current
        self.move_number = move_number

    def add_looked_up(self, locators: Iterable[Locator]) -> list[Locator]:
        """Remember what DNS said; return the locators that are new."""
        known = self.candidates()
        new = [locator for locator in locators if locator not in known]
        if new:
            self.looked_up = (*new, *self.looked_up)[:LOCATORS_MAX]
        if self.current is None and new:
            self.current = new[0]
        return new

    def candidates(self) -> list[Locator]:
        """Every distinct place where the peer may be, the likeliest first."""
        first = () if self.current is None else (self.current,)
        return list(dict.fromkeys((*first, *self.looked_up, *self.locators)))[: 2 * LOCATORS_MAX]
