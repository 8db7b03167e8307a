"""`status --watch`: redrawn in its place, with rates; a daemon that goes away may come back."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console
from tests.cli.examples import PEER, STATUS
from tests.cli.support import answering, daemon, short_directory, vipnet, write_config

from vipnet.cli.watch import watch
from vipnet.errors import NotRunningError


class Screen:
    """A terminal of so many columns and lines; everything that was written on it."""

    def __init__(self, columns: int = 80, lines: int = 24, **options: Any) -> None:
        self.written = io.StringIO()
        self.console = Console(
            file=self.written, force_terminal=True, width=columns, height=lines, highlight=False, **options
        )


def run(screen: Screen, *replies: dict[str, Any] | Exception) -> str:
    """What is written while the daemon gives REPLIES, a second apart, and then Ctrl-C comes."""
    asked: Iterator[dict[str, Any] | Exception] = iter(replies)
    clock = itertools.count(0.0, 1.0)

    def ask() -> dict[str, Any]:
        reply = next(asked, None)
        if reply is None:
            raise KeyboardInterrupt
        if isinstance(reply, Exception):
            raise reply
        return reply

    with pytest.raises(KeyboardInterrupt):
        watch(ask, screen.console, lambda _s: None, lambda: next(clock))
    return screen.written.getvalue()


def after(received: int, sent: int) -> dict[str, Any]:
    peer = PEER | {"rx_bytes": PEER["rx_bytes"] + received, "tx_bytes": PEER["tx_bytes"] + sent}
    return {**STATUS, "peers": [peer]}


def test_it_has_a_screen_of_its_own_and_gives_it_back() -> None:
    written = run(Screen(), STATUS, STATUS)
    assert written.count("\x1b[?1049h") == written.count("\x1b[?1049l") == 1
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1  # the cursor, too
    assert "[tun0]" not in written
    assert "241.2.3.4 on tun0" in written


def test_rates_are_of_the_last_second() -> None:
    written = run(Screen(), after(0, 0), after(5000, 0), after(5000, 0))
    assert written.count("now 5.0 kB/s in, 0 B/s out") == 1
    assert "/s" not in run(Screen(), after(5000, 0), after(0, 0))


def test_a_daemon_that_is_started_anew_comes_back() -> None:
    gone = NotRunningError("the daemon is not running")
    written = run(Screen(), STATUS, gone, gone, STATUS)
    assert written.count("Waiting for it; Ctrl-C ends this.") == 2
    assert written.rindex("a.vipip.net") > written.rindex("Waiting for it")


@pytest.mark.parametrize(("columns", "lines"), [(60, 24), (80, 10), (200, 50)])
def test_it_fits_the_terminal(columns: int, lines: int) -> None:
    peers = [PEER | {"name": f"host-{number:03}.example.org"} for number in range(200)]
    screen = Screen(columns, lines, color_system=None)
    written = run(screen, {**STATUS, "peers": peers})
    drawn = written.rpartition("\x1b[H")[2].partition("\x1b[?")[0].split("\n")
    assert len(drawn) <= lines
    assert max(len(line.rstrip()) for line in drawn) <= columns


def test_colours_only_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[32mready" in run(Screen(color_system="standard"), STATUS)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in run(Screen(color_system="standard"), STATUS)


def test_without_a_daemon_there_is_nothing_to_watch() -> None:
    with short_directory() as directory:
        done = vipnet("status", "--watch", "--config", write_config(directory))
    assert (done.status, done.out) == (4, "")
    assert done.err.startswith("vipnet: the daemon is not running")


def test_watching_is_not_for_programs() -> None:
    with daemon({"status": answering(STATUS)}) as config:
        done = vipnet("status", "--watch", "--json", "--config", config)
    assert (done.status, done.out) == (2, "")
    assert "take one of them" in done.err
