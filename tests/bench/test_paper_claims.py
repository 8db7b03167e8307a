"""The judges of the paper's claims: strict, and silent where nothing was measured."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.support import need_module

need_module("scipy", "matplotlib", "jinja2")

from bench.paper.claims import claims  # noqa: E402 - these need what was asked for above
from bench.paper.claims.row import NONE, Row  # noqa: E402
from bench.paper.document import Document  # noqa: E402
from bench.paper.pcaps import TcpStory  # noqa: E402
from bench.paper.trial import Trial  # noqa: E402
from tests.bench.evaluations import evaluation, stream  # noqa: E402


def row(document: Document, name: str) -> Row:
    return next(one for one in claims(document) if one.id == name)


def change(document: Document, part: str, profile: str, **changes: Any) -> Document:
    """The same with something else in every trial of these cells."""
    keys = {cell.key for cell in document.cells_of(part, profile)}
    trials = [msgspec.structs.replace(one, **changes) if one.cell in keys else one for one in document.trials]
    return msgspec.structs.replace(document, trials=trials)


def test_a_good_evaluation_holds() -> None:
    judged = {one.id: one.verdict for one in claims(evaluation())}
    asides = {
        "rtt",
        "set-up",
        "dns-query",
        "legacy",
        "legacy-move",
        "applications",
        "configuration",
        "tokens",
        "sealed",
        "active-partners",
        "lease",
        "no-ip",
    }
    assert {name for name, verdict in judged.items() if verdict == NONE} == asides
    assert "does not hold" not in judged.values()


def test_every_claim_has_a_name_of_its_own_and_the_papers_number() -> None:
    rows = claims(evaluation())
    assert len({one.id for one in rows}) == len(rows)
    assert all(one.claim and one.paper and one.why for one in rows if one.id != "set-up")


def test_what_was_not_measured_is_never_claimed() -> None:
    empty = evaluation(parts=())
    assert {one.verdict for one in claims(empty)} == {NONE}
    assert not any(character.isdigit() for one in claims(empty) for character in one.ours_default)


@pytest.mark.parametrize(
    ("name", "part", "profile", "changes"),
    [
        ("udp-one-sided", "2a", "default", {"udp": stream(23.5)}),
        ("udp-one-sided", "2a", "default", {"udp": stream(None)}),
        ("tcp-one-sided", "2b", "default", {"tcp": stream(401.0)}),
        ("udp-two-sided", "3", "paper", {"udp": stream(499.0)}),
        ("udp-two-sided", "3", "paper", {"udp": stream(701.0)}),
        ("udp-linear", "4", "paper", {"udp": stream(600.0)}),
        ("tcp-with-udp", "4", "default", {"tcp": stream(9_999.0)}),
        ("tcp-stepwise", "4", "paper", {"story": TcpStory((), (), "kept by vipnet", 500.0)}),
        ("tcp-stepwise", "4", "paper", {"story": TcpStory((), (200.0, 400.0, 600.0), "time-out 3", 0.1)}),
        ("parts", "3", "paper", {"udp": stream(690.0)}),
    ],
)
def test_a_judge_sees_what_is_not_so(name: str, part: str, profile: str, changes: dict[str, Any]) -> None:
    good = evaluation()
    assert row(good, name).verdict == "holds"
    assert row(change(good, part, profile, **changes), name).verdict == "does not hold"


def test_tcp_may_be_a_round_trip_and_30_ms_behind_and_no_more() -> None:
    def behind(ms: float) -> Document:
        good = evaluation(parts=("4",))

        def late(one: Trial) -> Trial:
            assert one.udp is not None
            assert one.udp.switch_ms is not None
            return msgspec.structs.replace(one, tcp=stream(one.udp.switch_ms + ms))

        trials = [late(one) if "/default/" in one.cell else one for one in good.trials]
        return msgspec.structs.replace(good, trials=trials)

    assert row(behind(30.3), "tcp-with-udp").verdict == "holds"
    assert row(behind(30.5), "tcp-with-udp").verdict == "does not hold"


def test_a_line_that_is_too_steep_is_not_the_papers() -> None:
    good = evaluation(parts=("4",))
    assert "1.00 x latency" in row(good, "udp-linear").ours_paper

    def steeper(one: Trial) -> Trial:
        assert one.udp is not None
        return msgspec.structs.replace(one, udp=stream((one.udp.switch_ms or 0) + 0.25 * (one.asked_ms or 0)))

    steep = msgspec.structs.replace(good, trials=[steeper(one) for one in good.trials])
    assert row(steep, "udp-linear").verdict == "does not hold"


@pytest.mark.parametrize(
    ("name", "aside", "good", "bad"),
    [
        (
            "legacy",
            "legacy",
            {"address_as_in_dns": True, "works_both_ways": True, "vipnet_packets": 0, "questions": [1, 2]},
            {"vipnet_packets": 1},
        ),
        ("legacy", "legacy", {}, {"questions": [1, 2, 3]}),
        ("lease", "lease", {}, {"paper": {"silent": 1, "speaking": 1, "told": [0, 1]}}),
        ("lease", "lease", {}, {"default": {"silent": 0, "speaking": 0, "told": [0, 1]}}),
        ("active-partners", "lease", {}, {"default": {"silent": 0, "speaking": 1, "told": [1, 1]}}),
        ("active-partners", "lease", {}, {"paper": {"silent": 0, "speaking": 1, "told": [0, 0]}}),
        ("legacy-move", "legacy", {}, {"open_connection_survives": True}),
        ("legacy-move", "legacy", {}, {"new_connection_works": False}),
        ("tokens", "configuration", {}, {"symmetric": False}),
        ("tokens", "configuration", {}, {"tokens_on_lans": 3}),
        ("sealed", "configuration", {}, {"readable": 1}),
        ("sealed", "configuration", {}, {"readable_bare": 0}),
        ("configuration", "configuration", {}, {"keys": ["name", "peer.address"]}),
        ("dns-query", "set_up", {}, {"questions": {"b": [["A", "b"], ["TXT", "_vip.b"], ["TXT", "x.b"]]}}),
        ("set-up", "set_up", {}, {"vip_known": {"steps_ms": {"handshake": 230.0}}}),
    ],
)
def test_asides_are_judged_as_well(name: str, aside: str, good: dict[str, Any], bad: dict[str, Any]) -> None:
    found: dict[str, dict[str, Any]] = {
        "legacy": {
            "address_as_in_dns": True,
            "works_both_ways": True,
            "vipnet_packets": 0,
            "packets_seen": 20,
            "questions": [["A", "c"], ["TXT", "_vip.c"]],
            "open_connection_survives": False,
            "new_connection_works": True,
        },
        "configuration": {
            "symmetric": True,
            "tokens_on_lans": 0,
            "packets_on_lans": 40,
            "keys": ["name"],
            "readable": 0,
            "readable_bare": 80,
        },
        "lease": {"lease_s": 60.0}
        | {profile: {"silent": 0, "speaking": 1, "told": [0, 1]} for profile in ("paper", "default")},
        "set_up": {
            "rtt_ms": 100.0,
            "vip": {"steps_ms": {"handshake": 160.0}},
            "vip_known": {"steps_ms": {"handshake": 105.0}},
            "questions": {"b": [["A", "b"], ["SOA", "b"], ["TXT", "_vip.b"]]},
            "together_ms": 0.3,
        },
    }
    document = evaluation(parts=())
    document.asides = {aside: found[aside] | good}
    assert row(document, name).verdict == "holds"
    document.asides = {aside: found[aside] | good | bad}
    assert row(document, name).verdict == "does not hold"
