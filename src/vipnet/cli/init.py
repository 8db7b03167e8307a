"""`vipnet init`: from nothing to something `vipnet up` can start."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any, Final

import click

from vipnet.cli.options import config_option

_EXAMPLE = """\b
Examples:
  vipnet init laptop.example.org
  vipnet init laptop.example.org --provider rfc2136 \\
      --server 192.0.2.53 --key-secret-file /etc/vipnet/tsig
  vipnet init van.ddns.net --provider dyndns2 --service no-ip
"""
# As in vipnet.app.publishconfig, which a test compares: importing it takes too long for --help.
PROVIDERS: Final = ("none", "rfc2136", "dyndns2", "duckdns", "cloudflare", "desec", "hetzner", "hook")
SERVICES: Final = ("no-ip", "dynu", "dy.fi", "dyn", "nsupdate.info")
_WITH_SECRET: Final = {"dyndns2": "Password", "duckdns": "Token"} | dict.fromkeys(
    ("cloudflare", "desec", "hetzner"), "API token"
)
_FILE = click.Path(path_type=Path, dir_okay=False, resolve_path=True)


@click.command(epilog=_EXAMPLE)
@click.argument("name")
@click.option(
    "--provider",
    type=click.Choice(PROVIDERS),
    default="none",
    show_default=True,
    help="Who puts the address into DNS; none: you; hook: a program of yours.",
)
@click.option("--server", help="rfc2136: the primary. Default: found by SOA.")
@click.option("--port", type=int, help="rfc2136: its port. Default: 53.")
@click.option("--zone", help="The zone of NAME. Default: found.")
@click.option("--key-name", help="rfc2136: name of the TSIG key. Default: NAME.")
@click.option("--key-algorithm", help="rfc2136: hmac-sha256 (default), -sha512, ...")
@click.option(
    "--key-secret-file", type=_FILE, metavar="FILE", help="rfc2136: the TSIG secret, base64, mode 0600."
)
@click.option("--service", type=click.Choice(SERVICES), help="dyndns2: whose.")
@click.option("--user", help="dyndns2: user name there.")
@click.option(
    "--secret-file",
    metavar="FILE",
    help="The password or token alone, mode 0600, or $CREDENTIALS_DIRECTORY/NAME. Default: you are asked.",
)
@click.option("--url", help="Another address of the provider's interface.")
@click.option("--command", help="hook: the program and its arguments, quoted as one.")
@click.option("--ttl", type=int, help="Of the address records, seconds. Default: 5.")
@click.option("--yes", is_flag=True, help="Replace a configuration that says else.")
@click.option("--print-record", is_flag=True, help="Print the TXT record alone.")
@config_option
def init(config_path: Path, name: str, yes: bool, print_record: bool, **publish: Any) -> None:  # noqa: ANN401
    """Write this host's configuration and key.

    NAME is a full DNS name in a zone that you can change. The key is made once and
    never replaced; other hosts know this one by it. What the provider needs and no
    option says is asked for on a terminal; a password or token has no option, because
    others on the machine can read those: it is asked for, or in a file.
    """
    from vipnet.app.init import initialise, record_line, write_secret
    from vipnet.errors import ConfigError
    from vipnet.types import parse_name

    try:
        fqdn = parse_name(name)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    chosen = {key: value for key, value in publish.items() if value is not None}
    if "command" in chosen:
        chosen["command"] = _split(chosen["command"])
    secret = _ask(chosen, config_path) if sys.stdin.isatty() else None
    if chosen.get("secret_file"):
        chosen["secret_file"] = _absolute(chosen["secret_file"])
    written = initialise(config_path, fqdn, chosen, replace=yes)
    if secret is not None:
        write_secret(Path(chosen["secret_file"]), secret)
    record = record_line(written.config, written.public_key)
    if print_record:
        click.echo(record)
        return
    click.echo(f"wrote {config_path}" if written.new_config else f"{config_path} is as it was")
    click.echo(f"{'made' if written.new_key else 'kept'} the key {written.config.key_file}")
    if written.config.publish.provider == "none":
        click.echo(f"\nPut this host's address and this record into DNS:\n\n{record}")
    if written.config.publish.provider == "dyndns2":
        key = record.partition("k=")[2].partition(" ")[0]
        click.echo(
            "\ndyndns2 has no TXT records: list this host by hand on each of its partners:\n\n"
            f'[[peer]]\nname = "{fqdn}"\nkey = "{key}"'
        )
    click.echo("\nNext: sudo vipnet up")


def _ask(chosen: dict[str, Any], config_path: Path) -> str | None:
    """Ask for what the provider needs and CHOSEN lacks; return the secret that is to be written."""
    from vipnet.app.init import SECRET_NAME

    provider, secret = chosen["provider"], None
    if provider == "dyndns2":
        if "service" not in chosen and "url" not in chosen:
            chosen["service"] = click.prompt("Service", type=click.Choice(SERVICES), err=True)
        if "user" not in chosen:
            chosen["user"] = click.prompt("User", err=True)
    if provider in _WITH_SECRET and "secret_file" not in chosen:
        secret = str(click.prompt(_WITH_SECRET[provider], hide_input=True, err=True))
        chosen["secret_file"] = str(config_path.absolute().with_name(SECRET_NAME))
    if provider == "rfc2136" and "key_secret_file" not in chosen:
        chosen["key_secret_file"] = click.prompt("File with the TSIG secret", type=_FILE, err=True)
    if provider == "hook" and "command" not in chosen:
        chosen["command"] = _split(click.prompt("Program and arguments", err=True))
    return secret


def _split(command: str) -> list[str]:
    from vipnet.errors import ConfigError

    try:
        return shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"--command: {error}") from None


def _absolute(path: str) -> str:
    return path if path.startswith("$") else str(Path(path).absolute())
