"""`vipnet init`: from nothing to something `vipnet up` can start."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from vipnet.cli.nextsteps import next_steps, trial_text
from vipnet.cli.options import config_option

if TYPE_CHECKING:
    from vipnet.app.config import Config
    from vipnet.app.serverlines import Server
    from vipnet.app.trial import Trial
    from vipnet.types import Fqdn, PublicKey

_EXAMPLE = """\b
Examples:
  vipnet init laptop.example.org
  vipnet init laptop.example.org --provider rfc2136 \\
      --server 192.0.2.53 --key-secret-file /etc/vipnet/tsig
  vipnet init van.ddns.net --provider dyndns2 --service no-ip
  vipnet init laptop.example.org --print-server bind
"""
# As in vipnet.app.publishconfig, which a test compares: importing it takes too long for --help.
PROVIDERS: Final = ("none", "rfc2136", "dyndns2", "duckdns", "cloudflare", "desec", "hetzner", "hook")
SERVICES: Final = ("no-ip", "dynu", "dy.fi", "dyn", "nsupdate.info")
SERVERS: Final = ("bind", "knot", "powerdns")
_WITH_SECRET: Final = {"dyndns2": "Password", "duckdns": "Token"} | dict.fromkeys(
    ("cloudflare", "desec", "hetzner"), "API token"
)
TSIG_NAME: Final = "tsig"


@click.command(epilog=_EXAMPLE)
@click.argument("name")
@click.option(
    "--provider",
    type=click.Choice(PROVIDERS),
    help="Who puts the address into DNS; none: you; hook: a program of yours. Default: you are asked; none.",
)
@click.option(
    "--address",
    multiple=True,
    metavar="SOURCE",
    help="What is published: interface (default), observed (behind a NAT), or an address. May be repeated.",
)
@click.option("--server", help="rfc2136: the primary. Default: found by SOA.")
@click.option("--port", type=int, help="rfc2136: its port. Default: 53.")
@click.option("--zone", help="The zone of NAME. Default: found.")
@click.option("--key-name", help="rfc2136: name of the TSIG key. Default: NAME.")
@click.option("--key-algorithm", help="rfc2136: hmac-sha256 (default), -sha512, ...")
@click.option(
    "--key-secret-file",
    metavar="FILE",
    help="rfc2136: the TSIG secret, base64, mode 0600. Default: tsig beside the configuration.",
)
@click.option("--service", type=click.Choice(SERVICES), help="dyndns2: whose.")
@click.option("--user", help="dyndns2: user name there.")
@click.option(
    "--secret-file",
    metavar="FILE",
    help="The password or token alone, mode 0600, or $CREDENTIALS_DIRECTORY/NAME. Default: you are asked.",
)
@click.option("--url", help="Another address of the provider's interface.")
@click.option(
    "--ca-file", metavar="FILE", help="Certificates that its server is known by. Default: the usual."
)
@click.option("--command", help="hook: the program and its arguments, quoted as one.")
@click.option("--ttl", type=int, help="Of the address records, seconds. Default: 5.")
@click.option("--offline", is_flag=True, help="Try no update; write at once.")
@click.option(
    "--yes", is_flag=True, help="Replace a configuration that says else; it is kept as FILE.before."
)
@click.option("--print-record", is_flag=True, help="Print the TXT record alone.")
@click.option(
    "--print-server",
    type=click.Choice(SERVERS),
    help="rfc2136: print what to paste into the server's configuration; writes nothing but the TSIG secret.",
)
@config_option
def init(
    config_path: Path,
    name: str,
    *,
    offline: bool,
    yes: bool,
    print_record: bool,
    print_server: Server | None,
    **publish: Any,  # noqa: ANN401 - the table's keys
) -> None:
    """Write this host's configuration and key.

    NAME is a full DNS name in a zone that you can change. An update is tried first, and
    the zone's servers are asked for it; what does not work is not written. The key is
    made once and never replaced; other hosts know this one by it. What the provider needs
    and no option says is asked for on a terminal; a password or token has no option, because
    others on the machine can read those: it is asked for, or in a file.
    """
    from vipnet.app.init import initialise, record_line
    from vipnet.errors import ConfigError
    from vipnet.types import parse_name

    try:
        fqdn = parse_name(name)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    chosen = {key: value for key, value in publish.items() if value not in (None, ())}
    if print_server is not None:
        _print_server(print_server, fqdn, chosen, config_path)
        return
    if "command" in chosen:
        chosen["command"] = _split(chosen["command"])
    secret = _ask(chosen, config_path, quiet=yes or print_record) if sys.stdin.isatty() else None
    chosen.setdefault("provider", "none")
    tsig = _beside(config_path, TSIG_NAME)
    if chosen["provider"] == "rfc2136" and "key_secret_file" not in chosen and tsig.exists():
        chosen["key_secret_file"] = str(tsig)
    for key in ("secret_file", "key_secret_file", "ca_file"):
        if chosen.get(key):
            chosen[key] = _absolute(chosen[key])
    check = None if offline or print_record else _check
    written = initialise(config_path, fqdn, chosen, replace=yes, secret=secret, check=check)
    record = record_line(written.config, written.public_key)
    if print_record:
        click.echo(record)
        return
    if written.checked is not None:
        click.echo(trial_text(written.checked))
    click.echo(f"wrote {config_path}" if written.new_config else f"{config_path} is as it was")
    click.echo(f"{'made' if written.new_key else 'kept'} the key {written.config.key_file}")
    click.echo(f"\n{next_steps(written, record)}")


def _print_server(server: Server, name: Fqdn, chosen: dict[str, Any], config_path: Path) -> None:
    from vipnet.app.serverlines import server_lines, update_key

    path = Path(_absolute(chosen.get("key_secret_file") or str(_beside(config_path, TSIG_NAME))))
    algorithm = chosen.get("key_algorithm") or "hmac-sha256"
    made = update_key(path, chosen.get("key_name") or name, algorithm)
    zone = chosen.get("zone") or name.partition(".")[2]
    click.echo(server_lines(server, name, zone, made.key), nl=False)
    click.echo(f"{'made' if made.new else 'this is'} the secret in {path}", err=True)
    options = [
        f"--{key.replace('_', '-')} {chosen[key]}"
        for key in ("key_name", "key_algorithm", "zone")
        if key in chosen
    ]
    options += [f"--key-secret-file {path}"] if "key_secret_file" in chosen else []
    click.echo(f"then, here: {' '.join(['vipnet init', name, '--provider rfc2136', *options])}", err=True)


def _check(config: Config, key: PublicKey) -> Trial | None:
    """Try an update, and say so: it may take a while."""
    from vipnet.app.trial import try_publishing
    from vipnet.errors import HostError, NotReadyError

    if config.publish.provider == "none":
        return None
    click.echo(f"trying an update by {config.publish.provider} ...", err=True)
    try:
        return try_publishing(config, key)
    except (HostError, NotReadyError) as error:
        raise type(error)(f"nothing is written: {error} (--offline writes without a try)") from None


def _ask(chosen: dict[str, Any], config_path: Path, *, quiet: bool) -> str | None:
    """Ask for what the provider needs and CHOSEN lacks; return the secret that is to be written.

    quiet  nobody is asked who the provider is
    """
    from vipnet.app.init import SECRET_NAME

    if "provider" not in chosen and not quiet:
        chosen["provider"] = click.prompt("Provider", type=click.Choice(PROVIDERS), default="none", err=True)
    provider, secret = chosen.get("provider"), None
    if provider == "dyndns2":
        if "service" not in chosen and "url" not in chosen:
            chosen["service"] = click.prompt("Service", type=click.Choice(SERVICES), err=True)
        if "user" not in chosen:
            chosen["user"] = click.prompt("User", err=True)
    if provider in _WITH_SECRET and "secret_file" not in chosen:
        secret = str(click.prompt(_WITH_SECRET[provider], hide_input=True, err=True))
        chosen["secret_file"] = str(_beside(config_path, SECRET_NAME))
    if provider == "rfc2136" and "key_secret_file" not in chosen:
        default = _beside(config_path, TSIG_NAME)
        chosen["key_secret_file"] = click.prompt("File with the TSIG secret", default=str(default), err=True)
    if provider == "hook" and "command" not in chosen:
        chosen["command"] = _split(click.prompt("Program and arguments", err=True))
    return secret


def _beside(config_path: Path, name: str) -> Path:
    return config_path.absolute().with_name(name)


def _split(command: str) -> list[str]:
    from vipnet.errors import ConfigError

    try:
        return shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"--command: {error}; quote it as for a shell") from None


def _absolute(path: str) -> str:
    return path if path.startswith("$") else str(Path(path).absolute())
