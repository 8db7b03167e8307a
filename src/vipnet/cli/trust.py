"""`vipnet trust`: whose key is known, and how sure that is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
    """List the peers, how their keys became known, and the keys' fingerprints.

    From weak to strong: callback (it answered where DNS says it is), tofu (kept on first
    use), dns (from its record), dnssec (the same, validated), pinned (given by hand).
    """
    reply = ask(config_path, "trust_list")
    if as_json:
        click.echo(json.dumps(reply))
        return
    for peer in reply["peers"]:
        _show(peer)
    if not reply["peers"]:
        click.echo("No peers yet.")


@trust.command(epilog="Example: sudo vipnet trust add b.example.org mJ5d...=")
@click.argument("name")
@click.argument("key", required=False)
@click.option("--address", metavar="HOST[:PORT]", help="Where to try besides what DNS says.")
@config_option
def add(config_path: Path, name: str, key: str | None, address: str | None) -> None:
    """Trust KEY to be NAME's, as if it stood in the configuration.

    `vipnet key show` prints it there. Without KEY the peer is asked for it now, and what
    it shows is kept (tofu): compare the fingerprints. It has to have `[accept] xx = true`.
    """
    given = {} if key is None else {"key": key}
    _show(ask(config_path, "trust_add", name=name, address=address, **given))


@trust.command(epilog="Example: sudo vipnet trust remove b.example.org")
@click.argument("name")
@config_option
def remove(config_path: Path, name: str) -> None:
    """Forget NAME: its key, its token, its sessions.

    DNS decides again whether it is a vipnet host, and with which key. Connections to
    its token end.
    """
    click.echo(f"{ask(config_path, 'trust_remove', name=name)['removed']} is forgotten")


@trust.command("accept-new-key", epilog="Example: sudo vipnet trust accept-new-key b.example.org")
@click.argument("name")
@click.argument("key", required=False)
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
def accept_new_key(config_path: Path, name: str, key: str | None, yes: bool) -> None:
    """Trust NAME's new key: KEY, or the one that it showed last and that was refused.

    Compare fingerprints first: `vipnet key show` prints it there.
    """
    if key is None:
        peer = ask(config_path, "trust_accept", name=name)
        key = str(peer["offered"]["key"])
        click.echo(f"known    {peer['fingerprint']}\noffered  {peer['offered']['fingerprint']}")
        if not yes:
            click.confirm(f"Does `vipnet key show` on {peer['name']} print the second one?", abort=True)
    _show(ask(config_path, "trust_accept", name=name, key=key))


def _show(peer: dict[str, Any]) -> None:
    click.echo(f"{peer['name']}  {peer['trust']}  {peer['fingerprint']}")
    if peer["offered"] is not None:
        click.echo(f"    another key was offered, and refused: {peer['offered']['fingerprint']}")
        click.echo(f"    if it is right: vipnet trust accept-new-key {peer['name']}")
    if not peer["told"]:
        click.echo("    knows this host by an earlier key, and will be told the present one")
