"""The control socket: how the command line speaks to a running daemon.

One line of JSON each way, over a Unix socket in the run directory:

    {"op": "resolve", "name": "b.vipip.net"}
    {"ok": true, "result": {...}}
    {"ok": false, "error": "one line for people", "exit": 1}

A *feed* is answered with such a line, and then with whatever it has to tell until the client goes.

The kernel vouches for who is at the other end (unix(7), SO_PEERCRED). Everybody may
look; only root, the daemon's own user and the group `vipnet` may change something; what
applications say and session keys are for root alone.
"""

from __future__ import annotations

import grp
import json
import logging
import os
import socket
import struct
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Final

import msgspec
import trio
from msgspec import Struct

from vipnet.errors import ConfigError, HostError, NotReadyError, NotRunningError, VipnetError

Handler = Callable[[dict[str, Any]], Awaitable[object]]
"""Take a request's parameters, return what JSON can say.

A VipnetError or ValueError is the user's answer; anything else is a fault of ours.
"""

Feed = Callable[[dict[str, Any]], AsyncGenerator[bytes, None]]
"""Take a request's parameters, and return what is sent piece by piece; refusals are those of a Handler."""

SOCKET_NAME: Final = "control.sock"
EVERYBODY: Final = frozenset({"status", "peers", "moves", "metrics", "resolve", "ping"})
ROOT_ONLY: Final = frozenset({"capture", "key_log"})
GROUP: Final = "vipnet"

REQUEST_MAX: Final = 4096  # bytes of one request: a name and a few flags
REPLY_MAX: Final = 2**24  # bytes; `status` of 10,000 peers takes a third
CONNECTIONS_MAX: Final = 16  # open at once, a user: one user's must not shut out root's `down`
IDLE_S: Final = 30.0  # a connection that asks nothing is closed
ANSWER_S: Final = 15.0  # the slowest op, `resolve`, gives up after 3 s

_SO_PEERGROUPS = 59  # asm-generic/socket.h, Linux 4.13; Python has no name for it
_OPTION_MAX = 1024  # bytes Python reads of one socket option: 256 groups

log = logging.getLogger(__name__)

# --- which error is which exit status, on both sides of the socket

_EXIT_STATUS: dict[type[VipnetError], int] = {ConfigError: 2, NotReadyError: 3, NotRunningError: 4}
_ERROR_OF = {status: kind for kind, status in _EXIT_STATUS.items()}


def exit_status(error: VipnetError) -> int:
    """1 failed, 2 usage or config, 3 not ready, 4 daemon not running."""
    return next((status for kind, status in _EXIT_STATUS.items() if isinstance(error, kind)), 1)


def vipnet_error(error: BaseException) -> VipnetError | None:
    """Return the reason in ERROR, out of trio's groups; None when a part of it is a fault of ours."""
    if isinstance(error, VipnetError):
        return error
    if isinstance(error, BaseExceptionGroup):
        reasons = [vipnet_error(part) for part in error.exceptions]
        return None if None in reasons else reasons[0]
    return None


# --- the daemon's side


class Caller(Struct, frozen=True):
    """Who is at the other end of a connection, as the kernel says."""

    uid: int
    groups: tuple[int, ...]

    @classmethod
    def of(cls, connection: trio.socket.SocketType) -> Caller:
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _pid, uid, gid = struct.unpack("3i", raw)
        try:
            more = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _OPTION_MAX)
        except OSError:  # an older kernel, or more groups than fit
            more = b""
        return cls(uid, (gid, *struct.unpack(f"{len(more) // 4}I", more)))

    def may(self, op: str) -> bool:
        if op in EVERYBODY or self.uid in (0, os.geteuid()):
            return True
        if op in ROOT_ONLY:
            return False
        try:
            return grp.getgrnam(GROUP).gr_gid in self.groups
        except KeyError:
            return False


async def serve_control(
    path: Path,
    handlers: Mapping[str, Handler],
    feeds: Mapping[str, Feed] = MappingProxyType({}),
    *,
    task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer requests at PATH until cancelled; the socket is there when started() is called.

    A socket that a crash left at PATH is replaced: who calls this holds the run directory's
    lock. Raise HostError when PATH cannot be made.
    """
    connections: Counter[int] = Counter()

    async def serve_client(stream: trio.SocketStream) -> None:
        caller = Caller.of(stream.socket)
        async with stream:
            if connections[caller.uid] >= CONNECTIONS_MAX:
                return
            connections[caller.uid] += 1
            try:
                await _serve_requests(stream, caller, handlers, feeds)
            except trio.BrokenResourceError:
                pass  # the client left before its answer
            finally:
                connections[caller.uid] -= 1

    with _listen(path) as listening:
        try:
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
            await trio.serve_listeners(serve_client, [listener], task_status=task_status)
        finally:
            os.unlink(path)  # noqa: PTH108 - quick, and not to be cancelled


def _listen(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        listening.bind(str(path))
        path.chmod(0o666)  # each request is checked by itself
        listening.listen(socket.SOMAXCONN)
    except OSError as error:
        listening.close()
        reason = error.strerror or str(error)
        raise HostError(f"no control socket at {path}: {reason}; set run_dir to another directory") from None
    return listening


async def _serve_requests(
    stream: trio.SocketStream, caller: Caller, handlers: Mapping[str, Handler], feeds: Mapping[str, Feed]
) -> None:
    pending = bytearray()
    while True:
        line = None
        with trio.move_on_after(IDLE_S):
            line = await _read_line(stream, pending)
        if line is None:
            return
        reply = await _answer(line, caller, handlers, feeds)
        if isinstance(reply, AsyncGenerator):
            await _send_feed(stream, reply)
            return
        with trio.move_on_after(IDLE_S) as sending:
            await stream.send_all(reply + b"\n")
        if sending.cancelled_caught:
            return


async def _send_feed(stream: trio.SocketStream, feed: AsyncGenerator[bytes, None]) -> None:
    """Send FEED until it ends or the client goes."""

    async def see_it_go() -> None:
        with suppress(trio.BrokenResourceError):
            while await stream.receive_some(REQUEST_MAX):
                pass
        nursery.cancel_scope.cancel()

    async with aclosing(feed), trio.open_nursery() as nursery:
        nursery.start_soon(see_it_go)
        with suppress(trio.BrokenResourceError):
            await stream.send_all(msgspec.json.encode({"ok": True, "result": {}}) + b"\n")
            async for piece in feed:
                await stream.send_all(piece)
        nursery.cancel_scope.cancel()


async def _read_line(stream: trio.SocketStream, pending: bytearray) -> bytes | None:
    """Return the next line without its end, None when the client is gone or never ends its line."""
    while (end := pending.find(b"\n")) < 0:
        if len(pending) > REQUEST_MAX:
            return None
        data = await stream.receive_some(REQUEST_MAX)
        if not data:
            return None
        pending += data
    line = bytes(pending[:end])
    del pending[: end + 1]
    return line


async def _answer(
    line: bytes, caller: Caller, handlers: Mapping[str, Handler], feeds: Mapping[str, Feed]
) -> bytes | AsyncGenerator[bytes, None]:
    try:
        request = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        return _refusal(f"not a request: {error}")
    op = request.pop("op", None)
    if not isinstance(op, str) or op not in {*handlers, *feeds}:
        return _refusal(
            f"the daemon knows no {op!r}: it is of another version; run `vipnet down`, `vipnet up`"
        )
    if not caller.may(op):
        whom = "root alone" if op in ROOT_ONLY else f"root and the group {GROUP}"
        return _refusal(f"`{op}` is for {whom}: use sudo")
    try:
        if op in feeds:
            return feeds[op](request)
        return msgspec.json.encode({"ok": True, "result": await handlers[op](request)}, enc_hook=_as_text)
    except ValueError as error:
        return _refusal(str(error))
    except Exception as error:
        reason = vipnet_error(error)
        if reason is not None:
            return _refusal(str(reason), exit_status(reason))
        log.exception("control.failed", extra={"op": op})
        return _refusal(f"`{op}` failed inside the daemon ({type(error).__name__}): its log says more")


def _refusal(error: str, status: int = 1) -> bytes:
    return msgspec.json.encode({"ok": False, "error": " ".join(error.split()), "exit": status})


def _as_text(value: object) -> str:
    if isinstance(value, IPv4Address | IPv6Address | Path):
        return str(value)
    raise NotImplementedError(f"no JSON form for {type(value).__name__}")


# --- the command line's side


class _Reply(Struct, frozen=True):
    """One line of a daemon's: what it was asked for, or why not."""

    ok: bool
    result: dict[str, Any] = {}
    error: str = ""
    exit: int = 1


class Answer(dict[str, Any]):
    """What a daemon answers, and objects in it. After an upgrade it may be one of before, which says less."""

    def __missing__(self, key: str) -> Any:  # noqa: ANN401
        raise HostError(
            f"the daemon that runs is another version's: it does not say `{key}`; "
            "`vipnet down && vipnet up` starts this one"
        )


def _as_answer(value: Any) -> Any:  # noqa: ANN401
    """VALUE with an Answer for each object."""
    if isinstance(value, dict):
        return Answer((key, _as_answer(inner)) for key, inner in value.items())
    return [_as_answer(inner) for inner in value] if isinstance(value, list) else value


def ask_daemon(run_dir: Path, op: str, timeout_s: float = ANSWER_S, /, **params: object) -> dict[str, Any]:
    """Return what the daemon answers to OP.

    Raise NotRunningError when none is there or it hangs, else the daemon's own refusal as the
    VipnetError that has its exit status. What an older daemon leaves out raises HostError when it is
    looked at.
    """
    with _asking(run_dir, op, params, timeout_s) as (result, _connection, _stream):
        return result


@contextmanager
def open_feed(run_dir: Path, op: str, **params: object) -> Iterator[tuple[BinaryIO, Callable[[], object]]]:
    """What the daemon sends by the feed OP, and how to end that, from a signal's handler too.

    Reading waits for ever. Raise what ask_daemon() raises.
    """
    with _asking(run_dir, op, params, ANSWER_S) as (_result, connection, stream):
        connection.settimeout(None)
        yield stream, partial(connection.shutdown, socket.SHUT_RDWR)


@contextmanager
def _asking(
    run_dir: Path, op: str, params: Mapping[str, object], timeout_s: float
) -> Iterator[tuple[dict[str, Any], socket.socket, BinaryIO]]:
    """The answer to OP, the connection, and what follows on it."""
    path = run_dir / SOCKET_NAME
    request = json.dumps({"op": op, **params}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rb") as stream:
        line = _converse(connection, stream, path, request, timeout_s)
        if not line.endswith(b"\n"):
            raise NotRunningError("the daemon went away before it answered: see `vipnet status`")
        try:
            reply = msgspec.json.decode(line, type=_Reply)
        except msgspec.DecodeError:
            raise VipnetError(f"what listens at {path} is no vipnet daemon: set another run_dir") from None
        if not reply.ok:
            raise _ERROR_OF.get(reply.exit, VipnetError)(reply.error)
        yield _as_answer(reply.result), connection, stream


def _converse(
    connection: socket.socket, stream: BinaryIO, path: Path, request: bytes, timeout_s: float
) -> bytes:
    """Send REQUEST to the daemon that listens at PATH, and return the first line of its answer."""
    try:
        connection.settimeout(timeout_s)
        connection.connect(str(path))
        connection.sendall(request)
        return stream.readline(REPLY_MAX)
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunningError(f"the daemon is not running (nothing listens at {path}): `vipnet up`") from None
    except TimeoutError:
        raise NotRunningError(
            f"the daemon does not answer within {timeout_s:g} s: see {path.parent}/vipnet.log"
        ) from None
    except OSError as error:
        reason = error.strerror or error
        raise VipnetError(f"the daemon cannot be asked at {path}: {reason}; try as root") from None


def text(params: dict[str, Any], key: str) -> str:
    """The string that a request gives for KEY. Raise ConfigError."""
    value = params.get(key)
    if not isinstance(value, str):
        raise ConfigError(f"{key} is missing: the request must have it")
    return value
