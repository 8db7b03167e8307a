"""Manual pages from the commands themselves: what `--help` says, as vipnet.1 and vipnet-COMMAND.1.

The documentation's page of commands is made from the same description (`commands`).

    python install/manual.py DIRECTORY

click-man knows neither commands that are imported late nor examples (a command's epilog).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from msgspec import Struct

from vipnet import __version__
from vipnet.cli.main import cli

_FOOT = r""".SH FILES
.TP
.I /etc/vipnet/config.toml
configuration; /usr/share/doc/vipnet/examples/config.toml explains every key
.TP
.I /var/lib/vipnet/state.db
what survives a restart: peers, their keys, tokens
.TP
.I /run/vipnet/
control socket, and the log of
.B vipnet up
.SH EXIT STATUS
0 done, 1 failed, 2 usage or configuration, 3 not ready, 4 no daemon
"""


class Command(Struct, frozen=True):
    r"""One command as `--help` has it.

    path       what is typed: "vipnet trust add"
    arguments  what follows: "[OPTIONS] NAME [KEY]"
    text       paragraphs; as they are, not filled, where `\b` stands before (click's sign)
    below      its commands: path and summary
    options    names with their values, and help
    examples   title ("Example" or "Examples") and lines; empty where there is none
    """

    path: str
    summary: str
    arguments: str
    text: tuple[str, ...]
    below: tuple[tuple[str, str], ...]
    options: tuple[tuple[str, str], ...]
    examples: tuple[str, str]


def commands(
    command: click.Command, name: str = "vipnet", parent: click.Context | None = None
) -> Iterator[Command]:
    """Describe COMMAND and all below it; what is hidden is left out."""
    context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    group = command if isinstance(command, click.Group) else click.Group()
    children = [(word, group.get_command(context, word)) for word in group.list_commands(context)]
    below = [(word, child) for word, child in children if child is not None and not child.hidden]
    summary, _, rest = inspect.cleandoc(command.help or "").partition("\n\n")
    options = [one for one in command.get_params(context) if isinstance(one, click.Option)]
    label, _, example = (command.epilog or "").strip("\b\n ").partition(":")
    yield Command(
        context.command_path,
        " ".join(summary.split()).rstrip("."),
        " ".join(command.collect_usage_pieces(context)),
        tuple(paragraph.strip("\n") for paragraph in rest.split("\n\n") if paragraph),
        tuple((f"{context.command_path} {word}", child.get_short_help_str(200)) for word, child in below),
        tuple(record for one in options if (record := one.get_help_record(context))),
        (label, inspect.cleandoc(example)) if label.startswith("Example") else ("", ""),
    )
    for word, child in below:
        yield from commands(child, word, context)


def pages(command: click.Command) -> Iterator[tuple[str, str]]:
    """(file name, troff of man(7)) of COMMAND and of all below it."""
    for one in commands(command):
        yield f"{_title(one.path)}.1", _page(one)


def _title(path: str) -> str:
    return path.replace(" ", "-")


def _page(command: Command) -> str:
    title = _title(command.path)
    parts = [
        f'.TH {title.upper()} 1 "" "vipnet {__version__}" "vipnet manual"\n',
        f".SH NAME\n{_escape(title)} \\- {_escape(command.summary)}\n",
        f".SH SYNOPSIS\n.B {_escape(command.path)}\n{_escape(command.arguments)}\n",
    ]
    if command.text:
        parts.append(".SH DESCRIPTION\n" + _paragraphs(command.text))
    if command.below:
        rows = (_entry(f"{_title(path)}(1)", summary) for path, summary in command.below)
        parts.append(".SH COMMANDS\n" + "".join(rows))
    if command.options:
        parts.append(".SH OPTIONS\n" + "".join(_entry(*option) for option in command.options))
    label, lines = command.examples
    if label:
        parts.append(f".SH {label.upper()}\n" + _verbatim(lines))
    parent = command.path.rpartition(" ")[0]
    parts.append(f".SH SEE ALSO\n.BR {_escape(_title(parent))} (1)\n" if parent else _FOOT)
    return "".join(parts)


def _entry(term: str, text: str) -> str:
    return f".TP\n.B {_escape(term)}\n{_escape(' '.join(text.split()))}\n"


def _paragraphs(text: tuple[str, ...]) -> str:
    r"""Paragraphs as click has them: filled, but as they are after a line of \b."""
    out = [_verbatim(one.lstrip("\b\n")) if one.startswith("\b") else ".PP\n" + _escape(one) for one in text]
    return "\n".join(one.rstrip("\n") for one in out) + "\n"


def _verbatim(text: str) -> str:
    return f".PP\n.nf\n{_escape(inspect.cleandoc(text))}\n.fi\n"


def _escape(text: str) -> str:
    """TEXT with what troff would take for orders made plain (groff_char(7): - is a hyphen)."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in text.split("\n"))


def write(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages(cli):
        (directory / name).write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
