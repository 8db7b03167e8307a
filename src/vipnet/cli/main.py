"""`vipnet`: the table of commands, and how a failure reads.

A command's module is imported when the command is used: `vipnet --help` needs none.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import importlib.util
import io
import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

import click
from msgspec import Struct

from vipnet import __version__


class Entry(Struct, frozen=True):
    """A command: its name, the module that has it (under the same name), what it does."""

    name: str
    module: str
    summary: str


# In the order a person needs them.
SECTIONS: Final[dict[str, tuple[Entry, ...]]] = {
    "Begin": (
        Entry("demo", "vipnet.cli.demo", "See connections survive moves, on this machine alone."),
        Entry("init", "vipnet.cli.init", "Write this host's configuration and key."),
        Entry("up", "vipnet.cli.run", "Start in the background and wait until ready."),
        Entry("down", "vipnet.cli.run", "Stop, and clean up."),
    ),
    "Look": (
        Entry("status", "vipnet.cli.status", "How this host is, and who it speaks to."),
        Entry("resolve", "vipnet.cli.resolve", "What a name leads to, step by step."),
        Entry("ping", "vipnet.cli.resolve", "Ask a peer's daemon whether it is there."),
        Entry("doctor", "vipnet.cli.doctor", "What keeps it from working here, and what mends it."),
        Entry("peers", "vipnet.cli.status", "The peers: token, path, traffic."),
        Entry("moves", "vipnet.cli.status", "What happened when this host changed its address."),
        Entry("metrics", "vipnet.cli.metrics", "What is counted and measured, for Prometheus."),
    ),
    "More": (
        Entry("run", "vipnet.cli.run", "Run in the foreground (systemd, containers)."),
        Entry("reload", "vipnet.cli.run", "Take over a changed configuration."),
        Entry("trust", "vipnet.cli.trust", "Whose keys are known; forget a peer."),
        Entry("key", "vipnet.cli.key", "Show this host's public key."),
        Entry("capture", "vipnet.cli.capture", "Write packets, unsealed, for Wireshark."),
        Entry("dissect", "vipnet.cli.dissect", "Open a capture of the network by a key log."),
        Entry("lab", "vipnet.cli.lab", "The paper's network in namespaces, to play with."),
    ),
}
_ENTRIES: Final = {entry.name: entry for section in SECTIONS.values() for entry in section}


class Commands(click.Group):
    """The commands of SECTIONS, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [name for name, entry in _ENTRIES.items() if importlib.util.find_spec(entry.module)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        entry = _ENTRIES.get(cmd_name)
        if entry is None or importlib.util.find_spec(entry.module) is None:
            return None
        command: click.Command = getattr(importlib.import_module(entry.module), entry.name)
        return command

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """All of it on a terminal of 24 lines, the prompt too."""
        there = set(self.list_commands(ctx))
        lines = ["Usage: vipnet COMMAND [OPTIONS]", self.get_short_help_str(80), ""]
        for title, entries in SECTIONS.items():
            shown = [entry for entry in entries if entry.name in there]
            heads = [title, *[""] * len(shown)]
            lines += [
                f"{head:<5}  {entry.name:<8} {entry.summary}"
                for head, entry in zip(heads, shown, strict=False)
            ]
        lines += ["", "`vipnet COMMAND --help` says more, with an example. `vipnet --version`"]
        formatter.write("\n".join(lines) + "\n")


@click.command(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.version_option(__version__, message="vipnet %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """A host is its DNS name: connections go on while one or both ends move."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 ok, 1 failed, 2 usage or config, 3 not ready, 4 not running."""
    sys.exit(_run(args))


def _run(args: Sequence[str] | None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter still shows the rest
    try:
        status = cli.main(args=args, prog_name="vipnet", standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"vipnet: {error.format_message()} See `{_command_path(error)} --help`.", err=True)
        return error.exit_code
    except click.Abort:
        return 130  # as a shell reports SIGINT
    except OSError as error:
        if error.errno != errno.EPIPE:  # else who read us has enough: `vipnet moves | head`
            click.echo(f"vipnet: {_refused(error)}", err=True)
        _forget_output()
        return 1
    except Exception as error:
        from vipnet.app.control import exit_status, vipnet_error

        reason = vipnet_error(error)
        if reason is None:
            raise  # a fault of ours: whoever reports it needs all of it
        click.echo(f"vipnet: {' '.join(str(reason).split())}", err=True)
        return exit_status(reason)
    return status if isinstance(status, int) else 0


def _refused(error: OSError) -> str:
    """What the system does not let us do and no command foresaw, most likely to write our output."""
    where = error.filename or "standard output"
    mend = "make room there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "try as root, or elsewhere"
    return f"{where}: {error.strerror or error}; {mend}"


def _forget_output() -> None:
    """What could not be written is not tried again at the end."""
    with contextlib.suppress(OSError, ValueError):  # it may be closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _command_path(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return context.command_path if context else "vipnet"
