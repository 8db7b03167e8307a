"""A slow and lossy lab, without vipnet: what it does to bare packets, and what it writes down."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.lab.labs import Lab, run
from tests.lab.wires import inside, wires
from tests.support import need_program

from vipnet.errors import ConfigError
from vipnet.lab import links, processes
from vipnet.lab.impairment import Drop
from vipnet.lab.layout import LabSpec, Lan, Layout, plan
from vipnet.lab.moves import Kind, carry_out, plan_move
from vipnet.lab.topology import nics

RTT_MS = 30
_PING = re.compile(
    r"(\d+) packets transmitted, (\d+) received.*\nrtt min/avg/max/mdev = ([\d.]+)/", re.DOTALL
)


@pytest.fixture(scope="module")
def layout() -> Iterator[Layout]:
    need_program("ping")
    with wires(ipv6=True, rtt_ms=RTT_MS, loss=10, seed=3) as built:
        yield built


def drops(layout: Layout) -> list[Drop]:
    status = links.status(layout)
    assert status is not None
    return [msgspec.json.decode(line, type=Drop) for line in Path(status.log).read_bytes().splitlines()]


def ping(layout: Layout, address: str, count: int) -> str:
    """It ends half a second after the last answer is due: nothing is under way any more."""
    options = ("-q", "-c", str(count), "-i", "0.01", "-W", "0.5")
    return inside(layout, "a", "ping", *options, address, check=False)


def move(layout: Layout, label: str, kind: Kind = "switch") -> None:
    carry_out([plan_move(layout, label, kind)])


@pytest.mark.parametrize(
    ("lan", "address"),
    [(2, "10.201.2.20"), (2, "fd00:201:2::20"), (1, "10.201.1.20"), (1, "fd00:201:1::20")],
)
def test_whatever_does_not_arrive_is_written_down(layout: Layout, lan: Lan, address: str) -> None:
    """From a on LAN 1, through the router and on the same LAN."""
    b = layout.host("b")
    if not nics(layout, b)[lan - 1].up:
        move(layout, "b")
    before = len(drops(layout))
    said = ping(layout, address, 100)
    counts = _PING.search(said)
    assert counts is not None, said
    lost = int(counts[1]) - int(counts[2])
    logged = [drop for drop in drops(layout)[before:] if address in (drop.source, drop.destination)]
    assert lost == len(logged) > 0, (said, logged)
    assert {(drop.cause, drop.protocol) for drop in logged} == {("loss", 58 if ":" in address else 1)}
    assert all(drop.host == ("b" if drop.source == address else "a") for drop in logged)
    assert float(counts[3]) >= RTT_MS, "there and back"


def test_a_black_hole_swallows_all(layout: Layout) -> None:
    assert " 0 received" not in ping(layout, "10.201.1.1", 10)
    move(layout, "a", "blackhole")
    assert " 0 received" in ping(layout, "10.201.1.1", 10)
    move(layout, "a", "blackhole")
    assert " 0 received" not in ping(layout, "10.201.1.1", 10)


def test_the_forwarder_is_found_again_and_stopped() -> None:
    with wires(rtt_ms=1) as layout:
        settings = (str(layout.link_directory / "settings.json"),)
        assert len(processes.with_arguments(settings)) == 1
        links.stop(layout.directory)
        assert processes.with_arguments(settings) == []
        links.stop(layout.directory)


def test_sound_wires_need_nobody(tmp_path: Path) -> None:
    layout = plan(LabSpec(), tmp_path)
    links.start(layout)
    assert links.status(layout) is None
    assert not layout.link_directory.exists()


@pytest.mark.parametrize("wrong", [{"rtt_ms": -1}, {"rtt_ms": 1e6}, {"loss": 100.5}, {"loss": -1}])
def test_an_impossible_network_is_refused(wrong: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--(rtt|loss) .*from 0 to"):
        plan(LabSpec(**wrong), tmp_path)  # type: ignore[arg-type]


def test_and_by_the_command_in_one_line() -> None:
    done = run(Lab("t-impossible").command("up", "--rtt", "1e6"), check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--rtt" in done.stderr
