"""The main job on one machine: `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from vipnet.cli import render
from vipnet.cli.options import json_option

if TYPE_CHECKING:
    from vipnet.lab.demo import Demo
    from vipnet.lab.figures import CaseFigures


@click.command(epilog="Example: sudo vipnet demo --runs 5 --keep /tmp/demo")
@json_option
@click.option("--runs", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--profile", type=click.Choice(["default", "paper"]), default="default", show_default=True)
@click.option("--dns", type=click.Choice(["embedded", "bind"]), default="embedded", show_default=True)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Leave packets (pcap), events and report there.",
)
def demo(
    as_json: bool,
    runs: int,
    profile: Literal["default", "paper"],
    dns: Literal["embedded", "bind"],
    keep: Path | None,
) -> int:
    """See connections survive moves, on this machine alone.

    Two hosts in namespaces talk by name over UDP, TCP and ping while one of them,
    then both, change to another network. Prints how long that interrupts them, beside
    what the change of address costs without vipnet. Exit status 1 when a connection
    broke.
    """
    from vipnet.lab import userns
    from vipnet.lab.demo import DemoSpec, run_demo

    userns.become_root()
    try:
        result = run_demo(DemoSpec(runs=runs, profile=profile, dns=dns, keep=keep), _tell)
    finally:
        userns.leave()
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(result).decode())
    else:
        click.echo(text(result))
        if keep is not None:
            click.echo(f"\nPackets and events are in {keep}.")
    return 0 if result.alive else 1


def _tell(line: str) -> None:
    click.echo(f"vipnet demo: {line}", err=True)


def text(result: Demo) -> str:
    """The report for people."""
    runs = "1 run" if result.runs == 1 else f"{result.runs} runs, medians of times and sums of counts"
    lines = [f"vipnet {result.version}, profile {result.profile}, {runs}", ""]
    rows = [
        *_rows("a moves", result.one_sided),
        *_rows("a and b move at once", result.two_sided),
    ]
    lines += render.table(("", "", "SWITCH", "FLOOR", "LOST", "DUPLICATED"), rows)
    lines += [
        "",
        "switch: the longest silence at the receiver; floor: the same of a bare UDP",
        "stream outside vipnet, whose receiver takes any address.",
        "",
        "Every connection went on." if result.alive else "A connection broke.",
    ]
    lines += [
        f"  run {detail.run}, {detail.case.replace('_', '-')}: {error}"
        for detail in result.runs_detail
        for error in detail.errors
    ]
    return "\n".join(lines)


def _rows(title: str, case: CaseFigures) -> list[tuple[str, ...]]:
    floor = render.ms(case.floor_ms)
    udp, tcp, ping = case.udp, case.tcp, case.ping
    return [
        (title, "UDP", render.ms(udp.switch_ms), floor, f"{udp.lost:,} of {udp.sent:,}", str(udp.duplicated)),
        ("", "TCP", render.ms(tcp.switch_ms), floor, *(("none", "0") if tcp.alive else ("broke", "-"))),
        (
            "",
            "ping",
            render.ms(ping.switch_ms),
            floor,
            f"{ping.lost:,} of {ping.sent:,}",
            str(ping.duplicated),
        ),
    ]
