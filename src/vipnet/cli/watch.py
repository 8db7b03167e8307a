"""`vipnet status --watch`: the screen, redrawn in its place once a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from vipnet.cli import screen
from vipnet.errors import NotRunningError

_EVERY_S: Final = 1.0


def watch(
    ask: Callable[[], dict[str, Any]],
    console: Console | None = None,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Show what ASK says until Ctrl-C. Raise what it raises the first time; later a daemon may be away."""
    reply = ask()
    console = console or Console(highlight=False)
    before: tuple[float, dict[str, Any]] | None = None
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        while True:
            room = screen.Room(max(console.width, screen.NARROWEST), console.height)
            now = clock()
            live.update(_text(screen.status(reply, room, _rates(reply, now, before))), refresh=True)
            before = (now, reply)
            sleep(_EVERY_S)
            while (again := _try(ask, live)) is None:
                sleep(_EVERY_S)
            reply = again


def _try(ask: Callable[[], dict[str, Any]], live: Live) -> dict[str, Any] | None:
    try:
        return ask()
    except NotRunningError as error:
        live.update(_text(f"{error}\n\nWaiting for it; Ctrl-C ends this."), refresh=True)
        return None


def _text(lines: str) -> Text:
    """Rich would take [tun] for markup, and wrap anew."""
    return Text.from_ansi(lines, no_wrap=True, overflow="crop")


def _rates(
    reply: dict[str, Any], now: float, before: tuple[float, dict[str, Any]] | None
) -> dict[str, tuple[float, float]]:
    """Bytes a second since the last look; none for a peer that was not there, or counts anew."""
    if before is None or now <= before[0]:
        return {}
    then, old = before[0], {peer["name"]: peer for peer in before[1]["peers"]}
    rates = {}
    for peer in reply["peers"]:
        if (last := old.get(peer["name"])) is not None:
            grown = [peer[key] - last[key] for key in ("rx_bytes", "tx_bytes")]
            if min(grown) >= 0:
                rates[peer["name"]] = (grown[0] / (now - then), grown[1] / (now - then))
    return rates
