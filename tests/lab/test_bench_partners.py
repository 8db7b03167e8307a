"""bench/partners.py with few partners: it measures what it says, and every ack is handled."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.lab.labs import run
from tests.support import need_program, need_root

PARTNERS, RUNS = 6, 2


def test_few_partners_are_all_told_and_their_acks_handled(tmp_path: Path) -> None:
    need_root()
    need_program("ip")
    file = tmp_path / "result.json"
    few = ["--partners", str(PARTNERS), "--runs", str(RUNS), "--idle-s", "0.2", "--lease-s", "4"]
    # The exit status is about times, which a busy machine does not keep.
    done = run([sys.executable, "bench/partners.py", *few, "--json", str(file)], check=False)
    assert file.exists(), done.stderr
    result = json.loads(file.read_bytes())
    assert result["partners"] == PARTNERS
    assert len(result["runs"]) == RUNS
    for one in result["runs"]:
        assert one["hints"] == one["acked"] == PARTNERS
        assert 0 < one["first_ms"] <= one["last_ms"] <= one["acked_ms"]
        assert one["cpu_ms"] > 0
    assert result["idle"]["leases_percent"] >= 0
    assert result["memory_mib"] > 1
    assert done.returncode == (0 if result["met"] else 1)
    assert "acks handled" in done.stdout
