"""bench/quoted.py: it finds what is wrong, and nothing in the repository is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench.quoted import QuotationError, check, documents, main, quotations, rounding

RESULTS = {
    "a": {"b/c": {"median": 545.31}},
    "rows": [{"n": 1, "s": 0.0382}, {"n": 2, "s": True}],
    "q": 33671,
    "cells": [{"v": v, "c": c, "n": n} for v, c, n in (("x, y", "p", 5), ("x, y", "q", 6), ("z", "q", 7))],
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "x.json").write_text(json.dumps(RESULTS))
    return tmp_path


def judge(results: Path, text: str) -> None:
    document = results / "x.md"
    document.write_text(text)
    (found,) = quotations(document)
    check(found, results)


@pytest.mark.parametrize(
    "text",
    [
        "545 ms<!-- x.json: a b/c median -->",
        "from 1 to 545.3<!-- x.json: a b/c median --> of 9",
        "| 33,700 a second<!-- x.json: q --> |",
        "33,671<!-- x.json: q -->",
        "38.2 ms<!-- x.json: rows n=1 s *1000 -->",
        "38<!-- x.json: rows 0 s *1000 -->",
        '6<!-- x.json: cells v="x, y" c=q n -->',
        "6<!-- x.json: cells c=q v='x, y' n -->",
    ],
)
def test_what_is_right(results: Path, text: str) -> None:
    judge(results, text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("546 ms<!-- x.json: a b/c median -->", "it is 545.31"),
        ("33,600<!-- x.json: q -->", "it is 33671"),
        ("30,000<!-- x.json: q -->", "it is 33671"),
        ("1<!-- x.json: nothing -->", "nothing there"),
        ("1<!-- y.json: q -->", "nothing there"),
        ("1<!-- x.json: rows n=3 s -->", "nothing there"),
        ("6<!-- x.json: cells c=q n -->", "nothing there"),  # which of two?
        ("6<!-- x.json: cells c=q v=w n -->", "nothing there"),
        ("1<!-- x.json: rows n=2 s -->", "no number"),
        ("much<!-- x.json: q -->", "no number before it"),
    ],
)
def test_what_is_wrong(results: Path, text: str, why: str) -> None:
    with pytest.raises(QuotationError, match=why):
        judge(results, text)


@pytest.mark.parametrize(
    ("number", "unit"),
    [("12.5", 0.1), ("12", 1), ("300", 10), ("33,700", 100), ("100", 10), ("20", 1), ("0", 1)],
)
def test_how_far_a_number_may_be_rounded(number: str, unit: float) -> None:
    assert rounding(number) == pytest.approx(unit)


def test_every_quoted_number_of_the_repository_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert sum(len(list(quotations(document))) for document in documents()) > 5
    assert main([]) == 0, capsys.readouterr().out
