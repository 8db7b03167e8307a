"""The control socket: requests, refusals, who may ask, and hostile clients."""

from __future__ import annotations

import grp
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.support import need_root

from vipnet.app import control
from vipnet.app.control import Caller, Feed, Handler, ask_daemon, open_feed, serve_control
from vipnet.errors import (
    ConfigError,
    HostError,
    NotReadyError,
    NotRunningError,
    UnreachableError,
    VipnetError,
)


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A short path (a socket's has at most 107 bytes) that other users can reach."""
    path = Path(tempfile.mkdtemp(prefix="vipnet-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def serving(
    run_dir: Path,
    handlers: Mapping[str, Handler],
    client: Callable[[], Any],
    feeds: Mapping[str, Feed] | None = None,
) -> Any:
    """Run CLIENT, which blocks, in a thread beside a server with HANDLERS."""

    async def main() -> Any:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_control, run_dir / control.SOCKET_NAME, handlers, feeds or {})
            result = await trio.to_thread.run_sync(client)
            nursery.cancel_scope.cancel()
        return result

    return trio.run(main)


async def echo(params: dict[str, Any]) -> object:
    return params


def raising(error: BaseException) -> Handler:
    async def handler(_params: dict[str, Any]) -> object:
        raise error

    return handler


def test_a_question_gets_its_answer(run_dir: Path) -> None:
    answer = serving(
        run_dir, {"resolve": echo}, lambda: ask_daemon(run_dir, "resolve", name="b.vipip.net", count=2)
    )
    assert answer == {"name": "b.vipip.net", "count": 2}


def test_addresses_are_answered_as_text(run_dir: Path) -> None:
    async def status(_params: dict[str, Any]) -> object:
        return {"token": IPv4Address("240.0.0.1"), "locators": (), "error": None}

    answer = serving(run_dir, {"status": status}, lambda: ask_daemon(run_dir, "status"))
    assert answer == {"token": "240.0.0.1", "locators": [], "error": None}


def test_what_another_version_does_not_say_is_explained(run_dir: Path) -> None:
    """The daemon of before an upgrade goes on until it is stopped."""

    async def peers(_: dict[str, Any]) -> object:
        return {"peers": [{"name": "b.vipip.net"}]}

    (peer,) = serving(run_dir, {"peers": peers}, lambda: ask_daemon(run_dir, "peers"))["peers"]
    assert peer == {"name": "b.vipip.net"}
    assert peer.get("trust") is None
    with pytest.raises(HostError, match=r"another version's.*`trust`; `vipnet down && vipnet up`"):
        peer["trust"]


def test_long_answers_arrive_whole(run_dir: Path) -> None:
    async def peers(_params: dict[str, Any]) -> object:
        return {"peers": ["x" * 1000] * 2000}

    answer = serving(run_dir, {"peers": peers}, lambda: ask_daemon(run_dir, "peers"))
    assert answer == {"peers": ["x" * 1000] * 2000}


def test_the_socket_goes_with_the_server_and_a_stale_one_is_replaced(run_dir: Path) -> None:
    path = run_dir / control.SOCKET_NAME
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    assert serving(run_dir, {"status": echo}, lambda: ask_daemon(run_dir, "status")) == {}
    assert not path.exists()


def test_no_daemon_is_an_error_of_its_own(run_dir: Path) -> None:
    with pytest.raises(NotRunningError, match="vipnet up"):
        ask_daemon(run_dir, "status")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(run_dir / control.SOCKET_NAME))
    with pytest.raises(NotRunningError, match="vipnet up"):
        ask_daemon(run_dir, "status")


def test_a_daemon_that_hangs_is_said_to(run_dir: Path) -> None:
    async def status(_params: dict[str, Any]) -> object:
        await trio.sleep_forever()

    def client() -> None:
        with pytest.raises(NotRunningError, match=r"does not answer within 0\.05 s"):
            ask_daemon(run_dir, "status", 0.05)

    serving(run_dir, {"status": status}, client)


@pytest.mark.parametrize(
    ("raised", "caught"),
    [
        (ConfigError("name: not a name"), ConfigError),
        (NotReadyError("no tun0"), NotReadyError),
        (UnreachableError("b.vipip.net does not answer"), VipnetError),
        (ValueError("'b' is not a full name"), VipnetError),
        (ExceptionGroup("", [UnreachableError("b.vipip.net does not answer")]), VipnetError),
    ],
)
def test_a_refusal_keeps_its_words_and_exit_status(
    run_dir: Path, raised: Exception, caught: type[VipnetError]
) -> None:
    def client() -> VipnetError:
        with pytest.raises(VipnetError) as info:
            ask_daemon(run_dir, "resolve")
        return info.value

    error = serving(run_dir, {"resolve": raising(raised)}, client)
    assert type(error) is caught
    inner = raised.exceptions[0] if isinstance(raised, ExceptionGroup) else raised
    assert str(error) == str(inner)


def test_a_fault_of_ours_is_logged_and_the_server_goes_on(
    run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def client() -> object:
        with pytest.raises(VipnetError, match=r"failed inside the daemon \(ZeroDivisionError\)"):
            ask_daemon(run_dir, "moves")
        return ask_daemon(run_dir, "status")

    with caplog.at_level(logging.ERROR):
        assert serving(run_dir, {"moves": raising(ZeroDivisionError()), "status": echo}, client) == {}
    assert [record.getMessage() for record in caplog.records] == ["control.failed"]


def test_an_unknown_op_is_refused(run_dir: Path) -> None:
    def client() -> None:
        with pytest.raises(VipnetError, match="knows no 'dance'"):
            ask_daemon(run_dir, "dance")

    serving(run_dir, {"status": echo}, client)


def test_a_path_that_cannot_be_made_is_a_host_error(run_dir: Path) -> None:
    (run_dir / "file").write_text("")

    async def main() -> None:
        with pytest.raises(HostError, match="set run_dir to another directory"):
            await serve_control(run_dir / "file" / "control.sock", {})
        with pytest.raises(HostError, match="set run_dir to another directory"):
            await serve_control(run_dir / ("x" * 120), {})

    trio.run(main)


# --- hostile clients


@pytest.mark.parametrize(
    "request_line",
    [
        b"\n",
        b"null\n",
        b"[]\n",
        b"{}\n",
        b'{"op":1}\n',
        b'{"op":["status"]}\n',
        b"\xff\xfe\n",
        b"[" * 3000 + b"\n",
    ],
)
def test_garbage_is_refused_and_the_connection_goes_on(run_dir: Path, request_line: bytes) -> None:
    def client() -> list[bytes]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(run_dir / control.SOCKET_NAME))
            connection.sendall(request_line + b'{"op":"status"}\n')
            with connection.makefile("rb") as stream:
                return [stream.readline(), stream.readline()]

    refused, answered = serving(run_dir, {"status": echo}, client)
    assert refused.startswith(b'{"ok":false,"error":')
    assert answered == b'{"ok":true,"result":{}}\n'


def test_an_endless_line_is_cut_off(run_dir: Path) -> None:
    def client() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(run_dir / control.SOCKET_NAME))
            connection.settimeout(10)
            try:
                connection.sendall(b"x" * 1_000_000)
                return connection.recv(1)
            except (BrokenPipeError, ConnectionResetError):
                return b""

    assert serving(run_dir, {}, client) == b""


def test_a_client_that_leaves_early_harms_nobody(run_dir: Path) -> None:
    def client() -> object:
        for _ in range(3):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(run_dir / control.SOCKET_NAME))
                connection.sendall(b'{"op":"peers"}\n')
        return ask_daemon(run_dir, "status")

    async def peers(_params: dict[str, Any]) -> object:
        return "x" * 2**20

    assert serving(run_dir, {"peers": peers, "status": echo}, client) == {}


def test_one_user_has_a_bounded_number_of_connections(run_dir: Path) -> None:
    def client() -> object:
        def connect() -> socket.socket:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(run_dir / control.SOCKET_NAME))
            return connection

        open_ones = [connect() for _ in range(control.CONNECTIONS_MAX)]
        with connect() as refused:
            refused.settimeout(10)
            assert refused.recv(1) == b""
        for connection in open_ones:
            connection.sendall(b'{"op":"status"}\n')
            assert connection.recv(100) == b'{"ok":true,"result":{}}\n'
            connection.close()
        return ask_when_there_is_room()

    def ask_when_there_is_room() -> object:
        for _ in range(1000):
            try:
                return ask_daemon(run_dir, "status")
            except VipnetError:
                continue
        return None

    assert serving(run_dir, {"status": echo}, client) == {}


def test_silence_ends_a_connection(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "IDLE_S", 0.01)

    def client() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(run_dir / control.SOCKET_NAME))
            return connection.recv(1)

    assert serving(run_dir, {}, client) == b""


# --- who may


def test_everybody_may_look_and_only_some_may_act(monkeypatch: pytest.MonkeyPatch) -> None:
    group = type("Group", (), {"gr_gid": 4711})
    monkeypatch.setattr("grp.getgrnam", {"vipnet": group}.__getitem__)
    stranger = Caller(os.geteuid() + 1, (100,))
    for op in ("status", "peers", "moves", "resolve", "ping"):
        assert stranger.may(op)
    assert not stranger.may("down")
    assert Caller(stranger.uid, (100, 4711)).may("down")
    assert Caller(0, ()).may("down")
    assert Caller(os.geteuid(), ()).may("down")


def test_without_the_group_only_root_may_act(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grp.getgrnam", {}.__getitem__)
    assert not Caller(os.geteuid() + 1, (0,)).may("down")


_ASK = """
import os
from pathlib import Path
from vipnet.app.control import ask_daemon
os.setgroups([]), os.setgid(65534), os.setuid(65534)
print(ask_daemon(Path({run_dir!r}), "status"))
try:
    ask_daemon(Path({run_dir!r}), "down")
except Exception as error:
    print(error)
"""


def test_the_kernel_says_who_asks(run_dir: Path) -> None:
    need_root()
    program = _ASK.format(run_dir=str(run_dir))

    def client() -> str:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        return done.stdout

    assert serving(run_dir, {"status": echo, "down": echo}, client).splitlines() == [
        "{}",
        "`down` is for root and the group vipnet: use sudo",
    ]


# --- feeds


def counting(ended: list[int], *, pause_s: float = 0.0) -> Feed:
    """1, 2, 3 ... up to `until`, a line each; ENDED gets how many were taken."""

    def feed(params: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        if params["until"] < 0:
            raise ConfigError("until must be at least 0")
        return pieces(params["until"])

    async def pieces(until: int) -> AsyncGenerator[bytes, None]:
        number = 0
        try:
            while number < until:
                number += 1
                yield b"%d\n" % number
                await trio.sleep(pause_s)
            if not until:
                await trio.sleep_forever()
        finally:
            ended.append(number)

    return feed


def test_a_feed_is_sent_piece_by_piece_to_its_end(run_dir: Path) -> None:
    ended: list[int] = []

    def client() -> bytes:
        with open_feed(run_dir, "capture", until=1000) as (stream, _end):
            return stream.read()

    assert serving(run_dir, {}, client, {"capture": counting(ended)}).split() == [
        b"%d" % number for number in range(1, 1001)
    ]
    assert ended == [1000]


def test_a_feed_refuses_like_anything_else(run_dir: Path) -> None:
    def client() -> None:
        with pytest.raises(ConfigError, match="at least 0"), open_feed(run_dir, "capture", until=-1):
            pass

    serving(run_dir, {}, client, {"capture": counting([])})


def test_a_feed_ends_when_its_client_has_gone_though_it_has_nothing_to_say(run_dir: Path) -> None:
    ended: list[int] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(
                serve_control, run_dir / control.SOCKET_NAME, {}, {"capture": counting(ended)}
            )
            await trio.to_thread.run_sync(client)
            with trio.fail_after(10):
                while not ended:
                    await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

    def client() -> None:
        with open_feed(run_dir, "capture", until=0) as (stream, end):
            end()
            assert stream.read() == b""

    trio.run(main)
    assert ended == [0]


def test_a_client_that_does_not_read_holds_up_its_own_feed_only(run_dir: Path) -> None:
    ended: list[int] = []

    def client() -> None:
        with open_feed(run_dir, "capture", until=10**9):
            assert ask_daemon(run_dir, "status") == {}

    serving(run_dir, {"status": echo}, client, {"capture": counting(ended)})
    assert len(ended) == 1
    assert ended[0] < 10**6, "as many as sockets hold"


def test_what_applications_say_is_for_root_alone() -> None:
    member = grp.getgrgid(0).gr_gid
    assert Caller(0, ()).may("capture")
    assert not Caller(4711, (member,)).may("capture")
    monkey = pytest.MonkeyPatch()
    monkey.setattr(control, "GROUP", grp.getgrgid(member).gr_name)
    try:
        assert Caller(4711, (member,)).may("down"), "of the group"
        assert not Caller(4711, (member,)).may("capture")
    finally:
        monkey.undo()
