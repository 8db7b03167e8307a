"""What happened at each move, for people: a report a move, a line a partner."""

from __future__ import annotations

from typing import Literal

from msgspec import structs

from vipnet.core.outputs import MoveReport, PartnerMove
from vipnet.types import Fqdn, Instant, Locator


class MoveLog:
    """The report of the last move; lines are added as partners answer."""

    def __init__(self, first_id: int) -> None:
        self._next_id = first_id
        self._report: MoveReport | None = None
        self._partners: dict[Fqdn, PartnerMove] = {}
        self._changed = False

    def begin(self, cause: str, old: tuple[Locator, ...], new: tuple[Locator, ...], now: Instant) -> None:
        self._report = MoveReport(self._next_id, cause, now, old, new)
        self._next_id += 1
        self._partners = {}
        self._changed = True

    @property
    def begun_at(self) -> Instant | None:
        return None if self._report is None else self._report.at

    def note(self, name: Fqdn, event: Literal["hint", "ack", "lookup", "validated"], now: Instant) -> None:
        """EVENT happened now with the partner NAME; only the first time counts."""
        if self._report is None or (event != "hint" and name not in self._partners):
            return
        if getattr(self._line(name), f"{event}_ms") is None:
            self._change(name, **{f"{event}_ms": (now - self._report.at) * 1000})

    def note_gap(self, name: Fqdn, last_before: Instant, now: Instant) -> None:
        """Data of the partner arrives again; the last before the move did at LAST_BEFORE."""
        if name in self._partners and self._line(name).gap_ms is None:
            self._change(name, gap_ms=(now - last_before) * 1000)

    def note_replayed(self, name: Fqdn, datagrams: int, size_bytes: int) -> None:
        """So much was sent again to the partner."""
        if name in self._partners:
            line = self._line(name)
            self._change(
                name, replayed=line.replayed + datagrams, replayed_bytes=line.replayed_bytes + size_bytes
            )

    def note_dropped(self, name: Fqdn, number: int) -> None:
        """So many datagrams and packets to the partner had no room."""
        if number and name in self._partners:
            self._change(name, dropped=self._line(name).dropped + number)

    def conclude(self, name: Fqdn, outcome: Literal["acked", "dns", "timeout"]) -> None:
        if name in self._partners and self._line(name).outcome is None:
            self._change(name, outcome=outcome)

    def asked_dns(self, name: Fqdn) -> bool:
        return self._line(name).lookup_ms is not None

    def _line(self, name: Fqdn) -> PartnerMove:
        return self._partners.get(name) or PartnerMove(name)

    def _change(self, name: Fqdn, **fields: float | str) -> None:
        self._partners[name] = structs.replace(self._line(name), **fields)
        self._changed = True

    def take_report(self) -> MoveReport | None:
        """The report, when it changed since it was taken last."""
        if not self._changed or self._report is None:
            return None
        self._changed = False
        return structs.replace(self._report, partners=tuple(self._partners.values()))
