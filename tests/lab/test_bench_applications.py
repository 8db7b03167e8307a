"""bench/applications.py: what survives is told with its stall, what does not is told plainly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.schema import hold
from tests.support import need_module, need_program, need_root

need_module("aioquic")

from bench import applications  # noqa: E402 - aioquic has to be there
from bench.applications import Document, Row  # noqa: E402
from bench.environment import environment  # noqa: E402


def row(mover: str, stall_ms: float | None, *, way: applications.Way = "vipnet", said: str = "") -> Row:
    return Row(
        application="ssh",
        way=way,
        mover=mover,
        survived=stall_ms is not None,
        rest_ms=41.0,
        stall_ms=stall_ms,
        said=said,
    )


def document(*rows: Row) -> Document:
    return Document(environment=environment(), moves=1, rsync_bytes=1, left_out=(), rows=rows)


def test_a_table_of_stalls() -> None:
    found = document(row("a", 60.4), row("b", 70.0), row("both", None, said="broken pipe"))
    text = applications.text(found)
    line = next(line for line in text.splitlines() if line.startswith("ssh "))
    assert line.split() == ["ssh", "41", "60", "70", "did", "not", "survive"]
    assert "broken pipe" in text
    assert not found.survived


def test_what_runs_outside_vipnet_is_only_a_comparison() -> None:
    assert document(row("a", 60.0), row("b", None, way="bare")).survived


@pytest.mark.stack
def test_a_call_through_moves(tmp_path: Path) -> None:
    need_root()
    need_program("ip", "named")
    file = tmp_path / "applications.json"
    command = [sys.executable, str(applications.__file__), "--quick", "--only", "voip", "--json", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        output, progress = process.communicate(timeout=150)
    assert process.returncode == 0, progress
    found = json.loads(file.read_bytes())
    hold(found, "bench-applications")
    assert [one["mover"] for one in found["rows"]] == ["a", "b", "both"]
    assert all(one["survived"] and one["rest_ms"] > 0 and one["stall_ms"] > 0 for one in found["rows"])
    assert "voip" in output
    assert not [*Path("/run/netns").glob(f"vipnet-apps-{process.pid}-*")]
