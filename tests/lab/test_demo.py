"""The demo, its report, and the packets that must say the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.lab.labs import VIPNET, run
from tests.schema import hold
from tests.support import need_program, need_root

from vipnet.cli.demo import text
from vipnet.lab.demo import Demo
from vipnet.lab.figures import ByDirection, CaseFigures, PingFigures, RunDetail, TcpFigures, UdpFigures

VERIFY = Path(__file__).parents[2] / "bench" / "verify.py"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """One run, with everything left behind."""
    need_root()
    need_program("ip")
    directory = tmp_path_factory.mktemp("demo") / "keep"
    done = run([*VIPNET, "demo", "--json", "--runs", "1", "--keep", str(directory)], timeout_s=90)
    report: dict[str, Any] = json.loads(done.stdout)
    return directory, report


def test_connections_go_on(kept: tuple[Path, dict[str, Any]]) -> None:
    _, report = kept
    hold(report, "demo")
    for case in ("one_sided", "two_sided"):
        assert report[case]["tcp"]["alive"]
        assert report[case]["udp"]["sent"] > 1000
        assert report[case]["ping"]["sent"] > 50
        assert report[case]["udp"]["lost"] < report[case]["udp"]["sent"] / 2
        assert report[case]["udp"]["switch_ms"] == max(report[case]["udp"]["by_direction"].values())
    assert not any(detail["errors"] for detail in report["runs_detail"])


def test_a_move_takes_longer_than_the_change_of_address_alone(kept: tuple[Path, dict[str, Any]]) -> None:
    """A floor that were not below would not be one; 2 ms for messages that miss each other."""
    _, report = kept
    for case in ("one_sided", "two_sided"):
        assert report[case]["floor_ms"] > 0
        assert report[case]["udp"]["switch_ms"] > report[case]["floor_ms"] - 2


def test_the_packets_say_the_same(kept: tuple[Path, dict[str, Any]]) -> None:
    directory, _ = kept
    done = subprocess.run([sys.executable, VERIFY, directory], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stdout


def test_events_are_kept_beside_the_packets(kept: tuple[Path, dict[str, Any]]) -> None:
    directory, report = kept
    assert json.loads((directory / "demo.json").read_bytes()) == report
    events = json.loads((directory / "events.json").read_bytes())
    assert {Path(one["file"]).name for one in events["captured"]} == {
        "lan1.pcap", "lan2.pcap", "a-tun0.pcap", "b-tun0.pcap",
    }  # fmt: skip
    assert all(one["dropped"] == 0 for one in events["captured"])
    assert events["daemon_moves"]["a"]
    hold({"moves": events["daemon_moves"]["a"]}, "moves")
    assert '"update"' in (directory / "zone.log").read_text()


def test_what_is_there_is_not_overwritten(kept: tuple[Path, dict[str, Any]]) -> None:
    directory, _ = kept
    done = run([*VIPNET, "demo", "--keep", str(directory)], check=False)
    assert done.returncode == 2
    assert "not empty" in done.stderr


def demo(*, alive: bool) -> Demo:
    switch = 17.25 if alive else None
    directions = ByDirection(switch, switch)
    case = CaseFigures(
        12.5,
        UdpFigures(switch, 1_234, 0, 5_678, directions),
        TcpFigures(switch, alive, directions),
        PingFigures(switch, 3, 1, 60),
    )
    errors = () if alive else ("TCP_A_B: timed out",)
    return Demo("0.1.0", "default", 1, 12.5, case, case, (RunDetail(1, "two_sided", case, (), errors),))


def test_the_report_for_people() -> None:
    lines = text(demo(alive=True)).splitlines()
    assert all(len(line) <= 80 for line in lines)
    (udp, _) = (line.split() for line in lines if " UDP " in line)
    assert udp[:2] == ["a", "moves"]
    assert "17 ms" in " ".join(udp)
    assert "1,234 of 5,678" in " ".join(udp)
    assert "Every connection went on." in lines


def test_the_report_of_a_death() -> None:
    lines = text(demo(alive=False)).splitlines()
    assert "A connection broke." in lines
    assert "  run 1, two-sided: TCP_A_B: timed out" in lines
    assert not demo(alive=False).alive
