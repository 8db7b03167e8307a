"""What can be foreseen to go wrong with a command: one line that says the next step, and never a traceback.

What keeps a daemon from starting is in tests/app/test_bad_input.py, what keeps it from working in
tests/lab/test_doctor.py; here are the commands themselves, and everything between them and the daemon.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cli.examples import STATUS
from tests.cli.support import Done, answering, daemon, short_directory, vipnet, write_config
from tests.test_messages import NEXT_STEP

from vipnet.app import control
from vipnet.app.control import SOCKET_NAME

FAILED, USAGE, NOT_RUNNING = 1, 2, 4
KEY = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
# Every command that asks the daemon, but `up`, `down`, which cope without one.
ASKING = [
    ["status"],
    ["status", "--json"],
    ["status", "--watch"],
    ["peers"],
    ["moves"],
    ["metrics"],
    ["resolve", "b.vipip.net"],
    ["ping", "b.vipip.net"],
    ["reload"],
    ["trust", "list"],
    ["trust", "add", "b.vipip.net", KEY],
    ["trust", "remove", "b.vipip.net"],
    ["trust", "accept-new-key", "b.vipip.net"],
    ["key", "rotate"],
    ["capture", "-"],
]


def said(done: Done, status: int, *words: str) -> None:
    """DONE is one line for people with WORDS and a next step, and nothing on standard output."""
    assert (done.status, done.out) == (status, "")
    assert done.err.startswith("vipnet: ")
    assert done.err.count("\n") == 1
    assert done.err.endswith("\n")
    assert "Traceback" not in done.err
    assert NEXT_STEP.search(done.err.rstrip("\n")), done.err
    for word in words:
        assert word in done.err


# --- between a command and the daemon


@contextlib.contextmanager
def listening(answer: bytes | None) -> Iterator[Path]:
    """A socket where the daemon's is, and what listens there: ANSWER, then the end; None: silence."""
    with short_directory() as directory, contextlib.ExitStack() as held:
        config = write_config(directory)
        (directory / "run").mkdir()
        server = held.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(str(directory / "run" / SOCKET_NAME))
        server.listen()
        over = threading.Event()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection = server.accept()[0]
                    with connection:
                        connection.recv(4096)
                        if answer is None:
                            over.wait()
                        else:
                            connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield config
        finally:
            over.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextlib.contextmanager
def nothing() -> Iterator[Path]:
    with short_directory() as directory:
        yield write_config(directory)


@contextlib.contextmanager
def left_behind() -> Iterator[Path]:
    """A crash has left the socket's file."""
    with short_directory() as directory:
        (directory / "run").mkdir()
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(directory / "run" / SOCKET_NAME))
        yield write_config(directory)


@contextlib.contextmanager
def something_else() -> Iterator[Path]:
    with short_directory() as directory:
        (directory / "run").mkdir()
        (directory / "run" / SOCKET_NAME).write_text("no socket")
        yield write_config(directory)


@contextlib.contextmanager
def run_dir_is_a_file() -> Iterator[Path]:
    with short_directory() as directory:
        (directory / "run").write_text("")
        yield write_config(directory)


@contextlib.contextmanager
def far_away() -> Iterator[Path]:
    """A socket's path has 107 bytes at most (unix(7))."""
    with short_directory() as directory:
        config = write_config(directory)
        config.write_text(config.read_text().replace('/run"', f'/{"r" * 120}"'))
        yield config


def refusing(error: str, status: int) -> bytes:
    return json.dumps({"ok": False, "error": error, "exit": status}).encode() + b"\n"


NO_DAEMON = "no vipnet daemon"
DAEMONS: dict[str, tuple[Callable[[], contextlib.AbstractContextManager[Path]], int, str]] = {
    "there is none": (nothing, NOT_RUNNING, "not running"),
    "it has crashed": (left_behind, NOT_RUNNING, "not running"),
    "its socket is a file": (something_else, NOT_RUNNING, "not running"),
    "its directory is a file": (run_dir_is_a_file, FAILED, "control.sock"),
    "its directory has a long name": (far_away, FAILED, "control.sock"),
    "it says nothing and goes": (lambda: listening(b""), NOT_RUNNING, "went away"),
    "it dies in the middle": (lambda: listening(b'{"ok": tr'), NOT_RUNNING, "went away"),
    "it hangs": (lambda: listening(None), NOT_RUNNING, "does not answer"),
    "it speaks something else": (lambda: listening(b"220 smtp.example.org ESMTP\n"), FAILED, NO_DAEMON),
    "it speaks another JSON": (lambda: listening(b"[1, 2]\n"), FAILED, NO_DAEMON),
    "its answer lacks all": (lambda: listening(b"{}\n"), FAILED, NO_DAEMON),
    "it speaks binary": (lambda: listening(b"\xff\xfe\0\n"), FAILED, NO_DAEMON),
    "it is older": (lambda: daemon({}), FAILED, "of another version"),
    "it refuses": (lambda: listening(refusing("that is for root: try sudo", 1)), FAILED, "sudo"),
}


@pytest.mark.parametrize("trouble", DAEMONS)
@pytest.mark.parametrize("command", ASKING, ids=" ".join)
def test_a_daemon_that_cannot_be_asked(
    command: list[str], trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = trouble == "it hangs"
    if hangs:
        monkeypatch.setattr(control.ask_daemon, "__defaults__", (0.05,))
        monkeypatch.setattr(control, "ANSWER_S", 0.05)
    make, status, words = DAEMONS[trouble]
    with make() as config:
        done = vipnet(*command, "--config", config)
    said(done, status, words)


@pytest.mark.parametrize("command", [*ASKING, ["up"], ["down"], ["run"], ["key", "show"]], ids=" ".join)
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "`vipnet init NAME`"),
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "not TOML"),
        (lambda path: path.write_text("name = \n"), "not TOML"),
        (lambda path: path.write_text(""), "name is missing"),
        (lambda path: path.write_text('name = "laptop"\n'), "needs a domain"),
        (lambda path: path.write_text("name = 7\n"), "must be a full DNS name"),
        (lambda path: path.write_text('name = "a.example.org"\nnmae = 1\n'), "did you mean"),
        (lambda path: path.symlink_to(path), "symbolic links"),
    ],
)
def test_a_configuration_that_cannot_be_used(
    command: list[str], make: Callable[[Path], object], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.toml"
    make(path)
    done = vipnet(*command, "--config", path)
    assert (done.status, done.out) == (USAGE, "")
    assert done.err.count("\n") == 1
    assert words in done.err
    assert str(path) in done.err


# --- arguments


LONG_LABEL = f"{'x' * 64}.example.org"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "laptop",
        "a..example.org",
        "-a.example.org",
        "b\xfccher.example.org",
        LONG_LABEL,
        "a b.example.org",
    ],
)
def test_a_name_that_is_none(name: str, tmp_path: Path) -> None:
    done = vipnet("init", name, "--config", tmp_path / "config.toml")
    assert (done.status, done.out) == (USAGE, "")
    assert done.err.startswith("vipnet: ")
    assert done.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--provider", "rfc2136", "--key-secret-file", "/nowhere/tsig"], "/nowhere/tsig"),
        (["--provider", "duckdns", "--secret-file", "/nowhere/token"], "duckdns.org"),
        (["--provider", "desec", "--secret-file", "/nowhere/x"], "/nowhere/x"),
        (["--provider", "hook", "--command", 'say "hello'], "--command"),
        (["--provider", "dyndns2", "--service", "no-ip"], "user"),
        (["--provider", "cloudflare"], "secret_file"),
        (["--provider", "nobody"], "--provider"),
        (["--ttl", "soon"], "--ttl"),
        (["--address", "localhost"], "address"),
    ],
)  # fmt: skip
def test_what_init_cannot_use(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = vipnet("init", "a.example.org", *arguments, "--config", tmp_path / "config.toml")
    assert (done.status, done.out) == (USAGE, "")
    assert done.err.splitlines()[-1].startswith("vipnet: ")
    assert words in done.err
    assert not list(tmp_path.iterdir())


def test_a_place_where_init_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "config.toml", Path("/proc/vipnet/config.toml"), Path("/dev/full")):
        done = vipnet("init", "a.example.org", "--config", place)
        assert (done.status, done.out) == (USAGE, "")
        assert done.err.count("\n") == 1
        assert str(place.parent) in done.err


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (None, 0, "`vipnet init NAME`"),
        ("secret\n", 0o600, "must be one line"),
        (KEY + "\n", 0o644, "`chmod 600 "),
    ],
)
def test_a_key_that_cannot_be_used(content: str | None, mode: int, words: str, tmp_path: Path) -> None:
    config = write_config(tmp_path)
    if content is not None:
        (tmp_path / "key").write_text(content)
        (tmp_path / "key").chmod(mode)
    said(vipnet("key", "show", "--config", config), USAGE, words, str(tmp_path / "key"))


@pytest.mark.parametrize("file", ["/nowhere/x.pcapng", "/dev", "/dev/full"])
def test_a_capture_that_cannot_be_written(file: str) -> None:
    """Root's /dev/full is there to be tried: the file opens, and every write fails."""
    with daemon({}) as config:
        done = vipnet("capture", file, "--config", config)
    assert (done.status, done.out) == (FAILED, "")
    assert done.err.splitlines()[-1].startswith("vipnet: ")
    assert "Traceback" not in done.err


# --- where the output goes


def run(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vipnet", *map(str, arguments)]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("arguments", [["--help"], ["status"], ["status", "--json"], ["status", "--help"]])
def test_a_full_disk_is_named(arguments: list[str]) -> None:
    with daemon({"status": answering(STATUS)}) as config, Path("/dev/full").open("w") as full:
        done = run(*arguments, stdout=full, env={**os.environ, "VIPNET_CONFIG": str(config)})
    assert (done.returncode, done.stderr) == (
        FAILED,
        "vipnet: standard output: No space left on device; make room there\n",
    )


def test_output_that_is_closed_is_no_traceback() -> None:
    for closing in (">&-", "2>&-", ">&- 2>&-"):
        command = f'exec "{sys.executable}" -m vipnet --help {closing}'
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
        assert "Traceback" not in done.stderr + done.stdout


def test_a_terminal_that_lacks_letters_shows_the_rest() -> None:
    """Providers' words come in any language."""
    publish = {**STATUS["publish"], "error": "P\u0159\xedstup odep\u0159en"}
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    with daemon({"status": answering({**STATUS, "publish": publish})}) as config:
        done = run("status", "--config", config, stdout=subprocess.PIPE, env=environment, encoding="latin-1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "P?\xedstup odep?en\n" in done.stdout
