"""GET /metrics on loopback: what comes back, to whom, and what a client cannot do."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest
import trio
from prometheus_client import CollectorRegistry, Metric

from vipnet.app.metrics import serve
from vipnet.app.metrics.serve import CONNECTIONS_MAX, serve_metrics
from vipnet.errors import HostError

OWN = "a.vipip.test"


class One:
    """A collector of one number."""

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        metric = Metric("vipnet_peers", "Peers.", "gauge")
        metric.add_sample("vipnet_peers", {"state": "active"}, 3)
        yield metric


def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(One())
    return made


def with_server(main: Callable[[int], Awaitable[None]]) -> None:
    async def everything() -> None:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                port: int = await nursery.start(serve_metrics, "127.0.0.1", 0, registry(), OWN)
                await main(port)
                nursery.cancel_scope.cancel()

    trio.run(everything)


async def exchange(port: int, request: str) -> tuple[str, dict[str, str], bytes]:
    """The status line, headers and body of what comes back until the end; no bytes at all are "" then."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(request.encode())
        reply = b"".join([part async for part in stream])
    head, _, body = reply.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return status, dict(line.lower().split(": ", 1) for line in lines), body


def get(path: str = "/metrics", *, method: str = "GET", host: str = "127.0.0.1", more: str = "") -> str:
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"


def test_a_prometheus_gets_the_text() -> None:
    async def main(port: int) -> None:
        status, headers, body = await exchange(port, get())
        assert status == "HTTP/1.1 200 OK"
        assert headers["content-type"].startswith("text/plain; version=0.0.4")
        assert (int(headers["content-length"]), headers["connection"]) == (len(body), "close")
        assert b'vipnet_peers{state="active"} 3.0' in body

    with_server(main)


def test_it_gets_the_form_that_it_asks_for() -> None:
    async def main(port: int) -> None:
        more = "Accept: application/openmetrics-text;version=1.0.0\r\nAccept-Encoding: gzip\r\n"
        _, headers, body = await exchange(port, get(more=more))
        assert headers["content-type"].startswith("application/openmetrics-text")
        assert headers["content-encoding"] == "gzip"
        assert gzip.decompress(body).endswith(b"# EOF\n")
        status, headers, body = await exchange(port, get(method="HEAD"))
        assert (status, body) == ("HTTP/1.1 200 OK", b"")
        assert int(headers["content-length"]) > 0

    with_server(main)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/"), "404 Not Found"),
        (get("/metrics/x"), "404 Not Found"),
        (get(method="POST"), "405 Method Not Allowed"),
        (get(host="evil.example:9847"), "421 Misdirected Request"),
        (get(host="["), "421 Misdirected Request"),
        (get(host=""), "421 Misdirected Request"),
        (get("/metrics?name=x"), "200 OK"),
        (get(host="[::1]:9847"), "200 OK"),
        (get(host="localhost:9847"), "200 OK"),
        (get(host=f"{OWN}.:9847"), "200 OK"),
    ],
)
def test_other_requests(request_: str, status: str) -> None:
    """A page that has made its own name lead to 127.0.0.1 reads nothing."""

    async def main(port: int) -> None:
        said, _, body = await exchange(port, request_)
        assert said == f"HTTP/1.1 {status}"
        assert (b"vipnet_peers" in body) == (status == "200 OK")

    with_server(main)


@pytest.mark.parametrize("nonsense", ["\x16\x03\x01\x02", "GET\r\n\r\n", "x" * 70_000, get(more="A: \0\r\n")])
def test_nonsense_ends_only_its_own_connection(nonsense: str) -> None:
    async def main(port: int) -> None:
        try:
            status, _, body = await exchange(port, nonsense + "\r\n\r\n")
        except trio.BrokenResourceError:  # reset, as there was more to read
            pass
        else:
            assert (status, body) == ("", b"")
        assert (await exchange(port, get()))[0] == "HTTP/1.1 200 OK"

    with_server(main)


def test_who_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "ANSWER_S", 0.05)

    async def main(port: int) -> None:
        assert await exchange(port, "GET /metrics HTTP/1.1\r\n") == ("", {}, b"")

    with_server(main)


def test_idle_clients_have_a_bound() -> None:
    """One more than may be is closed, and only one."""

    async def main(port: int) -> None:
        ended: list[trio.SocketStream] = []
        streams = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(CONNECTIONS_MAX + 1)]
        end_of_one = trio.Event()

        async def wait_for_end(stream: trio.SocketStream) -> None:
            assert await stream.receive_some() == b""
            ended.append(stream)
            end_of_one.set()

        async with trio.open_nursery() as nursery:
            for stream in streams:
                nursery.start_soon(wait_for_end, stream)
            await end_of_one.wait()
            nursery.cancel_scope.cancel()
        assert len(ended) == 1
        for stream in streams:
            await stream.aclose()
        status = ""
        while not status:  # until the server has noticed
            status, _, _ = await exchange(port, get())
        assert status == "HTTP/1.1 200 OK"

    with_server(main)


def test_a_port_that_cannot_be_had_is_a_line_for_the_user() -> None:
    async def refusal(host: str, port: int) -> str:
        async with trio.open_nursery() as nursery:
            with pytest.raises(HostError) as refused:
                await nursery.start(serve_metrics, host, port, registry(), OWN)
        return str(refused.value)

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = trio.run(refusal, "127.0.0.1", port)
    assert said.startswith(f"metrics: TCP port {port} of 127.0.0.1 is in use (`ss ")
    assert said.endswith("set another [metrics] port")
    said = trio.run(refusal, "192.0.2.77", 9847)
    assert said.startswith("metrics: TCP port 9847 of 192.0.2.77 cannot be had: ")
    assert said.endswith("set [metrics] address to one of this host")
