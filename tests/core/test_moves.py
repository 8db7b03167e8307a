"""The report of a move, as people and programs read it."""

from __future__ import annotations

from vipnet.core.moves import MoveLog
from vipnet.core.outputs import PartnerMove
from vipnet.types import Fqdn, Instant, Locator

B, D = Fqdn("b.example"), Fqdn("d.example")
OLD, NEW = (Locator("192.0.2.1", 5847),), (Locator("198.51.100.7", 5847),)
START = Instant(1000.0)


def moved() -> MoveLog:
    log = MoveLog(first_id=5)
    log.begin("address", OLD, NEW, START)
    return log


def after(ms: float) -> Instant:
    return Instant(START + ms / 1000)


def line(log: MoveLog, name: Fqdn) -> PartnerMove:
    report = log.take_report()
    assert report is not None
    return next(partner for partner in report.partners if partner.name == name)


def test_a_report_is_given_out_once_a_change() -> None:
    log = moved()
    report = log.take_report()
    assert report is not None
    assert (report.id, report.cause, report.at, report.old, report.new) == (5, "address", START, OLD, NEW)
    assert log.take_report() is None
    log.note(B, "hint", after(1))
    assert log.take_report() is not None


def test_times_are_milliseconds_since_the_event_and_the_first_counts() -> None:
    log = moved()
    log.note(B, "hint", after(1))
    log.note(B, "hint", after(500))
    log.note(B, "ack", after(30))
    found = line(log, B)
    assert found.hint_ms is not None
    assert found.ack_ms is not None
    assert (round(found.hint_ms), round(found.ack_ms)) == (1, 30)
    assert found.lookup_ms is None


def test_only_who_was_told_is_a_partner_of_the_move() -> None:
    log = moved()
    log.note(D, "lookup", after(1))
    log.note_gap(D, START, after(2))
    log.note_replayed(D, 1, 100)
    log.conclude(D, "timeout")
    report = log.take_report()
    assert report is not None
    assert report.partners == ()


def test_the_gap_is_a_length_and_replays_add_up() -> None:
    log = moved()
    log.note(B, "hint", after(1))
    log.note_gap(B, Instant(START - 0.02), after(40))
    log.note_gap(B, START, after(999))
    log.note_replayed(B, 2, 300)
    log.note_replayed(B, 1, 100)
    found = line(log, B)
    assert found.gap_ms is not None
    assert round(found.gap_ms) == 60
    assert (found.replayed, found.replayed_bytes) == (3, 400)


def test_the_first_outcome_stays() -> None:
    log = moved()
    log.note(B, "hint", after(1))
    log.conclude(B, "acked")
    log.conclude(B, "timeout")
    assert line(log, B).outcome == "acked"


def test_the_next_move_begins_a_report_of_its_own() -> None:
    log = moved()
    log.note(B, "hint", after(1))
    log.begin("link", NEW, (), after(5000))
    report = log.take_report()
    assert report is not None
    assert (report.id, report.new, report.partners) == (6, (), ())
