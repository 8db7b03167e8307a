"""Start and stop: `run`, `up`, `down`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import click

from vipnet.cli.options import LogLevel, config_option, json_option, log_options


@click.command(epilog="Example: sudo vipnet run --log-level debug")
@log_options
@config_option
def run(config_path: Path, log_level: LogLevel, log_json: bool) -> None:
    """Run in the foreground until SIGTERM or Ctrl-C.

    For systemd and containers; the log goes to standard error, or with its fields to
    systemd's journal where that is the same. Without network, DNS or the right time it
    stays and tries again. SIGHUP is `vipnet reload`.
    """
    from vipnet.app import launch
    from vipnet.app.logs import LogOptions

    launch.run(config_path, LogOptions(log_level, log_json))


@click.command("reload", epilog="Example: sudo vipnet reload")
@click.option("--log-level", type=click.Choice(get_args(LogLevel)), help="Also log from this level on.")
@json_option
@config_option
def reload(config_path: Path, as_json: bool, log_level: str | None) -> None:
    """Take over a changed configuration; connections go on.

    What takes effect is said, and what does not before a restart. A configuration with a mistake
    is refused, and the old one stays in force: exit status 2.
    """
    from vipnet.app.config import load_config
    from vipnet.app.control import ask_daemon
    from vipnet.errors import ConfigError

    try:
        reply = ask_daemon(load_config(config_path).run_dir, "reload", log_level=log_level)
    except ConfigError as error:
        raise ConfigError(f"{error}; nothing has changed") from None
    if as_json:
        click.echo(json.dumps(reply))
        return
    click.echo(f"taken over: {', '.join(reply['taken'])}" if reply["taken"] else "nothing to take over")
    if reply["restart"]:
        wants = ", ".join(reply["restart"])
        click.echo(f"not before a restart (`vipnet down`, `vipnet up`): {wants}", err=True)


@click.command(epilog="Example: sudo vipnet up && ssh b.example.org")
@log_options
@config_option
def up(config_path: Path, log_level: LogLevel, log_json: bool) -> None:
    """Start in the background and wait until ready.

    Ready means: tun0 and the resolver are up, and DNS says where this host is. Exit
    status 3 and the missing part when that takes more than 10 s; the daemon then
    goes on trying; its log is vipnet.log in run_dir. When it runs already, nothing changes.

    It also says which programs here wait on all addresses: partners can reach
    them now. It changes no firewall.
    """
    from vipnet.app import launch
    from vipnet.app.config import load_config
    from vipnet.app.logs import LogOptions

    config = load_config(config_path)
    if not launch.start(config_path, LogOptions(log_level, log_json)):
        click.echo(f"{config.name} is running already, and ready")
        return
    click.echo(f"{config.name} is ready")
    from vipnet.app.doctor.services import services

    if reached := services(config):
        click.echo(f"Partners can reach, unless a firewall is in the way: {reached}")


@click.command(epilog="Example: sudo vipnet down")
@click.option("--unpublish", is_flag=True, help="Also take the _vip record out of DNS; the address stays.")
@config_option
def down(config_path: Path, unpublish: bool) -> None:
    """Stop, and put back what was changed on this host.

    Also cleans up behind a daemon that was killed. Tokens stay: connections that
    outlive a short stop go on after `vipnet up`. With --unpublish what is left in DNS is
    a host without vipnet; those that know it still need `vipnet trust remove`.
    """
    from vipnet.app import launch
    from vipnet.app.config import load_config

    config = load_config(config_path)
    stopped = launch.stop(config, unpublish=unpublish)
    text = f"{config.name} is stopped" if stopped else f"{config.name} is not running; cleaned up"
    taken_back = unpublish and config.publish.provider not in ("none", "dyndns2")
    click.echo(text + "; its _vip record is out of DNS" * taken_back)
