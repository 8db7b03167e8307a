"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args

import click

DEFAULT_CONFIG: Final = "/etc/vipnet/config.toml"

LogLevel = Literal["debug", "info", "warning", "error"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def config_option(command: _Command) -> _Command:
    """`--config FILE`, handed to the command as `config_path`."""
    return click.option(
        "--config",
        "config_path",
        envvar="VIPNET_CONFIG",
        default=DEFAULT_CONFIG,
        show_default=True,
        # Whether it can be read, load_config finds out, and says the mend.
        type=click.Path(path_type=Path, dir_okay=False, readable=False),
        metavar="FILE",
        help="Configuration; also VIPNET_CONFIG.",
    )(command)


def log_options(command: _Command) -> _Command:
    """`--log-level` and `--log-json`, handed to the command as `log_level` and `log_json`."""
    level = click.option(
        "--log-level",
        type=click.Choice(get_args(LogLevel)),
        default="info",
        envvar="VIPNET_LOG_LEVEL",
        show_default=True,
        help="The least that is logged; also VIPNET_LOG_LEVEL.",
    )
    as_json = click.option(
        "--log-json", is_flag=True, envvar="VIPNET_LOG_JSON", help="Log one JSON object a line."
    )
    return level(as_json(command))


def json_option(command: _Command) -> _Command:
    """`--json`, handed to the command as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)
