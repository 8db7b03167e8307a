"""`vipnet trust`: whose key is known, and how sure that is."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vipnet.cli.options import config_option, json_option
from vipnet.cli.status import ask


@click.group(no_args_is_help=False)
def trust() -> None:
    """The peers whose keys this host has stored."""


@trust.command("list", epilog="Example: sudo vipnet trust list")
@json_option
@config_option
def list_(config_path: Path, as_json: bool) -> None:
    """List the peers, how their keys became known, and the keys.

    From weak to strong: tofu (kept on first use), dns (from its record), pinned
    (written in the configuration by hand).
    """
    reply = ask(config_path, "trust_list")
    if as_json:
        click.echo(json.dumps(reply))
        return
    for peer in reply["peers"]:
        click.echo(f"{peer['name']}  {peer['trust']}  {peer['key']}")
    if not reply["peers"]:
        click.echo("No peers yet.")


@trust.command(epilog="Example: sudo vipnet trust remove b.example.org")
@click.argument("name")
@config_option
def remove(config_path: Path, name: str) -> None:
    """Forget NAME: its key, its token, its sessions.

    DNS decides again whether it is a vipnet host, and with which key. Connections to
    its token end.
    """
    click.echo(f"{ask(config_path, 'trust_remove', name=name)['removed']} is forgotten")
