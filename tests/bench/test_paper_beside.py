"""Other overlays and applications in the report: nothing is told better than it was."""

from __future__ import annotations

import csv
from pathlib import Path

import msgspec
import pytest
from tests.support import need_module

need_module("scipy", "matplotlib", "jinja2", "aioquic")

from bench import applications, peers  # noqa: E402 - these need what was asked for above
from bench.paper.beside import Beside, read_beside, tables  # noqa: E402
from bench.paper.report import write_report  # noqa: E402
from tests.bench.evaluations import evaluation  # noqa: E402
from tests.bench.test_peers import turn  # noqa: E402


def others() -> peers.Document:
    """Vipnet is level with tinc, ahead of nebula, which comes back once, and behind openvpn."""
    times: dict[str, tuple[float | None, ...]] = {
        "vipnet": (20.0, 21.0, 22.0),
        "nebula": (900.0, None, None),
        "tinc": (21.0, 22.0, 23.0),
        "openvpn": (11.0, 12.0, 13.0),
        "strongswan": (None, None, None),
    }
    turns = [turn(name, time, run=run) for name, found in times.items() for run, time in enumerate(found, 1)]
    return peers.Document(
        environment=evaluation(parts=()).environment,
        runs=3,
        lanes=1,
        seed=1,
        cap_s=60.0,
        warm_up_s=None,
        left_out={"wireguard-go": ["wg"]},
        failed=("run 1 tinc: no | ping",),
        cases={"udp-two-sided": "two-sided UDP, both ways"},
        variants={name: peers.About("1.0", 60.0, "ping") for name in times},
        cells=tuple(peers.cells(turns)),
        turns=tuple(turns),
    )


def programs() -> applications.Document:
    def row(name: str, way: applications.Way, mover: str, stall_ms: float | None) -> applications.Row:
        return applications.Row(
            application=name,
            way=way,
            mover=mover,
            survived=stall_ms is not None,
            rest_ms=41.0,
            stall_ms=stall_ms,
            said=f"{name} says",
        )

    rows = [row("ssh", "vipnet", mover, 60.0) for mover in applications.MOVERS]
    rows += [row("quic", "bare", "a", 50.0), row("quic", "bare", "b", None)]
    return applications.Document(
        environment=evaluation(parts=()).environment, moves=4, rsync_bytes=1, left_out=(), rows=tuple(rows)
    )


def test_where_vipnet_is_not_ahead_is_said_plainly(tmp_path: Path) -> None:
    (table,) = tables(Beside(peers=others()), tmp_path)
    cells = {row[0].split()[0]: row[1] for row in table.rows}
    assert cells["vipnet"] == "21.0 [20.0, 22.0] (+11.0), 0 lost"
    assert cells["nebula"].endswith("back in 1 of 3; vipnet is ahead")
    assert cells["strongswan"] == "not back in 3 runs"
    ahead, level, behind, left_out, failed = table.notes
    assert "ahead in 1 of the 3 cells" in ahead  # strongswan never came back: it is not counted
    assert level == "It is level in 1: tinc, two-sided UDP, both ways."
    assert behind == "It is behind in 1: openvpn, two-sided UDP, both ways."
    assert (left_out, failed) == ("Left out: wireguard-go (wg).", "Not measured: run 1 tinc: no | ping")


def test_what_broke_is_not_called_a_stall(tmp_path: Path) -> None:
    (table,) = tables(Beside(applications=programs()), tmp_path)
    ssh, quic = table.rows
    assert ssh == ("ssh", "41 ms", *("survived, 60 ms",) * 3, "ssh says")
    assert quic[:5] == ("quic, without vipnet", "41 ms", "survived, 50 ms", "did not survive", "not measured")


def test_the_report_has_both_with_csv_and_figure(tmp_path: Path) -> None:
    write_report(evaluation(parts=("3",)), tmp_path, Beside(others(), programs()))
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    for word in ("openvpn 1.0 (60 s: ping)", "It is behind in 1", "did not survive"):
        assert word in page
        assert word in text
    assert "no | ping" in page
    assert {line.replace(r"\|", "").count("|") for line in text.splitlines() if line.startswith("|")} == {
        3,
        7,
    }
    lines = list(csv.DictReader((tmp_path / "peers.csv").read_text().splitlines()))
    assert [line["vipnet_is"] for line in lines] == ["", "ahead", "level", "behind", "ahead"]
    assert len((tmp_path / "applications.csv").read_text().splitlines()) == 6
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")


def test_what_the_programs_wrote_is_read(tmp_path: Path) -> None:
    for name, document in (("p", others()), ("a", programs())):
        (tmp_path / name).write_bytes(msgspec.json.encode(document))
    found = read_beside(tmp_path / "p", tmp_path / "a")
    assert (found.peers, found.applications) == (others(), programs())
    assert read_beside(None, None) == Beside()
    (tmp_path / "p").write_text("{}")
    with pytest.raises(msgspec.ValidationError):
        read_beside(tmp_path / "p", None)
