"""The same moves with vipnet and with other overlays, in one run.

    bench/peers.py [--runs 5] [--only VARIANT ...] [--cases CASE ...] [--json FILE] [--plot FILE] [--quick]

Every overlay is measured as it is shipped, and again with the shortest timers that its settings
allow. A turn is one move of one of them in the lab (BIND, two LANs, real daemons), freshly started:
traffic flows, and after a random time a, or b, or both change LAN. The time is uniform over
the overlay's slowest timer that bears on a move, or whoever is asked right after it has gone
off would look quick. A turn ends when every stream flows again, or after --cap seconds. The order of all
turns of a run is random, so that the variants take turns; several labs work side by side (--lanes),
for most of a turn is waiting. For overlays that look names up, DNS is told of a move at once, as a
DHCP client's hook would. What is not installed is left out by name. Interrupted, it tells what it has.

The document that --json writes:

    schema       1
    environment  machine, kernel, versions, commit (bench/environment.py)
    runs, lanes, seed, cap_s, warm_up_s (null: each its own timer)
    left_out     {variant: [what is not installed]}
    failed       ["run 1 tinc udp-two-sided: why it was not measured"]
    cases        {case: what it is, in words}
    variants     {variant: {"version", "timer_s", "timer"}}
    cells        one for each variant and case that was measured:
        variant, case
        recovered       of runs: every stream went on, TCP in order and unbroken, within cap_s
        switch_ms       the longest silence at a receiver around the move, less the sending interval,
                        of the slowest stream; a run without recovery is infinitely long
        lost            datagrams that were sent, or that the kernel would not take, and never came,
                        up to the end of the turn; of TCP, messages
        floor_ms        switch_ms of bare UDP from each mover to the router, in the same moves: what
                        the change of address alone costs
        over_floor_ms   switch_ms less the floor of the same move: what the overlay adds
                        (all four: bench/stats.py's Summary; `never` counts the runs without recovery)
        vipnet_is       null for vipnet; by over_floor_ms "level" where the intervals of the two
                        overlap, else "ahead" or "behind"
    turns        every single one: run, lane, warm_up_s, moves, errors and the same figures

UDP: 64 bytes every millisecond. TCP: a write of 1,000 bytes every 5 ms. Exit status 1 when
something could not be measured, or vipnet is behind.
"""

from __future__ import annotations

import queue
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Literal

import click
import msgspec
from msgspec import Struct

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.environment import Environment, environment
from bench.movingbed import empty_lab
from bench.stats import Summary, shown, summarise
from bench.turns import CASES, VARIANTS, Key, Limits, Turn, take

from vipnet.cli.render import table
from vipnet.lab import lifecycle
from vipnet.lab.layout import Layout

US: Final = "vipnet"
RUNS: Final = 5
LANES: Final = 2  # with more, the machine itself becomes a cause of what is measured
QUICK: Final = Limits(cap_s=15, warm_up_s=3)
QUICK_CASES: Final = ("udp-mover-receives", "udp-two-sided", "tcp-two-sided")


Rank = Literal["ahead", "level", "behind"]


class About(Struct, frozen=True):
    version: str
    timer_s: float
    timer: str


class Cell(Struct, frozen=True):
    variant: str
    case: str
    recovered: int
    switch_ms: Summary
    lost: Summary
    floor_ms: Summary
    over_floor_ms: Summary
    vipnet_is: Rank | None


class Document(Struct, frozen=True, kw_only=True):
    """What --json writes."""

    schema: int = 1
    environment: Environment
    runs: int
    lanes: int
    seed: int
    cap_s: float
    warm_up_s: float | None
    left_out: dict[str, list[str]]
    failed: tuple[str, ...]
    cases: dict[str, str]
    variants: dict[str, About]
    cells: tuple[Cell, ...]
    turns: tuple[Turn, ...]

    @property
    def behind(self) -> bool:
        return any(cell.vipnet_is == "behind" for cell in self.cells)


# --- all turns


class Plan(Struct, frozen=True):
    variants: tuple[str, ...]
    cases: tuple[str, ...]
    runs: int
    lanes: int
    seed: int
    limits: Limits

    def keys(self) -> list[Key]:
        """Run after run; inside a run in an order of its own."""
        keys = []
        for run in range(1, self.runs + 1):
            one = [Key(run, case, variant) for case in self.cases for variant in self.variants]
            random.Random(self.seed + run).shuffle(one)
            keys += one
        return keys


class Measuring:
    """Turns as they are taken; what is there is kept, whatever happens."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._free: queue.SimpleQueue[tuple[int, Layout]] = queue.SimpleQueue()
        self._over = threading.Event()
        self.turns: list[Turn] = []
        self.failed: list[str] = []

    def run(self) -> None:
        keys = self._plan.keys()
        with ExitStack() as labs:
            lanes = min(self._plan.lanes, len(keys))
            if not lanes:
                return
            for lane in range(lanes):
                self._free.put((lane, labs.enter_context(empty_lab(lane))))
            with self._workers(lanes) as workers:
                began = time.monotonic()
                futures = {workers.submit(self._take, key): key for key in keys}
                for number, future in enumerate(as_completed(futures), 1):
                    self._note(futures[future], future)
                    left_s = (time.monotonic() - began) / number * (len(keys) - number)
                    tell(f"{number} of {len(keys)}, about {left_s / 60:.0f} min left")

    @contextmanager
    def _workers(self, lanes: int) -> Iterator[ThreadPoolExecutor]:
        workers = ThreadPoolExecutor(lanes)
        try:
            yield workers
        finally:  # what is still waiting, after an interrupt, ends when its lab goes
            self._over.set()
            workers.shutdown(wait=False, cancel_futures=True)

    def _take(self, key: Key) -> Turn:
        lane, layout = self._free.get()
        try:
            limits = self._plan.limits
            warm_up_s = key.warm_up_s(self._plan.seed, limits)
            return take(layout, lane, key, warm_up_s, limits.cap_s, self._over)
        finally:
            self._free.put((lane, layout))

    def _note(self, key: Key, future: Future[Turn]) -> None:
        where = f"run {key.run} {key.variant}, {key.case}"
        error = future.exception()
        if error is not None:
            self.failed.append(f"{where}: {error}")
            tell(self.failed[-1])
            return
        turn = future.result()
        self.turns.append(turn)
        tell(f"{where}: {shown(turn.switch_ms)} ms, {turn.lost} of {turn.sent} lost")


def measure(plan: Plan) -> Document:
    """Take all turns; after an interrupt only what there is till then."""
    left_out = {name: VARIANTS[name].overlay.missing() for name in plan.variants}
    left_out = {name: missing for name, missing in left_out.items() if missing}
    present = tuple(name for name in plan.variants if name not in left_out)
    where = environment()
    measuring = Measuring(msgspec.structs.replace(plan, variants=present))
    try:
        with lifecycle.interrupts_raise():
            measuring.run()
    except (KeyboardInterrupt, SystemExit):  # Ctrl-C, or `timeout`
        tell("interrupted")
    turns = sorted(measuring.turns, key=lambda turn: (turn.run, turn.case, turn.variant))
    versions = {turn.variant: turn.version for turn in turns}
    return Document(
        environment=where,
        runs=plan.runs,
        lanes=plan.lanes,
        seed=plan.seed,
        cap_s=plan.limits.cap_s,
        warm_up_s=plan.limits.warm_up_s,
        left_out=left_out,
        failed=tuple(measuring.failed),
        cases={case: CASES[case].title for case in plan.cases},
        variants={
            name: About(versions[name], VARIANTS[name].timer_s, VARIANTS[name].timer)
            for name in present
            if name in versions
        },
        cells=tuple(cells(turns)),
        turns=tuple(turns),
    )


def cells(turns: Sequence[Turn]) -> Iterator[Cell]:
    """Variants in the table's order, and cases in theirs."""
    grouped: dict[tuple[str, str], list[Turn]] = {}
    for turn in turns:
        grouped.setdefault((turn.variant, turn.case), []).append(turn)
    over = {where: summarise(turn.over_floor_ms for turn in group) for where, group in grouped.items()}
    for variant in VARIANTS:
        for case in CASES:
            if group := grouped.get((variant, case)):
                theirs, ours = over[variant, case], over.get((US, case))
                yield Cell(
                    variant,
                    case,
                    sum(turn.recovered for turn in group),
                    summarise(turn.switch_ms for turn in group),
                    summarise(turn.lost for turn in group),
                    summarise(turn.floor_ms for turn in group),
                    theirs,
                    None if variant == US or ours is None else rank(ours, theirs),
                )


def rank(ours: Summary, theirs: Summary) -> Rank:
    """Never is later than everything, but no later than never."""
    if ours.overlaps(theirs):
        return "level"
    return "ahead" if _later(theirs.median, ours.median) else "behind"


def _later(one: float | None, other: float | None) -> bool:
    return other is not None and (one is None or one > other)


# --- the program


def text(document: Document) -> str:
    where = document.environment
    lines = [
        f"vipnet {where.version} ({where.commit}), {document.runs} runs, at most {document.cap_s:g} s each",
        f"Linux {where.kernel}, {where.cores} cores, load {where.load:.1f}",
    ]
    for case, title in document.cases.items():
        head = ("", "BACK", "SWITCH, ms", "OVER FLOOR, ms", "LOST", "VIPNET IS")
        found = [cell for cell in document.cells if cell.case == case]
        rows = [
            (
                cell.variant,
                f"{cell.recovered} of {cell.switch_ms.runs}",
                cell.switch_ms.text(),
                cell.over_floor_ms.text(),
                cell.lost.text(),
                cell.vipnet_is or "",
            )
            for cell in found
        ]
        lines += ["", title, *table(head, rows, widest=40)]
    lines += ["", *(f"left out: {name} ({', '.join(why)})" for name, why in document.left_out.items())]
    lines += [f"not measured: {line}" for line in document.failed]
    return "\n".join(lines).rstrip()


def tell(line: str) -> None:
    print(f"peers: {line}", file=sys.stderr, flush=True)


@click.command(help=__doc__)
@click.option("--runs", type=click.IntRange(1), default=None, help=f"Of each cell ({RUNS}; --quick: 1).")
@click.option("--only", "variants", multiple=True, type=click.Choice(list(VARIANTS)))
@click.option("--cases", "cases_", multiple=True, type=click.Choice(list(CASES)))
@click.option("--cap", "cap_s", type=click.FloatRange(1), default=None, help="Seconds (120; --quick: 15).")
@click.option("--lanes", type=click.IntRange(1), default=LANES, show_default=True)
@click.option("--seed", default=1, show_default=True, help="Of the moments and the order.")
@click.option("--json", "json_file", type=click.Path(path_type=Path))
@click.option("--plot", "plot_file", type=click.Path(path_type=Path), help="An SVG.")
@click.option("--quick", is_flag=True, help="Three cases, moments within 3 s: for a look, not for figures.")
def main(
    runs: int | None,
    variants: tuple[str, ...],
    cases_: tuple[str, ...],
    cap_s: float | None,
    lanes: int,
    seed: int,
    json_file: Path | None,
    plot_file: Path | None,
    quick: bool,
) -> None:
    limits = QUICK if quick else Limits()
    plan = Plan(
        variants or tuple(VARIANTS),
        cases_ or (QUICK_CASES if quick else tuple(CASES)),
        runs or (1 if quick else RUNS),
        lanes,
        seed,
        msgspec.structs.replace(limits, cap_s=cap_s) if cap_s else limits,
    )
    document = measure(plan)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    if plot_file is not None:
        from bench.plots import peers_plot  # matplotlib is slow to import

        peers_plot(msgspec.to_builtins(document), plot_file)
    print(text(document))
    sys.exit(0 if document.turns and not document.failed and not document.behind else 1)


if __name__ == "__main__":
    main()
