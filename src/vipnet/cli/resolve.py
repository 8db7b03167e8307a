"""One peer: `resolve`, `ping`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from vipnet.cli import render
from vipnet.cli.options import config_option, json_option
from vipnet.cli.status import ask

_PING_EVERY_S = 1.0


@click.command(epilog="Example: vipnet resolve b.example.org")
@click.argument("name", metavar="NAME|TOKEN")
@json_option
@config_option
@click.pass_context
def resolve(ctx: click.Context, config_path: Path, name: str, as_json: bool) -> None:
    """Show what NAME leads to, step by step, or whose TOKEN it is.

    The last line is the address alone: what applications get.
    """
    reply = ask(config_path, "resolve", name=name)
    click.echo(json.dumps(reply) if as_json else render.resolve(reply))
    if reply["kind"] == "failed":
        ctx.exit(1)


@click.command(epilog="Example: vipnet ping b.example.org")
@click.argument("name")
@click.option(
    "--count", default=1, show_default=True, type=click.IntRange(1, 1000), help="How often, 1 s apart."
)
@config_option
@click.pass_context
def ping(ctx: click.Context, config_path: Path, name: str, count: int) -> None:
    """Ask NAME's daemon whether it is there: DNS, handshake, token, path.

    The round trip is that of the real path. Exit status 1 when nothing came back.
    """
    replies: list[dict[str, Any]] = []
    for number in range(count):
        if number:
            time.sleep(_PING_EVERY_S)
        replies.append(ask(config_path, "ping", name=name))
        if not number:
            click.echo(render.ping_path(replies[0]))
        click.echo(render.ping_answer(number + 1, replies[-1]))
    if count > 1:
        click.echo(render.ping_summary(replies))
    if all(reply["rtt_ms"] is None for reply in replies):
        ctx.exit(1)
