"""`vipnet init`: from nothing to something `vipnet up` can start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vipnet.cli.options import config_option

_EXAMPLE = """\b
Examples:
  vipnet init laptop.example.org
  vipnet init laptop.example.org --provider rfc2136 \\
      --server 192.0.2.53 --key-secret-file /etc/vipnet/tsig
"""


@click.command(epilog=_EXAMPLE)
@click.argument("name")
@click.option(
    "--provider",
    type=click.Choice(["none", "rfc2136"]),
    default="none",
    show_default=True,
    help="Who puts the address into DNS; none: you.",
)
@click.option("--server", help="rfc2136: the primary. Default: found by SOA.")
@click.option("--port", type=int, help="rfc2136: its port. Default: 53.")
@click.option("--zone", help="The zone of NAME. Default: found by SOA.")
@click.option("--key-name", help="rfc2136: name of the TSIG key. Default: NAME.")
@click.option("--key-algorithm", help="rfc2136: hmac-sha256 (default), -sha512, ...")
@click.option(
    "--key-secret-file",
    type=click.Path(path_type=Path, dir_okay=False, resolve_path=True),
    metavar="FILE",
    help="rfc2136: the TSIG secret, base64, mode 0600.",
)
@click.option("--ttl", type=int, help="Of the address records, seconds. Default: 5.")
@click.option("--yes", is_flag=True, help="Replace a configuration that says else.")
@click.option("--print-record", is_flag=True, help="Print the TXT record alone.")
@config_option
def init(config_path: Path, name: str, yes: bool, print_record: bool, **publish: Any) -> None:  # noqa: ANN401
    """Write this host's configuration and key.

    NAME is a full DNS name in a zone that you can change. The key is made once and
    never replaced; other hosts know this one by it.
    """
    from vipnet.app.init import initialise, record_line
    from vipnet.errors import ConfigError
    from vipnet.types import parse_name

    try:
        fqdn = parse_name(name)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    chosen = {key: value for key, value in publish.items() if value is not None}
    written = initialise(config_path, fqdn, chosen, replace=yes)
    record = record_line(written.config, written.public_key)
    if print_record:
        click.echo(record)
        return
    click.echo(f"wrote {config_path}" if written.new_config else f"{config_path} is as it was")
    click.echo(f"{'made' if written.new_key else 'kept'} the key {written.config.key_file}")
    if written.config.publish.provider == "none":
        click.echo(f"\nPut this host's address and this record into DNS:\n\n{record}")
    click.echo("\nNext: sudo vipnet up")
