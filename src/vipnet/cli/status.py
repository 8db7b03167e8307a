"""What is and what was: `status`, `peers`, `moves`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from vipnet.cli import render, screen
from vipnet.cli.options import config_option, json_option


@click.command(epilog="Example: vipnet status --watch")
@click.option("--watch", is_flag=True, help="Again every second, until Ctrl-C.")
@json_option
@config_option
def status(config_path: Path, as_json: bool, watch: bool) -> None:
    """Show how this host is, and who it speaks to.

    STATE is ready, starting, detached (no network), captive, clock (this host's
    time is wrong), cloned-key or stopping.
    """
    if watch and as_json:
        raise click.UsageError("--watch is for people, --json for programs: take one of them.")
    if watch:
        from vipnet.cli.watch import watch as watch_status

        watch_status(lambda: ask(config_path, "status"))
    reply = ask(config_path, "status")
    click.echo(json.dumps(reply) if as_json else screen.status(reply, screen.Room.of_terminal()))


@click.command(epilog="Example: vipnet peers")
@json_option
@config_option
def peers(config_path: Path, as_json: bool) -> None:
    """List the peers: token, trust, where they are, traffic."""
    reply = ask(config_path, "peers")
    click.echo(json.dumps(reply) if as_json else screen.peers(reply["peers"], screen.Room()))


@click.command(epilog="Example: vipnet moves")
@json_option
@config_option
def moves(config_path: Path, as_json: bool) -> None:
    """List this host's changes of address, the latest last.

    For each partner: when the hint left, when it was acknowledged, how long DNS
    took if it was asked, what was sent again, and how long nothing arrived.
    """
    reply = ask(config_path, "moves")
    click.echo(json.dumps(reply) if as_json else render.moves(reply["moves"]))


def ask(config_path: Path, op: str, **params: object) -> dict[str, Any]:
    """Ask the daemon of this configuration."""
    from vipnet.app.config import load_config
    from vipnet.app.control import ask_daemon

    return ask_daemon(load_config(config_path).run_dir, op, **params)
