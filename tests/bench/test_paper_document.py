"""What is planned, kept, drawn and written of an evaluation."""

from __future__ import annotations

import csv
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from tests.support import need_module

need_module("scipy", "matplotlib", "jinja2")

from bench.paper.cells import PARTS, plan  # noqa: E402 - these need what was asked for above
from bench.paper.claims import claims  # noqa: E402
from bench.paper.document import Document, agreement, read  # noqa: E402
from bench.paper.report import write_report  # noqa: E402
from bench.quoted import QuotationError, check, quotations  # noqa: E402
from tests.bench.evaluations import evaluation, stream  # noqa: E402

FIGURES = ("figure-2a", "figure-2b", "figure-3", "figure-4", "figure-rtt")


def test_the_full_plan_has_the_papers_latencies_and_both_profiles() -> None:
    cells = plan(PARTS, quick=False, kernel="today")
    assert len({cell.key for cell in cells}) == len(cells)
    for profile in ("paper", "default"):
        latencies = [cell.dns_ms for cell in cells if cell.part == "4" and cell.bed.profile == profile]
        assert latencies == [250.0 * step for step in range(33)]
    beds = [cell.bed for cell in cells]
    changes = sum(one != other for one, other in pairwise(beds))
    assert changes == len(set(beds)) - 1  # each lab is built once


def test_a_quick_plan_is_quick() -> None:
    cells = plan(("2a", "2b", "3", "4"), quick=True, kernel="today")
    assert sorted({cell.dns_ms for cell in cells if cell.part == "4"}) == [0, 500, 1000, 2000]
    assert sum(cell.expected_s for cell in cells) / 2 < 45  # in two lanes


def test_a_document_is_read_as_it_was_written(tmp_path: Path) -> None:
    document = evaluation(parts=("2a", "4"), runs=2, quick=True)
    document.write(tmp_path / "figures.json")
    again = read(tmp_path / "figures.json")
    assert msgspec.to_builtins(again) == msgspec.to_builtins(document)
    assert agreement(document, again) == (18, [])


def test_agreement_counts_what_does_not_overlap() -> None:
    one, other = evaluation(parts=("3",)), evaluation(parts=("3",))
    other.trials = [msgspec.structs.replace(trial, udp=stream(9_999.0)) for trial in other.trials]
    agreed, apart = agreement(one, other)
    assert agreed == 0
    assert [line.partition(":")[0] for line in apart] == ["3/paper/ab/udp UDP", "3/default/ab/udp UDP"]
    other.trials = []
    assert agreement(one, other) == (0, [])


def test_the_trace_nearest_to_the_median_is_kept() -> None:
    document = evaluation(parts=("3",), runs=3)
    times = {1: 900.0, 2: 540.0, 3: 530.0}
    document.trials = [
        msgspec.structs.replace(trial, udp=stream(times[trial.run])) for trial in document.trials
    ]
    document.sum_up()
    assert [trace.run for trace in document.traces] == [2, 2]


def test_a_summary_can_be_quoted(tmp_path: Path) -> None:
    document = evaluation(parts=("4",), quick=True)
    document.sum_up()
    document.write(tmp_path / "figures.json")
    text = "0.50 s<!-- figures.json: lines paper intercept --> and 16 ms<!-- figures.json: summaries "
    text += "4/default/ab/udp-tcp/dns-0 tcp median -->"
    (tmp_path / "x.md").write_text(text)
    for quotation in quotations(tmp_path / "x.md"):
        with pytest.raises(QuotationError, match="it is"):
            check(msgspec.structs.replace(quotation, number="77"), tmp_path)


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[str] = []
        self.rows: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in ("meta", "img", "col"):
            self.open.append(tag)
        if tag == "img":
            assert found["alt"]
            self.images.append(found["src"] or "")
        if tag == "tr" and found.get("id"):
            self.rows.append(found["id"] or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Document, Path]:
    out = tmp_path_factory.mktemp("report")
    document = evaluation()
    document.failed = {"4/paper": "a <lab> & more"}
    write_report(document, out)
    return document, out


def test_the_page_is_whole_and_has_every_claim_and_figure(written: tuple[Document, Path]) -> None:
    document, out = written
    page = Page()
    text = (out / "report.html").read_text()
    page.feed(text)
    assert page.open == []
    assert page.rows == [one.id for one in claims(document)]
    assert page.images == [f"{name}.svg" for name in FIGURES]
    assert "a &lt;lab&gt; &amp; more" in text
    assert not any(word in text for word in ("{{", "{%", "None", " nan"))


def test_the_text_has_a_row_a_claim(written: tuple[Document, Path]) -> None:
    document, out = written
    lines = (out / "report.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("| ")]
    assert len(table) == 1 + len(claims(document))
    assert {line.replace(r"\|", "").count("|") for line in table} == {7}


def test_figures_have_all_their_files(written: tuple[Document, Path]) -> None:
    _, out = written
    for name in FIGURES:
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (out / f"{name}.svg").read_text()
    rows = list(csv.DictReader((out / "figure-4.csv").read_text().splitlines()))
    assert len(rows) == 66
    last = rows[32]
    assert (last["profile"], last["dns_ordered_ms"], last["tcp_step"]) == ("paper", "8000.0", "time-out 6")
    assert float(last["udp_low_ms"]) <= float(last["udp_ms"]) <= float(last["udp_high_ms"])


def test_a_report_of_nothing_says_so(tmp_path: Path) -> None:
    document = evaluation(parts=())
    document.settings = msgspec.structs.replace(document.settings, complete=False)
    write_report(document, tmp_path)
    assert "Not complete" in (tmp_path / "report.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.md"]
