"""`vipnet capture`: packets of applications, as they are on tun0, with their peers' names."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from vipnet.cli.options import config_option

if TYPE_CHECKING:
    from vipnet.app.capturefile import CaptureFile
    from vipnet.errors import HostError


@click.command(epilog="Example: sudo vipnet capture - | wireshark -k -i -")
@click.argument("file", metavar="FILE")
@click.option("--peer", metavar="NAME", help="Only packets from and to NAME.")
@click.option("--snap", type=int, default=65_535, metavar="BYTES", help="Keep so much of each packet.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after N packets.")
@click.option("--seconds", type=float, metavar="S", help="End after S seconds.")
@config_option
def capture(
    config_path: Path, file: str, peer: str | None, snap: int, count: int | None, seconds: float | None
) -> None:
    """Write what applications say through vipnet, unsealed, to FILE, until Ctrl-C.

    A pcapng file for Wireshark and tshark: the names of the peers come with it, and comments say
    where a peer is, and when that changes. "-" is standard output. TCP shows as the kernel hands
    it over: packets of up to 64 KB, checksums not yet complete.

    Whoever reads too slowly misses packets, and is told how many; vipnet waits for nobody.
    For root alone.
    """
    from vipnet.app.capturing import batches
    from vipnet.app.config import load_config
    from vipnet.app.control import open_feed

    if file == "-" and sys.stdout.isatty():
        raise click.UsageError("standard output is a terminal: pipe it, as into `wireshark -k -i -`.")
    run_dir = load_config(config_path).run_dir
    with (
        open_feed(run_dir, "capture", snap=snap, peer=peer, seconds=seconds) as (feed, end),
        ended_by_signals(end),
        _written(file) as out,
    ):
        click.echo("capturing until Ctrl-C", err=True)
        for batch in batches(feed):
            for news in batch:
                out.write(news)
                if out.written == count:
                    return
            out.flush()


@contextlib.contextmanager
def _written(file: str) -> Iterator[CaptureFile]:
    """FILE, complete however the capture ends: by a signal, by the daemon, by who reads a pipe."""
    from vipnet.app.capturefile import CaptureFile

    with contextlib.suppress(BrokenPipeError), opened(file) as stream:  # Wireshark was closed
        out = CaptureFile(stream)
        yield out
        out.end()
    missed = f", {out.missed} missed: this was too slow for them" if out.missed else ""
    click.echo(f"{out.written} packets{missed}", err=True)


@contextlib.contextmanager
def ended_by_signals(end: Callable[[], object]) -> Iterator[None]:
    """SIGINT and SIGTERM call END, so that nothing is left half written; a second one kills."""

    def handle(number: int, _frame: object) -> None:
        signal.signal(number, before[number])
        end()

    numbers: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def opened(file: str) -> Iterator[BinaryIO]:
    """FILE for writing, for this user's eyes only: it has what vipnet is there to hide. Raise HostError."""
    if file == "-":
        # A file of its own: what a reader that is gone did not take is not tried again at the end.
        with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as stream:
            yield stream
        return
    try:
        # No symbolic link is followed: somebody else may have put one there, and we are root.
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if stat.S_ISREG(os.fstat(handle).st_mode):
            os.fchmod(handle, 0o600)
    except OSError as error:
        raise _refused(file, error) from None
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _refused(file, error) from None


def _refused(file: str, error: OSError) -> HostError:
    from vipnet.errors import HostError

    return HostError(f"{file} cannot be written: {error.strerror}; name another, or - for a pipe")
