"""A small HTTPS server on trio and h11 that plays a provider, and a client that trusts it.

The name in the URL is the provider's real one: its certificate is checked, its address is ours.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import cache
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import h11
import outcome
import trio
import trustme
from msgspec import Struct

from vipnet.publish.httpclient import HttpClient
from vipnet.publish.secret import Secret

SECRET = Secret("pass word/+token&1")
NOON = 1_800_000_000.0
T = TypeVar("T")


class Request(Struct, frozen=True):
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Reply(Struct, frozen=True):
    status: int = 200
    body: bytes | str = b""
    headers: tuple[tuple[str, str], ...] = ()


def json_reply(value: object, status: int = 200, **headers: str) -> Reply:
    return Reply(status, json.dumps(value), tuple((k.replace("_", "-"), v) for k, v in headers.items()))


class Double(Struct):
    """`answer` decides; what was asked is kept in `requests`."""

    answer: Callable[[Request], Reply]
    requests: list[Request] = []

    async def serve(self, stream: trio.abc.Stream) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            request = await _read(connection, stream)
            if request is None:
                return
            self.requests.append(request)
            reply = self.answer(request)
            body = reply.body.encode() if isinstance(reply.body, str) else reply.body
            headers = [*reply.headers, ("Content-Length", str(len(body))), ("Connection", "close")]
            for event in (
                h11.Response(status_code=reply.status, headers=headers),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                await stream.send_all(connection.send(event) or b"")
        except (trio.BrokenResourceError, h11.RemoteProtocolError):
            pass  # a client that does not trust us, or has gone
        finally:
            await trio.aclose_forcefully(stream)


async def _read(connection: h11.Connection, stream: trio.abc.Stream) -> Request | None:
    head, body = None, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(65536)))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            url = urlsplit(head.target.decode())
            headers = {name.decode(): value.decode() for name, value in head.headers}
            query = dict(parse_qsl(url.query, keep_blank_values=True))
            return Request(head.method.decode(), url.path, query, headers, body)
        else:
            return None


@cache
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def serving(
    answer: Callable[[Request], Reply],
    name: str,
    *,
    certified: str = "",
    valid_from: datetime | None = None,
    told_time: Callable[[float], None] = lambda _unix_s: None,
) -> AsyncIterator[tuple[HttpClient, str, Double]]:
    """Yield a client, the base URL of NAME, and what is behind it; CERTIFIED: another name's certificate."""
    double = Double(answer)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority().issue_cert(certified or name, not_before=valid_from).configure_cert(context)
    trusting = ssl.create_default_context()
    authority().configure_trust(trusting)

    async def resolve(host: str) -> tuple[str, ...]:
        assert host == name
        return ("127.0.0.1",)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(_listen, double, context)
        port = listeners[0].transport_listener.socket.getsockname()[1]
        web = HttpClient(resolve, SECRET, trusting, now=lambda: NOON, told_time=told_time)
        yield web, f"https://{name}:{port}", double
        nursery.cancel_scope.cancel()


async def _listen(
    double: Double,
    context: ssl.SSLContext,
    *,
    task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED,
) -> None:
    await trio.serve_ssl_over_tcp(
        double.serve, 0, context, host="127.0.0.1", https_compatible=True, task_status=task_status
    )


def with_double(
    answer: Callable[[Request], Reply],
    name: str,
    use: Callable[[HttpClient, str, Double], Awaitable[T]],
    *,
    certified: str = "",
) -> T:
    """Run USE against a double of NAME; what it raises is raised as it is, in no group."""

    async def main() -> outcome.Outcome[T]:
        with trio.fail_after(30):
            async with serving(answer, name, certified=certified) as (web, url, double):
                return await outcome.acapture(use, web, url, double)
        raise AssertionError("unreachable")

    return trio.run(main).unwrap()
