"""`vipnet status` and `peers` as text: calm, one screen, from 60 columns on.

The shapes are those of docs/json.md, `status`; absent is None there and "-" here. What has no
room beside stands below: nothing is cut but what a terminal has no lines for.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click
from msgspec import Struct

from vipnet.cli.render import coloured, fields, ms, size

NARROWEST: Final = 60  # columns
WIDTH: Final = 80  # of what is no terminal
_FEWEST: Final = 3  # peers that are shown however low the terminal is
_INDENT: Final = "    "
_NEXT_STEPS: Final = {  # by state
    "starting": "not all is up yet: `vipnet doctor` looks for what is missing",
    "detached": "there is no network address; it goes on by itself once there is one",
    "captive": "the network wants a log-in first: open any page in a browser",
    "clock": "this host's clock is wrong: set it, and it goes on by itself",
    "cloned-key": "another machine has our key: `vipnet key rotate` on one of them",
}


class Room(Struct, frozen=True):
    """What there is to write on: columns, and lines (None: as many as it takes)."""

    columns: int = WIDTH
    lines: int | None = None

    @classmethod
    def of_terminal(cls) -> Room:
        """Standard output; where that is no terminal, nothing is left out."""
        columns, lines = shutil.get_terminal_size((WIDTH, 24))
        if not sys.stdout.isatty():
            return cls(max(columns, NARROWEST))
        return cls(max(columns, NARROWEST), lines)


Rates = Mapping[str, tuple[float, float]]  # of a peer: bytes a second in and out


def status(reply: dict[str, Any], room: Room, rates: Rates | None = None) -> str:
    """The whole screen."""
    lines = [_title(reply, room.columns), "", *_host(reply, room.columns), ""]
    left = None if room.lines is None else room.lines - len(lines) - 1
    return "\n".join([*lines, peers(reply["peers"], Room(room.columns, left), rates)])


def _title(reply: dict[str, Any], columns: int) -> str:
    left = f"{reply['name']}  {coloured(reply['state'])}"
    right = f"vipnet {reply['version']}"
    if "uptime_s" in reply:  # a daemon of 0.1.0 may still run when the package has been upgraded
        right += f", up {duration(reply['uptime_s'])}"
    space = columns - len(click.unstyle(left)) - len(right)
    return left if space < 2 else left + " " * space + right


def _host(reply: dict[str, Any], columns: int) -> list[str]:
    tun, dns, publish = reply["tun"], reply["dns"], reply["publish"]
    noted = {name: count for name, count in sorted(reply["counters"].items()) if count}
    return fields(
        [
            ("", _NEXT_STEPS.get(reply["state"], "")),
            ("token", f"{tun['token'] or '-'} on {tun['interface']}, {tun['subnet']}, MTU {tun['mtu']}"),
            ("now at", ", ".join(reply["locators"]) or "no network"),
            ("names", f"{dns['listen'] or '-'} (hook: {dns['hook']})"),
            ("", dns.get("note") or ""),
            ("publish", _publish(publish)),
            ("", publish["error"] or ""),
            ("restart", _wants_restart(reply.get("wants_restart") or [])),
            ("moved", _last_move(reply.get("last_move"))),
            ("counted", ", ".join(f"{name} {count:,}" for name, count in noted.items())),
        ],
        columns,
    )


def _wants_restart(keys: list[str]) -> str:
    return f"{', '.join(keys)}: changed, and not in force before it" if keys else ""


def _publish(publish: dict[str, Any]) -> str:
    if publish["state"] == "off":
        return "off"
    return f"{publish['provider']} {coloured(publish['state'])}: {publish['address'] or '-'}"


def _last_move(move: dict[str, Any] | None) -> str:
    if move is None or move["cause"] == "start":  # that was no move: it had been nowhere before
        return ""
    place = ", ".join(move["new"]) or "no network"
    text = f"{duration(move['ago_s'])} ago ({move['cause']}) to {place}"
    if move["partner_count"]:
        text += f"; {move['told_count']:,} of {move['partner_count']:,} partners know"
    return text


# --- peers


def peers(items: Sequence[dict[str, Any]], room: Room, rates: Rates | None = None) -> str:
    """A paragraph for each, those first that were heard last; the end says how many have no room."""
    if not items:
        return "No peers yet: use the name of one, as in `ping b.example.org`."
    latest = sorted(items, key=lambda peer: (peer["heard_s"] is None, peer["heard_s"], peer["name"]))
    widths = _widths(latest, room.columns)
    lines, shown = [_row(("PEER", "TOKEN", "STATE", "TRUST", "RTT"), widths)], 0
    for peer in latest:
        paragraph = _peer(peer, widths, room.columns, (rates or {}).get(peer["name"]))
        rest = 1 if shown + 1 < len(latest) else 0  # a line for "more"
        full = room.lines is not None and len(lines) + len(paragraph) + rest > room.lines
        if full and shown >= _FEWEST:
            break
        lines += paragraph
        shown += 1
    if shown < len(latest):
        lines.append(f"{len(latest) - shown:,} more: `vipnet peers`")
    return "\n".join(lines)


def _cells(peer: dict[str, Any]) -> tuple[str, ...]:
    return (peer["name"], peer["token"] or "-", peer["state"], peer["trust"] or "-", ms(peer["srtt_ms"]))


def _widths(items: Sequence[dict[str, Any]], columns: int) -> list[int]:
    """Of the columns; 0 for the name when not all fit beside the rest: each then has a line of its own."""
    rows = [_cells(peer) for peer in items] + [("PEER", "TOKEN", "STATE", "TRUST", "0.00 ms")]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return widths if sum(widths) + 2 * (len(widths) - 1) <= columns else [0, *widths[1:]]


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, *rest = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    together = "  ".join(rest).rstrip()
    return f"{name}  {together}" if widths[0] else f"{name}\n{_INDENT}{together}"


def _peer(
    peer: dict[str, Any], widths: Sequence[int], columns: int, rate: tuple[float, float] | None
) -> list[str]:
    lines = _row(_cells(peer), widths).split("\n")
    for detail in (_traffic(peer, rate), _move(peer["last_move"])):
        lines += textwrap.wrap(detail, columns, initial_indent=_INDENT, subsequent_indent=_INDENT, **_WHOLE)
    for warning in _warnings(peer):
        wrapped = textwrap.wrap(warning, columns - len(_INDENT), **_WHOLE)
        lines += [_INDENT + click.style(line, fg="red") if _colours() else _INDENT + line for line in wrapped]
    return lines


_WHOLE: Final[dict[str, Any]] = {"break_long_words": False, "break_on_hyphens": False}


def _colours() -> bool:
    return coloured("x") != "x"


def _traffic(peer: dict[str, Any], rate: tuple[float, float] | None) -> str:
    parts = [f"at {peer['locator']}"] if peer["locator"] else []
    if peer["rx_bytes"] or peer["tx_bytes"]:
        parts.append(f"{size(peer['rx_bytes'])} in, {size(peer['tx_bytes'])} out")
    if rate is not None and any(rate):
        parts.append(f"now {size(rate[0])}/s in, {size(rate[1])}/s out")
    if peer["heard_s"] is not None and peer["heard_s"] >= 60:  # T, the lease: longer is worth a word
        parts.append(f"heard {duration(peer['heard_s'])} ago")
    return ", ".join(parts)


def _move(move: dict[str, Any] | None) -> str:
    """How the peer learned of our last move."""
    if move is None:
        return ""
    how = {"acked": "told of our move", "dns": "found after our move", "timeout": "did not learn of our move"}
    text = how.get(move["outcome"], "is being told of our move")
    if move["ack_ms"] is not None:
        text += f" in {ms(move['ack_ms'])}"
    if move["gap_ms"] is not None:
        text += f", silent for {ms(move['gap_ms'])}"
    return text


def _warnings(peer: dict[str, Any]) -> list[str]:
    warnings = []
    if peer["offered_key"] is not None:
        warnings.append("another key was offered, and refused: `vipnet trust list`")
    if peer["cloned_key"]:
        warnings.append("two machines have its key: one is a copy of the other")
    return warnings


def duration(seconds: float) -> str:
    """One number is enough: 12 s, 3 min, 5 h, 2 d."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:,.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
