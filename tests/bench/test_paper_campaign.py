"""In which order an evaluation is measured, and what of it after an interruption."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support import need_module

need_module("scipy", "tqdm", "dpkt")

from bench.paper import campaign  # noqa: E402 - these need what was asked for above
from bench.paper.campaign import Campaign, shards  # noqa: E402
from bench.paper.cells import PARTS, Cell, plan  # noqa: E402
from bench.paper.document import Document, read  # noqa: E402
from bench.paper.trial import Trial  # noqa: E402
from tests.bench.evaluations import evaluation, trial  # noqa: E402

from vipnet.errors import HostError  # noqa: E402


@pytest.mark.parametrize("at_once", [1, 2, 4])
@pytest.mark.parametrize("hurry", [False, True])
def test_every_cell_is_in_one_lab_of_its_kind(at_once: int, hurry: bool) -> None:
    cells = plan(PARTS, quick=False, kernel="today")
    together, alone = shards(cells, at_once, hurry=hurry)
    assert Counter(cell.key for lab in together + alone for cell in lab) == Counter(
        cell.key for cell in cells
    )
    assert all(len({cell.bed for cell in lab}) == 1 for lab in together + alone)


def test_only_what_mostly_waits_shares_the_machine() -> None:
    cells = plan(PARTS, quick=False, kernel="today")
    together, alone = shards(cells, 4)
    assert {cell.part for lab in together for cell in lab} == {"4", "sleep", "kernel"}
    assert all(cell.dns_ms >= 1000 for lab in together for cell in lab)
    assert all(cell.dns_ms < 1000 for lab in alone for cell in lab)
    assert shards(cells, 1)[0] == []


def test_labs_side_by_side_have_about_the_same_to_do() -> None:
    together, _ = shards(plan(("4",), quick=False, kernel="today"), 4)
    times = [sum(cell.expected_s for cell in lab) for lab in together]
    assert len(times) == 8  # four of each profile
    assert max(times) < 1.4 * min(times)


class Labs:
    """Beds that are none; what was measured in them, and how many there were at a time."""

    def __init__(self) -> None:
        self.measured: list[tuple[str, int]] = []
        self.most = self._open = 0
        self._lock = threading.Lock()
        self.broken: set[str] = set()

    @contextlib.contextmanager
    def make_bed(self, _kind: object, _name: str) -> Iterator[Labs]:
        with self._lock:
            self._open += 1
            self.most = max(self.most, self._open)
        yield self
        with self._lock:
            self._open -= 1

    def measure(self, _bed: object, cell: Cell, run: int) -> tuple[Trial, None]:
        if cell.key in self.broken:
            raise HostError("no traffic")
        with self._lock:
            self.measured.append((cell.key, run))
        return trial(cell, run), None

    def settle(self) -> None:
        pass


@pytest.fixture
def labs(monkeypatch: pytest.MonkeyPatch) -> Labs:
    fake = Labs()
    monkeypatch.setattr(campaign, "make_bed", fake.make_bed)
    monkeypatch.setattr(campaign, "measure", fake.measure)
    monkeypatch.setattr(campaign, "ASIDES", {"one": (lambda name: {"name": name}, 1.0)})
    return fake


def planned(runs: int = 2, **settings: Any) -> Document:
    document = evaluation(parts=("3", "4"), runs=runs)
    document.trials, document.traces = [], []
    document.settings = msgspec.structs.replace(document.settings, complete=False, **settings)
    return document


def test_all_runs_are_measured_once_and_kept(labs: Labs, tmp_path: Path) -> None:
    document = planned(asides=("one",))
    Campaign(document, tmp_path / "x.json", 3).run()
    wanted = [(cell.key, run) for cell in document.cells for run in (1, 2)]
    assert Counter(labs.measured) == Counter(wanted)
    assert labs.most <= 3
    assert document.asides["one"]
    assert len(read(tmp_path / "x.json").trials) == len(wanted)


def test_who_resumes_measures_only_what_is_missing(labs: Labs, tmp_path: Path) -> None:
    document = planned()
    broken = {cell.key for cell in document.cells[3:5]}
    labs.broken = set(broken)
    Campaign(document, tmp_path / "x.json", 2).run()
    assert len(document.failed) == 4
    labs.measured.clear()
    labs.broken.clear()
    Campaign(read(tmp_path / "x.json"), tmp_path / "x.json", 2).run()
    assert Counter(labs.measured) == Counter((key, run) for key in broken for run in (1, 2))


def test_labs_of_one_kind_take_rounds(labs: Labs, tmp_path: Path) -> None:
    Campaign(planned(), tmp_path / "x.json", 1).run()
    runs = [run for key, run in labs.measured if key.startswith("3/paper")]
    assert runs == [1, 2]
    late = [one for one in labs.measured if one[0].startswith("4/paper")]
    assert [run for _, run in late] == [1] * 33 + [2] * 33
