"""When to speak of a change: at once when the picture is whole, a moment later when it is not. No I/O."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from vipnet.system.netwatch.network import Cause, Ranked, UnderlayAddress

HOLD_S: Final = 0.005  # half a picture waits so long for its other half
_STRENGTH: Final[tuple[Cause, ...]] = ("route", "address", "link", "start", "wake")


class Underlay(Struct, frozen=True):
    """All addresses of this host that count, best first, and what changed them.

    detours  addresses that do not count though the default route leads there (`Network.detours`)
    """

    addresses: tuple[UnderlayAddress, ...]
    cause: Cause
    detours: tuple[str, ...] = ()


class Pace:
    """Turn the rankings after each event into few `Underlay` values, none of them late.

    A change of network is a burst: link down, link up, address, route. Nobody can be
    told anything before the route stands, so that is the moment to speak.
    """

    def __init__(self) -> None:
        self._said: tuple[Ranked, tuple[str, ...]] | None = None
        self._ranked: Ranked = ()
        self._detours: tuple[str, ...] = ()
        self._cause: Cause = "route"
        self._due: float | None = None
        self._quiet_until = 0.0

    def handle_change(self, ranked: Ranked, cause: Cause, now: float, detours: tuple[str, ...] = ()) -> None:
        """After an event of kind CAUSE the addresses are RANKED, and the default route makes DETOURS."""
        self._ranked, self._detours = ranked, detours
        if (ranked, detours) == self._said and cause != "wake":
            self._due = None  # there and back again: no news
            return
        if self._due is None:
            self._cause = cause
        self._cause = max(self._cause, cause, key=_STRENGTH.index)
        is_whole = bool(ranked) and ranked[0][1]
        urgent = is_whole or self._cause in ("start", "wake")
        due = max(now, self._quiet_until) if urgent else now + HOLD_S
        self._due = due if self._due is None else min(self._due, due)

    def next_timeout(self) -> float | None:
        return self._due

    def handle_timeout(self, now: float) -> Underlay | None:
        """The news that is due, if any."""
        if self._due is None or now < self._due:
            return None
        self._due, self._said = None, (self._ranked, self._detours)
        self._quiet_until = now + HOLD_S
        return Underlay(tuple(address for address, _ in self._ranked), self._cause, self._detours)
