"""`vipnet doctor`: what keeps vipnet from working here, and what mends it."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from vipnet.cli.options import config_option, json_option
from vipnet.cli.render import coloured

_WIDTH: Final = 80
_INDENT: Final = 27
_WORDS: Final = {"ok": "ok", "warn": "warning", "fail": "FAULT", "skip": "-"}


@click.command(epilog="Example: sudo vipnet doctor")
@json_option
@config_option
@click.pass_context
def doctor(ctx: click.Context, config_path: Path, as_json: bool) -> None:
    """Look for what keeps vipnet from working here, and say what mends it.

    With the daemon up or down, and changes nothing. As root it sees more. Exit status 1
    when there is a fault; warnings alone are 0.
    """
    from vipnet.app.doctor.examine import examine

    report = examine(config_path)
    click.echo(json.dumps(report) if as_json else text(report))
    if not report["ok"]:
        ctx.exit(1)


def text(report: dict[str, Any]) -> str:
    """A line for what is well, a paragraph for what is not."""
    lines: list[str] = []
    for check in report["checks"]:
        lines += _paragraph(check)
    lines += ["", _summary(report["checks"])]
    return "\n".join(lines)


def _paragraph(check: dict[str, Any]) -> list[str]:
    word = _WORDS[check["state"]]
    mark = (
        word.ljust(8)
        if check["state"] == "skip"
        else coloured(word).ljust(8 + len(coloured(word)) - len(word))
    )
    head = f"{mark} {check['id']:<{_INDENT - 10}} "
    first, *rest = _wrapped(check["found"])
    lines = [head + first, *(" " * _INDENT + line for line in rest)]
    if check["meaning"]:
        lines += [" " * _INDENT + line for line in _wrapped(check["meaning"])]
    if check["fix"] and check["state"] != "ok":
        lines.append(" " * _INDENT + "mend: " + check["fix"])  # whole, to be copied
    return lines


def _wrapped(words: str) -> list[str]:
    return textwrap.wrap(words, _WIDTH - _INDENT, break_long_words=False, break_on_hyphens=False) or [""]


def _summary(checks: Sequence[dict[str, Any]]) -> str:
    count = Counter(check["state"] for check in checks)
    faults, warnings = count["fail"], count["warn"]
    if not faults and not warnings:
        return "Nothing is wrong."
    return f"{faults} fault{'s' * (faults != 1)}, {warnings} warning{'s' * (warnings != 1)}."
