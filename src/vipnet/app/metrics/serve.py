"""GET /metrics, for a Prometheus that comes by itself: h11 reads, prometheus_client answers.

Who can reach the port learns whom this host speaks with, so it is off unless asked for and on
loopback unless said otherwise. A web page that a browser on this host has open must not read it
either: it could make its own name lead here (DNS rebinding), so names are refused but our own.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import h11
import trio
from prometheus_client import make_asgi_app

from vipnet.errors import HostError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

CONNECTIONS_MAX: Final = 8  # one is enough for a Prometheus; what comes then is closed at once
ANSWER_S: Final = 10.0  # Prometheus' own scrape_timeout
_READ: Final = 4096  # bytes; h11 takes 16 KiB of headers at most
_GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError)


async def serve_metrics(
    host: str,
    port: int,
    registry: CollectorRegistry,
    own_name: str,
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer at HOST and PORT until cancelled; tell the port. Raise HostError when it cannot be had."""
    app, connections = make_asgi_app(registry), 0

    async def serve_client(stream: trio.SocketStream) -> None:
        nonlocal connections
        async with stream:
            if connections >= CONNECTIONS_MAX:
                return
            connections += 1
            try:
                with trio.move_on_after(ANSWER_S):
                    await _answer(stream, app, own_name)
            except _GONE:
                pass  # it left, or speaks something else
            finally:
                connections -= 1

    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise _refused(host, port, error) from None
    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(serve_client, listeners)


def _refused(host: str, port: int, error: OSError) -> HostError:
    if error.errno == errno.EADDRINUSE:
        why = f"is in use (`ss -lntp sport = :{port}` says by what); set another [metrics] port"
    else:
        why = f"cannot be had: {error.strerror or error}; set [metrics] address to one of this host"
    return HostError(f"metrics: TCP port {port} of {host} {why}")


async def _answer(stream: trio.SocketStream, app: Callable[..., Any], own_name: str) -> None:
    """One request, then the connection ends: a scrape a quarter of a minute needs no more."""
    http = h11.Connection(h11.SERVER)
    request = await _request(stream, http)
    if request is None:
        return
    path = urlsplit(request.target.decode("ascii", "replace")).path
    headers = [(name, value) for name, value in request.headers]
    refusal = _refusal(request.method, path, dict(headers).get(b"host", b""), own_name)
    if refusal is None:
        status, headers, body = await _scrape(app, headers)
    else:
        status, headers, body = refusal, [(b"content-type", b"text/plain")], refusal.phrase.encode() + b"\n"
    headers += [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    reply = http.send(h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase))
    reply += http.send(h11.Data(data=b"" if request.method == b"HEAD" else body)) or b""
    await stream.send_all(reply + (http.send(h11.EndOfMessage()) or b""))


async def _request(stream: trio.SocketStream, http: h11.Connection) -> h11.Request | None:
    """The head of a request; None when the client leaves before its end. Raise h11.ProtocolError."""
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(await stream.receive_some(_READ))
    return event if isinstance(event, h11.Request) else None


def _refusal(method: bytes, path: str, host: bytes, own_name: str) -> HTTPStatus | None:
    """Why a request is not answered with metrics; None: it is."""
    if not _is_ours(host.decode("ascii", "replace"), own_name):
        return HTTPStatus.MISDIRECTED_REQUEST
    if path != "/metrics":
        return HTTPStatus.NOT_FOUND
    return None if method in (b"GET", b"HEAD") else HTTPStatus.METHOD_NOT_ALLOWED


def _is_ours(host: str, own_name: str) -> bool:
    """Whether a Host header names us: by address, as localhost, or by our name."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return False
    if name in ("localhost", own_name):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


async def _scrape(
    app: Callable[..., Any], headers: list[tuple[bytes, bytes]]
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """What prometheus_client answers to HEADERS: the format and compression that they ask for."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app({"type": "http", "headers": headers, "query_string": b""}, receive, send)
    start, body = sent
    return start["status"], list(start["headers"]), body["body"]
