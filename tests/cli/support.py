"""Run the command line in this process, with or without a daemon that answers."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import trio

from vipnet.app.control import SOCKET_NAME, Feed, Handler, serve_control
from vipnet.cli.main import main


class Done(NamedTuple):
    status: int
    out: str
    err: str


def vipnet(*args: str | Path) -> Done:
    """What `vipnet ARGS` prints, and its exit status."""
    out, err = io.StringIO(), io.StringIO()
    status: object = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(arg) for arg in args])
        except SystemExit as end:
            status = end.code
    assert isinstance(status, int)
    return Done(status, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    """A socket's path has at most 107 bytes: pytest's own directories may be longer."""
    path = Path(tempfile.mkdtemp(prefix="vipnet-test-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def write_config(directory: Path) -> Path:
    """A configuration whose every file is in DIRECTORY."""
    path = directory / "config.toml"
    places = {"key_file": "key", "state_dir": "state", "run_dir": "run"}
    lines = ['name = "a.vipip.net"', *(f'{key} = "{directory / place}"' for key, place in places.items())]
    path.write_text("\n".join(lines) + "\n")
    return path


@contextlib.contextmanager
def daemon(handlers: Mapping[str, Handler], feeds: Mapping[str, Feed] | None = None) -> Iterator[Path]:
    """A control socket with HANDLERS and FEEDS behind it; yields the path of its configuration."""
    ready = threading.Event()
    token: list[Any] = []
    scope = trio.CancelScope()

    async def serve(path: Path) -> None:
        token.append(trio.lowlevel.current_trio_token())
        with scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(serve_control, path, handlers, feeds or {})
                ready.set()

    with short_directory() as directory:
        thread = threading.Thread(target=trio.run, args=(serve, directory / "run" / SOCKET_NAME))
        thread.start()
        assert ready.wait(10)
        try:
            yield write_config(directory)
        finally:
            trio.from_thread.run_sync(scope.cancel, trio_token=token[0])
            thread.join()


def answering(reply: object) -> Handler:
    async def handler(_params: dict[str, Any]) -> object:
        return reply

    return handler
