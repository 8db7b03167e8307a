"""Moves of all kinds in a row, on a network that loses: nothing breaks, and nobody else loses anything."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import pytest
from msgspec import Struct
from tests.lab.apps.numbered import judge, numbers
from tests.lab.apps.shells import ssh
from tests.lab.apps.survival import same_sockets
from tests.lab.conftest import LabFactory
from tests.lab.labs import Lab, wait_until
from tests.support import need_program

from vipnet.lab.impairment import Drop

RTT_MS, LOSS_PERCENT = 40, 5
PAUSE_S: Final = (0.1, 0.6)  # after traffic goes on again
HURRY: Final = 0.25  # so many moves do not wait for that ...
_SILENT: Final = ("nat", "unnat", "blackhole")  # ... but for these: nobody can replay what is older than 2 s

Figure = Callable[[str], None]


class Step(Struct, frozen=True):
    """One of the moves: who, and the options of `lab move`.

    kind  also `unnat`, the NAT goes away, and `mend`, the black hole does
    """

    host: str
    kind: str
    down_ms: int | None = None

    def __str__(self) -> str:
        return f"{self.host} {self.kind}" + (f" --down {self.down_ms}" if self.down_ms is not None else "")


def storm(seed: int, count: int) -> Iterator[Step]:
    """COUNT possible moves.

    Only a is ever behind a NAT: two who are could not find each other. A LAN becomes a black
    hole only for a host that has another.
    """
    rng = random.Random(seed)
    behind_nat, two_lans, hole = False, {"a": False, "b": False}, {"a": False, "b": False}
    for _ in range(count):
        host = rng.choice(("a", "b", "a", "b", "both"))
        if host == "both" and any(two_lans.values()):
            host = "a"
        if host == "both":
            kinds = ["switch", "readdress"]
        elif hole[host]:
            kinds = ["mend"]
        elif two_lans[host]:
            kinds = ["remove", "blackhole", "readdress"]
        else:
            kinds = ["switch", "readdress", "add"]
        if host == "a":
            kinds += ["unnat", "nat"] if behind_nat else ["nat"]
        kind = rng.choice(kinds)
        if kind in ("add", "remove"):
            two_lans[host] = kind == "add"
        elif kind in ("nat", "unnat"):
            behind_nat = kind == "nat"
        elif kind in ("blackhole", "mend"):
            hole[host] = kind == "blackhole"
        is_away = kind in ("switch", "readdress") and rng.random() < 0.4
        yield Step(host, kind, rng.randrange(700) if is_away else None)


def carry_out(lab: Lab, step: Step) -> None:
    if step.kind == "unnat":
        lab.on("a", "nft", "delete", "table", "ip", "vipnet_nat")
        return
    kind = "blackhole" if step.kind == "mend" else step.kind
    lab.move(step.host, "--kind", kind, *(() if step.down_ms is None else ("--down", str(step.down_ms))))


@pytest.mark.parametrize(
    ("seed", "count"),
    [pytest.param(1, 5, id="breeze"), pytest.param(2, 200, id="storm", marks=pytest.mark.long)],
)
def test_nothing_breaks_and_only_the_network_loses(
    new_lab: LabFactory, tmp_path: Path, figure: Figure, seed: int, count: int
) -> None:
    need_program("nft")
    lab = new_lab("--rtt", str(RTT_MS), "--loss", str(LOSS_PERCENT), "--seed", str(seed))
    rng = random.Random(seed)
    done: list[tuple[int, Step]] = []
    try:
        with ExitStack() as running:
            shell = running.enter_context(ssh(lab, tmp_path))
            flows = running.enter_context(numbers(lab, tmp_path))
            with same_sockets([shell, flows]):
                for step in storm(seed, count):
                    carry_out(lab, step)
                    done.append((time.monotonic_ns(), step))
                    if step.kind in _SILENT or rng.random() >= HURRY:
                        goal = flows.goal()
                        wait_until(partial(flows.has_reached, goal), f"{step}: traffic goes on to {goal}")
                        time.sleep(rng.uniform(*PAUSE_S))
                goal, answers = flows.goal(), shell.goal()
                wait_until(partial(flows.has_reached, goal), "traffic goes on at the end")
                wait_until(lambda: shell.progress() >= answers, "the shell answers at the end")
            reports = flows.end()
            figure(f"ssh: {shell.finish()}")
        drops = read_drops(lab)
        for host, other in (("a", "b"), ("b", "a")):
            verdict = judge(reports[host].sent_ns, reports[other].received, host, drops)
            figure(f"{host} to {other}: {verdict}")
            assert verdict.sent > verdict.lost
            assert verdict.logged > 0
            # Losses that no single loss in the log stands for: where to look when the sum is wrong.
            where = [around(at_ns, done) for at_ns in verdict.unexplained]
            assert verdict.duplicated == 0, verdict
            assert verdict.lost <= verdict.logged, f"{verdict}: {where}"
    except BaseException:
        print(f"seed {seed}:", *(f"{at_ns / 1e9:.3f} {step}" for at_ns, step in done), sep="\n")
        raise


def read_drops(lab: Lab) -> list[Drop]:
    lines = Path(lab.status()["link"]["log"]).read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Drop) for line in lines]


def around(at_ns: int, done: list[tuple[int, Step]]) -> str:
    """Where in the row of moves something was sent."""
    place = sum(moved_ns <= at_ns for moved_ns, _ in done)
    after = f", {(at_ns - done[place - 1][0]) / 1e6:.0f} ms after {done[place - 1][1]}" if place else ""
    before = (
        f", {(done[place][0] - at_ns) / 1e6:.0f} ms before the end of {done[place][1]}"
        if place < len(done)
        else ""
    )
    return f"{at_ns / 1e9:.3f} (move {place}{after}{before})"
