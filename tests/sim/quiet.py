"""Who talks with whom, since when they are left in peace, and whether they know by then where they are."""

from __future__ import annotations

from dataclasses import dataclass

from tests.sim.network import Network, SimHost
from tests.sim.properties import QUIET_BOUND_S, ViolationError, is_right

from vipnet.core.outputs import MoveReport
from vipnet.types import Instant

_EVERY_S = 0.25
_WEATHER_LOSS = 0.05  # above it is no quiet


@dataclass(eq=False)
class Talk:
    """HOST sends packets to OTHER, which answers some of them.

    settled  both have had right mappings since they were disturbed last
    """

    host: SimHost
    other: SimHost
    begun_at: Instant
    answers: float
    quiet_from: float = 0.0
    settled: bool = False


class Quiet:
    """Checks mappings several times a second of virtual time.

    settled_s  how long after the last disturbance each pair had right mappings, to a quarter of a second
    reports    of all moves
    latest     the pair that began to talk last
    """

    def __init__(self, net: Network) -> None:
        self.net = net
        self.settled_s: list[float] = []
        self.latest: tuple[SimHost, SimHost] | None = None
        self._finished: list[MoveReport] = []
        self._talks: dict[tuple[SimHost, SimHost], Talk] = {}
        self._disturbed_at: dict[SimHost, Instant] = {}
        self._network_disturbed_at = net.now
        net.at(_EVERY_S, self._check)

    @property
    def reports(self) -> list[MoveReport]:
        return self._finished + [report for host in self.net.hosts.values() for report in host.moves.values()]

    def finish(self, host: SimHost) -> None:
        """HOST's daemon ends: the next one numbers its moves anew."""
        self._finished += host.moves.values()
        host.moves.clear()

    def add(self, talk: Talk) -> None:
        self._talks[talk.host, talk.other] = talk
        self.latest = talk.host, talk.other

    def remove(self, talk: Talk) -> None:
        del self._talks[talk.host, talk.other]

    def talk(self, host: SimHost, other: SimHost) -> Talk | None:
        return self._talks.get((host, other)) or self._talks.get((other, host))

    def disturb(self, host: SimHost) -> None:
        """Something happens to HOST now."""
        self._disturbed_at[host] = self.net.now

    def _check(self) -> None:
        self.net.at(_EVERY_S, self._check)
        net = self.net
        if net.dns_down or net.dns_failing or net.loss > _WEATHER_LOSS:
            self._network_disturbed_at = net.now
        for host in net.hosts.values():
            if not self._is_in_peace(host):
                self.disturb(host)
        for talk in self._talks.values():
            self._check_talk(talk)

    def _is_in_peace(self, host: SimHost) -> bool:
        """Up, somewhere, and DNS knows where."""
        if not host.awake or host.locator is None or host.island:
            return False
        return self.net.zone.get(host.name) == host.locator.host and host.locator.host not in self.net.dead

    def _check_talk(self, talk: Talk) -> None:
        quiet_from = max(
            talk.begun_at,
            self._network_disturbed_at,
            self._disturbed_at.get(talk.host, 0.0),
            self._disturbed_at.get(talk.other, 0.0),
        )
        if quiet_from != talk.quiet_from:
            talk.quiet_from, talk.settled = quiet_from, False
        quiet_s = self.net.now - quiet_from
        if is_right(talk.host, talk.other) and is_right(talk.other, talk.host):
            if not talk.settled:
                talk.settled = True
                self.settled_s.append(quiet_s)
        elif quiet_s >= QUIET_BOUND_S:
            raise ViolationError(
                f"{talk.host.name} and {talk.other.name} talk, and after {quiet_s:.1f} s of quiet"
                f" one does not know where the other is",
                talk.host,
                talk.other,
            )
