"""Figures 2a, 2b, 3 and 4 of the paper, and what else its section 4 claims, measured on this machine.

    bench/figures.py [--runs 10] [--jobs 4] [--only PART ...] [--quick] [--kernel 2001] [--out DIR]
    bench/figures.py --resume --out DIR        what an interrupted run has left out
    bench/figures.py --report --out DIR        the report anew
    bench/figures.py --compare DIR DIR         how often the intervals of two runs overlap

In the lab, with BIND, by tcpdump on the receiving host. Writes into DIR: report.md, report.html,
figures.json (every run), and each figure as CSV, SVG and PNG. An interrupted run leaves what it has.
What `./run bench peers` and `applications` have written (--peers FILE, --applications FILE; else in
bench/results) stands in the report as well. Exit status 1 when something could not be measured.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final, get_args

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a program, too, this is a part of `bench`

from bench.environment import environment
from bench.paper.aside import ASIDES
from bench.paper.beside import read_beside
from bench.paper.campaign import Campaign
from bench.paper.cells import PARTS, Kernel, Part, plan
from bench.paper.document import Document, Settings, agreement, read
from bench.paper.report import write_report

from vipnet.lab import lifecycle

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "bench/results"
RUNS: Final = 10
JOBS: Final = 4
QUICK_PARTS: Final[tuple[Part, ...]] = ("2a", "2b", "3", "4")
QUICK_JOBS: Final = 2
AGREEMENT: Final = 0.9  # of the cells whose intervals have to overlap

DOCUMENT: Final = "figures.json"


def main(arguments: Iterable[str] | None = None) -> int:
    options = _options(arguments)
    if options.compare:
        return _compare(*options.compare)
    out: Path = options.out
    try:
        beside = read_beside(options.peers, options.applications)
        document = _begun(out) if options.resume or options.report else _planned(options)
    except (OSError, msgspec.DecodeError) as error:
        print(f"figures: {error}", file=sys.stderr)
        return 2
    if not options.report and document.environment.commit != (here := environment().commit):
        print(
            f"figures: {out} was measured with {document.environment.commit}, this is {here}", file=sys.stderr
        )
        return 2
    out.mkdir(parents=True, exist_ok=True)
    status = 130
    try:
        status = 0 if options.report else _measure(document, out, options.jobs)
    except KeyboardInterrupt:
        print(
            "figures: interrupted; the report has what there is, --resume measures the rest", file=sys.stderr
        )
    finally:
        document.sum_up()
        document.write(out / DOCUMENT)
        write_report(document, out, beside)
    print(f"{out / 'report.html'}\n{out / 'report.md'}")
    return status


def _measure(document: Document, out: Path, jobs: int | None) -> int:
    """What DOCUMENT does not have yet; 1 when something could not be measured."""
    quick = document.settings.quick
    document.failed.clear()
    with lifecycle.interrupts_raise():
        Campaign(document, out / DOCUMENT, jobs or (QUICK_JOBS if quick else JOBS)).run()
    document.settings = msgspec.structs.replace(document.settings, complete=not document.failed)
    return 1 if document.failed else 0


def _begun(out: Path) -> Document:
    """What is in OUT. Raise OSError, msgspec.DecodeError."""
    return read(out / DOCUMENT)


def _planned(options: argparse.Namespace) -> Document:
    parts = options.only or (QUICK_PARTS if options.quick else PARTS)
    kernel: Kernel = options.kernel
    cells = plan([part for part in parts if part in PARTS], quick=options.quick, kernel=kernel)
    settings = Settings(
        runs=options.runs or (1 if options.quick else RUNS),
        parts=tuple(parts),
        asides=tuple(name for name in ASIDES if name in parts or not (options.only or options.quick)),
        quick=options.quick,
        kernel=kernel,
        complete=False,
    )
    return Document(environment=environment(), settings=settings, cells=tuple(cells))


def _options(arguments: Iterable[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The paper's Figures 2a, 2b, 3 and 4, on this machine.")
    parser.add_argument("--runs", type=int, help=f"moves of each cell ({RUNS}; 1 with --quick)")
    parser.add_argument(
        "--only", nargs="+", choices=[*PARTS, *ASIDES], metavar="PART", help=", ".join([*PARTS, *ASIDES])
    )
    parser.add_argument("--quick", action="store_true", help="less than a minute: a look, no measurement")
    parser.add_argument("--jobs", type=int, help=f"labs side by side where mostly DNS is waited for ({JOBS})")
    parser.add_argument(
        "--kernel",
        choices=get_args(Kernel),
        default="today",
        help="2001: a TCP without RACK and tail loss probes",
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "figures", metavar="DIR", help="where all goes (figures/)"
    )
    parser.add_argument("--resume", action="store_true", help="measure what is missing in DIR")
    parser.add_argument("--report", action="store_true", help="measure nothing: the report of DIR anew")
    for name in ("peers", "applications"):
        default = RESULTS / f"{name}.json"
        parser.add_argument(
            f"--{name}",
            type=Path,
            default=default if default.exists() else None,
            metavar="FILE",
            help=f"what `./run bench {name} --json FILE` wrote, for the report ({default.relative_to(ROOT)})",
        )
    parser.add_argument(
        "--compare", nargs=2, type=Path, metavar="DIR", help="how often the intervals of two runs overlap"
    )
    options = parser.parse_args(None if arguments is None else list(arguments))
    for option in ("runs", "jobs"):
        if (number := getattr(options, option)) is not None and number < 1:
            parser.error(f"--{option}: at least 1")
    return options


def _compare(one: Path, other: Path) -> int:
    agreed, apart = agreement(read(one / DOCUMENT), read(other / DOCUMENT))
    of = agreed + len(apart)
    print("\n".join([*apart, f"the intervals of {agreed} of {of} cells overlap"]))
    return 0 if of and agreed >= AGREEMENT * of else 1


if __name__ == "__main__":
    sys.exit(main())
