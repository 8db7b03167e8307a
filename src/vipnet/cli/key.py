"""`vipnet key`: the identity of this host."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import click

from vipnet.cli.options import config_option


@click.group(no_args_is_help=False)
def key() -> None:
    """This host's key: what its peers know it by."""


@key.command(epilog="Example: sudo vipnet key show")
@click.option("--record", is_flag=True, help="Print it as the TXT record for DNS.")
@config_option
def show(config_path: Path, record: bool) -> None:
    """Print the public key: 32 bytes in base64, as a peer's `key =` wants it."""
    from vipnet.app.config import load_config
    from vipnet.app.init import public_key, record_line

    config = load_config(config_path)
    public = public_key(config)
    click.echo(record_line(config, public) if record else b64encode(public).decode())
