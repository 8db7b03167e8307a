"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

DEFAULT_CONFIG: Final = "/etc/vipnet/config.toml"

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


def json_option(command: _Command) -> _Command:
    """`--json`, handed to the command as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)
