"""bench/figures.py as a program: it measures, keeps what it has when interrupted, and leaves nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.lab.labs import wait_until
from tests.support import need_module, need_program, need_root

need_module("scipy", "matplotlib", "jinja2", "tqdm")

SCRIPT = str(Path(__file__).parents[2] / "bench/figures.py")


def left_behind(pid: int) -> list[Path]:
    return list(Path("/run/vipnet-lab").glob(f"figures-{pid}-*"))


def start(*arguments: str | Path) -> subprocess.Popen[bytes]:
    need_root()
    need_program("ip", "named", "ping", "tcpdump", "nft")
    return subprocess.Popen(
        [sys.executable, SCRIPT, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def document(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "figures.json").read_bytes())
    return found


@pytest.mark.stack
def test_what_the_packets_say_is_what_the_programs_say(tmp_path: Path) -> None:
    """A UDP and a TCP figure in both profiles, by tcpdump; and a late DNS that is as late as ordered."""
    program = start("--quick", "--only", "2b", "3", "4", "--out", tmp_path)
    assert program.wait(240) == 0
    found = document(tmp_path)
    assert found["settings"]["complete"]
    assert {trial["cell"] for trial in found["trials"]} == {
        f"{part}/{profile}/{rest}"
        for profile in ("paper", "default")
        for part, rest in [("2b", "a/tcp"), ("3", "ab/udp")]
    } | {
        f"4/{profile}/ab/udp-tcp/dns-{dns_ms}"
        for profile in ("paper", "default")
        for dns_ms in (0, 500, 1000, 2000)
    }
    for trial in found["trials"]:
        assert trial["errors"] == []
        for stream in (trial["udp"], trial["tcp"]):
            if stream is not None:
                assert abs(stream["switch_ms"] - stream["program_ms"]) < 1
        dns_ms = float(trial["cell"].rpartition("dns-")[2]) if "dns-" in trial["cell"] else 0
        answers = [ms for ms in trial["answer_ms"].values() if ms is not None]
        assert all(ms >= dns_ms for ms in answers)
        assert trial["udp"] is None or trial["udp"]["switch_ms"] >= dns_ms
    assert (tmp_path / "figure-4.svg").exists()
    assert "holds" in (tmp_path / "report.html").read_text()
    assert left_behind(program.pid) == []


@pytest.mark.stack
def test_an_interrupted_run_keeps_what_it_has(tmp_path: Path) -> None:
    program = start("--only", "2a", "--runs", "100", "--out", tmp_path)
    try:
        wait_until((tmp_path / "figures.json").exists, "the first run is kept")
        program.send_signal(signal.SIGINT)
        assert program.wait(60) == 130
    finally:
        program.kill()
        program.wait()
    found = document(tmp_path)
    assert not found["settings"]["complete"]
    assert found["trials"]
    assert "Not complete" in (tmp_path / "report.md").read_text()
    assert left_behind(program.pid) == []
