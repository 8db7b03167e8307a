"""Applications that know nothing of vipnet, while a, or b, or both change network.

    bench/applications.py [--moves 4] [--only APPLICATION ...] [--json FILE] [--quick]

Each has the lab to itself (BIND, real daemons): it runs for a while at rest, and then through
moves of one kind, of which each has to be survived by the same processes on the same
connections. For comparison mosh and QUIC, which move by themselves, run outside vipnet too:
between the hosts' own addresses.

    ssh         OpenSSH; a line every 40 ms, answered by a shell
    rtp         ffmpeg's test picture, 25 frames a second, counted as they arrive
    voip        G.711, 50 packets a second each way
    rsync       1 GB (--quick: 50 MB), SHA-256 compared
    postgresql  psql with one transaction that is open all the time, a row after the other
    sshfs       files of 32 KB written and read back on a mounted directory
    mosh, quic  a line typed and answered; a message on one stream and its echo

The document that --json writes:

    schema       1
    environment  bench/environment.py
    moves, rsync_bytes
    left_out     ["mosh: the program mosh-server"]
    rows         one for each application, way and mover:
        application, way   "vipnet" or "bare"
        mover              "a", "b" or "both"
        survived           all moves, and nothing was missing, doubled or changed that must not be
        rest_ms            the longest time in which nothing came through, before the first move
        stall_ms           the same from the first move to the end; null when it did not survive
        said               what the application tells at its end, or why there was none

Exit status 1 when an application did not survive inside vipnet.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Literal

import click
import msgspec
import pytest
from msgspec import Struct

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.environment import Environment, environment
from bench.movingbed import go_home
from tests.lab.apps import beats
from tests.lab.apps.program import TimedApp
from tests.lab.apps.shells import SERVER, ssh
from tests.lab.apps.silence import longest_silence_ms
from tests.lab.apps.streams import call, video
from tests.lab.apps.transfer import transfer
from tests.lab.labs import Lab, wait_until

from vipnet.cli.render import table
from vipnet.lab import lifecycle
from vipnet.lab.layout import LabSpec, Layout

MOVES: Final = 4
REST_S: Final = 2.0
STEADY_S: Final = 1.5  # after each move
RSYNC_BYTES: Final = 1_000_000_000
QUICK_MOVES: Final = 1
QUICK_RSYNC_BYTES: Final = 50_000_000
BACK_S: Final = 20.0  # then it has not survived
SPARE_S: Final = 15.0  # that rsync takes longer than the moves do, when none of them costs anything
MOVERS: Final = ("a", "b", "both")
NAMES: Final = ("ssh", "rtp", "voip", "rsync", "postgresql", "sshfs", "mosh", "quic")

Way = Literal["vipnet", "bare"]


Start = Callable[[Lab, Path], AbstractContextManager[TimedApp]]


class Row(Struct, frozen=True, kw_only=True):
    application: str
    way: Way
    mover: str
    survived: bool
    rest_ms: float | None
    stall_ms: float | None
    said: str


class Document(Struct, frozen=True, kw_only=True):
    """What --json writes."""

    schema: int = 1
    environment: Environment
    moves: int
    rsync_bytes: int
    left_out: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def survived(self) -> bool:
        return all(row.survived for row in self.rows if row.way == "vipnet")


def applications(moves: int, rsync_bytes: int) -> dict[tuple[str, Way], Start]:
    def rsync(lab: Lab, directory: Path) -> AbstractContextManager[TimedApp]:
        return transfer(lab, directory, rsync_bytes, REST_S + SPARE_S + moves * STEADY_S * 2)

    return {
        ("ssh", "vipnet"): ssh,
        ("rtp", "vipnet"): video,
        ("voip", "vipnet"): call,
        ("rsync", "vipnet"): rsync,
        ("postgresql", "vipnet"): beats.database,
        ("sshfs", "vipnet"): beats.mount,
        ("mosh", "vipnet"): beats.mosh,
        ("quic", "vipnet"): beats.quic,
        ("mosh", "bare"): lambda lab, directory: beats.mosh(lab, directory, _bare(lab)),
        ("quic", "bare"): lambda lab, directory: beats.quic(lab, directory, _bare(lab)),
    }


def _bare(lab: Lab) -> str:
    address: str = lab.host("b")["address"]
    return address


# --- measuring


def measure(chosen: tuple[str, ...], moves: int, rsync_bytes: int) -> Document:
    """All rows; after an interrupt only those that there are till then."""
    where, rows, left_out = environment(), list[Row](), list[str]()
    try:
        with lifecycle.interrupts_raise(), _lab() as layout:
            for (name, way), start in applications(moves, rsync_bytes).items():
                if chosen and name not in chosen:
                    continue
                try:
                    for mover in MOVERS:
                        rows.append(through(layout, name, way, start, mover, moves))
                        tell("  ".join(filter(None, _cells(rows[-1]))))
                except pytest.skip.Exception as missing:  # what tests say about programs that are not here
                    left_out.append(f"{name}: {missing}")
                    tell(left_out[-1])
    except (KeyboardInterrupt, SystemExit):  # Ctrl-C, or `timeout`
        tell("interrupted")
    return Document(
        environment=where, moves=moves, rsync_bytes=rsync_bytes, left_out=tuple(left_out), rows=tuple(rows)
    )


@contextlib.contextmanager
def _lab() -> Iterator[Layout]:
    layout = lifecycle.up(LabSpec(name=f"apps-{os.getpid()}", dns="bind"))
    try:
        yield layout
    finally:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it
        lifecycle.down(layout.name)
        signal.signal(signal.SIGINT, before)


def through(layout: Layout, name: str, way: Way, start: Start, mover: str, moves: int) -> Row:
    """One application, from home, through MOVES of MOVER."""
    lab = Lab(layout.name)
    go_home(layout)
    wait_until(lambda: lab.can_ping("a", SERVER), "vipnet at home")
    rest_ms = stall_ms = None
    with tempfile.TemporaryDirectory(prefix="vipnet-apps-") as directory:
        try:
            with start(lab, Path(directory)) as app:
                began_ns = time.monotonic_ns()
                time.sleep(REST_S)
                first_ns = time.monotonic_ns()
                rest_ms = longest_silence_ms([at for at in app.heard_ns() if at >= began_ns])
                for _ in range(moves):
                    lab.move(mover)
                    _wait_until_it_goes_on(app)
                    time.sleep(STEADY_S)
                said = app.finish()
                stall_ms = longest_silence_ms(app.heard_ns(), first_ns)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            said = " ".join(str(error).split())
    return Row(
        application=name,
        way=way,
        mover=mover,
        survived=stall_ms is not None,
        rest_ms=rest_ms,
        stall_ms=stall_ms,
        said=said,
    )


def _wait_until_it_goes_on(app: TimedApp) -> None:
    goal = app.goal()
    wait_until(lambda: app.progress() >= goal, "anything that comes through after the move", within_s=BACK_S)


# --- the program


def text(document: Document) -> str:
    where = document.environment
    lines = [
        f"vipnet {where.version} ({where.commit}), {document.moves} moves each; longest stall, ms",
        f"Linux {where.kernel}, {where.cores} cores, load {where.load:.1f}",
        "",
    ]
    found = {(row.application, row.way, row.mover): row for row in document.rows}
    names = dict.fromkeys((row.application, row.way) for row in document.rows)
    cells = []
    for name, way in names:
        rows = [found.get((name, way, mover)) for mover in MOVERS]
        rest_ms = max((row.rest_ms for row in rows if row and row.rest_ms is not None), default=None)
        shown = "-" if rest_ms is None else f"{rest_ms:.0f}"
        cells.append((name if way == "vipnet" else f"{name}, without vipnet", shown, *map(_stall, rows)))
    lines += table(("", "AT REST", "A MOVES", "B MOVES", "BOTH MOVE"), cells)
    lines += [""] + [
        f"{row.application}, {row.way}, {row.mover}: {row.said}"
        for row in document.rows
        if not row.survived or row.mover == "both"
    ]
    return "\n".join([*lines, *(f"left out: {line}" for line in document.left_out)])


def _stall(row: Row | None) -> str:
    if row is None:
        return "-"
    return "did not survive" if row.stall_ms is None else f"{row.stall_ms:.0f}"


def _cells(row: Row) -> tuple[str, ...]:
    return row.application, row.way, row.mover, _stall(row), row.said


def tell(line: str) -> None:
    print(f"applications: {line}", file=sys.stderr, flush=True)


@click.command(help=__doc__)
@click.option("--moves", type=click.IntRange(1), default=None, help=f"Of each ({MOVES}; --quick: 1).")
@click.option("--only", "chosen", multiple=True, type=click.Choice(NAMES))
@click.option("--json", "json_file", type=click.Path(path_type=Path))
@click.option("--quick", is_flag=True, help="One move each, and 50 MB for rsync.")
def main(moves: int | None, chosen: tuple[str, ...], json_file: Path | None, quick: bool) -> None:
    document = measure(
        chosen,
        moves or (QUICK_MOVES if quick else MOVES),
        QUICK_RSYNC_BYTES if quick else RSYNC_BYTES,
    )
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    print(text(document))
    sys.exit(0 if document.rows and document.survived else 1)


if __name__ == "__main__":
    main()
