"""Manual pages from the commands themselves: what `--help` says, as vipnet.1 and vipnet-COMMAND.1.

    python install/manual.py DIRECTORY

click-man knows neither commands that are imported late nor examples (a command's epilog).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

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


def pages(
    command: click.Command, name: str = "vipnet", parent: click.Context | None = None
) -> Iterator[tuple[str, str]]:
    """(file name, troff of man(7)) of COMMAND and of all below it."""
    settings = command.context_settings
    context = click.Context(command, info_name=name, parent=parent, **settings)
    group = command if isinstance(command, click.Group) else click.Group()
    children = [(word, group.get_command(context, word)) for word in group.list_commands(context)]
    below = [(word, child) for word, child in children if child is not None and not child.hidden]
    yield f"{_title(context)}.1", _page(command, context, below)
    for word, child in below:
        yield from pages(child, word, context)


def _title(context: click.Context) -> str:
    return f"{_title(context.parent)}-{context.info_name}" if context.parent else f"{context.info_name}"


def _page(command: click.Command, context: click.Context, below: list[tuple[str, click.Command]]) -> str:
    summary, _, rest = inspect.cleandoc(command.help or "").partition("\n\n")
    title = _title(context)
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [
        f'.TH {title.upper()} 1 "" "vipnet {__version__}" "vipnet manual"\n',
        f".SH NAME\n{_escape(title)} \\- {_escape(' '.join(summary.split()).rstrip('.'))}\n",
        f".SH SYNOPSIS\n.B {_escape(context.command_path)}\n{_escape(usage)}\n",
    ]
    if rest:
        parts.append(".SH DESCRIPTION\n" + _paragraphs(rest))
    if below:
        rows = (_entry(f"{title}-{word}(1)", child.get_short_help_str(200)) for word, child in below)
        parts.append(".SH COMMANDS\n" + "".join(rows))
    options = [one for one in command.get_params(context) if isinstance(one, click.Option)]
    records = [record for one in options if (record := one.get_help_record(context))]
    if records:
        parts.append(".SH OPTIONS\n" + "".join(_entry(*record) for record in records))
    label, _, example = (command.epilog or "").strip("\b\n ").partition(":")
    if label.startswith("Example"):
        parts.append(f".SH {label.upper()}\n" + _verbatim(example))
    parts.append(f".SH SEE ALSO\n.BR {_escape(_title(context.parent))} (1)\n" if context.parent else _FOOT)
    return "".join(parts)


def _entry(term: str, text: str) -> str:
    return f".TP\n.B {_escape(term)}\n{_escape(' '.join(text.split()))}\n"


def _paragraphs(text: str) -> str:
    r"""Paragraphs as click has them: filled, but as they are after a line of \b."""
    out = []
    for paragraph in text.split("\n\n"):
        lines = paragraph.strip("\n")
        out.append(_verbatim(lines.lstrip("\b\n")) if lines.startswith("\b") else ".PP\n" + _escape(lines))
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
