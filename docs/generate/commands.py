"""The page of commands: the same description as that of the manual pages and of `--help`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from install.manual import Command, commands

from vipnet.cli.main import SECTIONS, cli


def markdown() -> str:
    """Every command, in the order and under the titles of `vipnet --help`."""
    by_path = {one.path: one for one in commands(cli)}
    parts = []
    for title, entries in SECTIONS.items():
        parts.append(f"## {title}\n")
        for entry in entries:
            path = f"vipnet {entry.name}"
            if path in by_path:
                parts += [_section(one) for one in by_path.values() if f"{one.path} ".startswith(f"{path} ")]
    return "\n".join(parts)


def _section(command: Command) -> str:
    depth = "#" * (1 + len(command.path.split()))
    return "\n".join([f"{depth} {command.path}\n", *_body(command)])


def _body(command: Command) -> Iterator[str]:
    yield plain(command.summary) + ".\n"
    if not command.below:
        yield f"```text\n{command.path} {command.arguments}\n```\n"
    for paragraph in command.text:
        lines = paragraph.removeprefix("\b\n")
        yield plain(lines) + "\n" if lines == paragraph else f"```text\n{lines}\n```\n"
    for names, text in command.options:
        if names != "-h, --help":
            yield f"`{names}`\n: {plain(' '.join(text.split())) or 'See above.'}\n"
    label, lines = command.examples
    if label:
        yield f"{label}:\n\n```sh\n{lines}\n```\n"


def plain(text: str) -> str:
    """TEXT in which Markdown sees nothing but what stands in backquotes."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if i % 2 else re.sub(r"([\\*_<>\[\]#])", r"\\\1", part) for i, part in enumerate(parts)
    )
