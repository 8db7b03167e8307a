from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Self

import dns.flags
import dns.message
import dns.rrset
import pytest
import trio
import trio.lowlevel
from hypothesis import given
from hypothesis import strategies as st
from tests.bind import free_port

from vipnet.errors import HostError
from vipnet.system.resolver import (
    CLIENT_QUERIES_MAX,
    CONNECTIONS_MAX,
    PIPELINE_MAX,
    QUERIES_MAX,
    Resolver,
)
from vipnet.types import Locator

ANYWHERE = Locator("127.0.0.1", 1)
QUERY = dns.message.make_query("a.test", "TXT").to_wire()


def long_answer(query: bytes) -> bytes:
    """About 1,100 bytes."""
    response = dns.message.make_response(dns.message.from_wire(query))
    response.answer.append(dns.rrset.from_text("a.test.", 5, "IN", "TXT", *(f'"{n:0200}"' for n in range(5))))
    return response.to_wire(max_size=65535)


def serve(
    answer: Callable[[bytes, bool], Awaitable[bytes]], main: Callable[[Resolver, Locator], Awaitable[None]]
) -> None:
    """Run MAIN beside a resolver on a free port."""

    async def everything() -> None:
        with trio.fail_after(20):
            resolver = Resolver(Locator("127.0.0.1", free_port()), answer)
            async with trio.open_nursery() as nursery:
                where = await nursery.start(lambda task_status: resolver.run(task_status=task_status))
                await main(resolver, where)
                nursery.cancel_scope.cancel()

    trio.run(everything)


class Udp:
    def __init__(self, where: Locator) -> None:
        self._sock = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        self._where = (where.host, where.port)

    async def send(self, wire: bytes) -> None:
        await self._sock.sendto(wire, self._where)

    async def receive(self) -> bytes:
        reply: bytes = await self._sock.recv(65535)
        return reply

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()


async def read_tcp(stream: trio.SocketStream) -> bytes:
    """The next message, empty when the connection is closed."""
    data = b""
    while len(data) < 2 or len(data) < 2 + struct.unpack_from("!H", data)[0]:
        more = await stream.receive_some()
        if not more:
            return b""
        data += more
    return data[2:]


async def echo(query: bytes, tcp: bool) -> bytes:
    return query + (b"tcp" if tcp else b"udp")


def test_udp_and_tcp() -> None:
    async def main(resolver: Resolver, where: Locator) -> None:
        with Udp(where) as udp:
            await udp.send(QUERY)
            assert await udp.receive() == QUERY + b"udp"
        async with await trio.open_tcp_stream(where.host, where.port) as stream:
            for _ in range(2):  # a connection is for several queries
                await stream.send_all(struct.pack("!H", len(QUERY)) + QUERY)
                assert await read_tcp(stream) == QUERY + b"tcp"

    serve(echo, main)


@pytest.mark.parametrize(("payload", "whole"), [(None, False), (1000, False), (1232, True), (4096, True)])
def test_answers_fit_what_the_client_takes(payload: int | None, whole: bool) -> None:
    async def answer(query: bytes, tcp: bool) -> bytes:
        return long_answer(query)

    edns = None if payload is None else 0
    query = dns.message.make_query("a.test", "TXT", use_edns=edns, payload=payload or 0).to_wire()

    async def main(resolver: Resolver, where: Locator) -> None:
        with Udp(where) as udp:
            await udp.send(query)
            reply = dns.message.from_wire(await udp.receive())
        assert bool(reply.answer) is whole
        assert bool(reply.flags & dns.flags.TC) is not whole
        async with await trio.open_tcp_stream(where.host, where.port) as stream:
            await stream.send_all(struct.pack("!H", len(query)) + query)
            assert dns.message.from_wire(await read_tcp(stream)).answer

    serve(answer, main)


def test_a_slow_answer_holds_nobody_up() -> None:
    async def answer(query: bytes, tcp: bool) -> bytes:
        if query.endswith(b"slow"):
            await trio.sleep_forever()
        return query

    async def main(resolver: Resolver, where: Locator) -> None:
        with Udp(where) as udp:
            await udp.send(QUERY + b"slow")
            await udp.send(QUERY + b"fast")
            assert await udp.receive() == QUERY + b"fast"
        async with await trio.open_tcp_stream(where.host, where.port) as stream:
            for query in (QUERY + b"slow", QUERY + b"fast"):
                await stream.send_all(struct.pack("!H", len(query)) + query)
            assert await read_tcp(stream) == QUERY + b"fast"

    serve(answer, main)


def test_one_client_cannot_keep_the_others_out() -> None:
    release = trio.Event()

    async def answer(query: bytes, tcp: bool) -> bytes:
        await release.wait()
        return query

    async def main(resolver: Resolver, where: Locator) -> None:
        with Udp(where) as greedy, Udp(where) as modest:
            while resolver.counters["dns_overload"] == 0:
                await greedy.send(QUERY)
                await trio.lowlevel.checkpoint()
            await modest.send(QUERY + b"modest")
            release.set()
            assert await modest.receive() == QUERY + b"modest"
            answered = 0
            with trio.move_on_after(0.5):
                while answered <= CLIENT_QUERIES_MAX:
                    await greedy.receive()
                    answered += 1
            assert 0 < answered <= CLIENT_QUERIES_MAX
            await greedy.send(QUERY + b"again")
            while await greedy.receive() != QUERY + b"again":
                pass

    serve(answer, main)


def test_queries_beyond_the_bound_are_dropped_and_counted() -> None:
    release = trio.Event()
    answered = 0

    async def answer(query: bytes, tcp: bool) -> bytes:
        nonlocal answered
        answered += 1
        await release.wait()
        return query

    async def main(resolver: Resolver, where: Locator) -> None:
        with contextlib.ExitStack() as clients:
            while resolver.counters["dns_overload"] == 0:
                udp = clients.enter_context(Udp(where))
                for _ in range(CLIENT_QUERIES_MAX // 4):
                    await udp.send(QUERY)
                await trio.lowlevel.checkpoint()
            assert answered <= QUERIES_MAX
            release.set()
            with Udp(where) as udp:
                reply = b""
                while not reply:
                    await udp.send(QUERY + b"again")
                    with trio.move_on_after(0.1):
                        reply = await udp.receive()

    serve(answer, main)


def test_pipelined_queries_over_tcp_are_answered_as_they_get_ready() -> None:
    """RFC 7766 sections 6.2.1.1 and 7: in one write, split anywhere, answers in any order."""
    count = 3 * PIPELINE_MAX

    async def answer(query: bytes, tcp: bool) -> bytes:
        await trio.sleep(0.01 if query[-1] % 2 else 0)
        return query

    async def main(resolver: Resolver, where: Locator) -> None:
        queries = [QUERY + bytes([number]) for number in range(count)]
        data = b"".join(struct.pack("!H", len(query)) + query for query in queries)
        async with await trio.open_tcp_stream(where.host, where.port) as stream:
            await stream.send_all(data[:31])
            await trio.lowlevel.checkpoint()
            await stream.send_all(data[31:])
            await stream.send_eof()
            received, replies = b"", []
            while more := await stream.receive_some():
                received += more
            while received:
                size = 2 + struct.unpack_from("!H", received)[0]
                replies.append(received[2:size])
                received = received[size:]
        assert sorted(replies) == queries
        assert replies != queries

    serve(answer, main)


def test_an_answer_of_64_kb_over_tcp() -> None:
    async def answer(query: bytes, tcp: bool) -> bytes:
        return query + bytes(65_535 - len(query))

    async def main(resolver: Resolver, where: Locator) -> None:
        async with await trio.open_tcp_stream(where.host, where.port) as stream:
            await stream.send_all(struct.pack("!H", len(QUERY)) + QUERY)
            assert len(await read_tcp(stream)) == 65_535

    serve(answer, main)


def test_no_bytes_is_no_answer() -> None:
    async def answer(query: bytes, tcp: bool) -> bytes:
        return b"" if query == b"silence" else query

    async def main(resolver: Resolver, where: Locator) -> None:
        with Udp(where) as udp:
            await udp.send(b"silence")
            await udp.send(b"speak")
            assert await udp.receive() == b"speak"

    serve(answer, main)


def test_many_connections() -> None:
    async def main(resolver: Resolver, where: Locator) -> None:
        async def ask() -> None:
            async with await trio.open_tcp_stream(where.host, where.port) as stream:
                await stream.send_all(struct.pack("!H", len(QUERY)) + QUERY)
                assert await read_tcp(stream) == QUERY + b"tcp"

        async with trio.open_nursery() as nursery:
            for _ in range(CONNECTIONS_MAX + 20):
                nursery.start_soon(ask)

    serve(echo, main)


@pytest.mark.parametrize(
    "garbage",
    [b"\xff\xff" + b"x" * 5000, b"\0", b"\0\x20x", b"", b"\0\0"],
    ids=["too long", "half a length", "half a query", "nothing", "empty"],
)
def test_garbage_over_tcp_ends_the_connection_and_nothing_else(garbage: bytes) -> None:
    async def main(resolver: Resolver, where: Locator) -> None:
        async with await trio.open_tcp_stream(where.host, where.port) as stream:
            try:
                await stream.send_all(garbage)
                await stream.send_eof()
                while await read_tcp(stream):
                    pass
            except trio.BrokenResourceError:
                pass
        with Udp(where) as udp:
            await udp.send(QUERY)
            assert await udp.receive() == QUERY + b"udp"

    serve(echo, main)


def test_an_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vipnet.system.resolver.IDLE_S", 0.05)

    async def main(resolver: Resolver, where: Locator) -> None:
        async with await trio.open_tcp_stream(where.host, where.port) as stream:
            assert await read_tcp(stream) == b""

    serve(echo, main)


def test_a_client_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vipnet.system.resolver.IDLE_S", 0.1)

    async def answer(query: bytes, tcp: bool) -> bytes:
        return bytes(65535)

    async def main(resolver: Resolver, where: Locator) -> None:
        async with await trio.open_tcp_stream(where.host, where.port) as stream:
            try:
                while True:  # until the answers fill both buffers and it hangs up
                    await stream.send_all(struct.pack("!H", len(QUERY)) + QUERY)
            except trio.BrokenResourceError:
                return

    serve(answer, main)


@given(st.lists(st.binary(max_size=64), max_size=5))
def test_garbage_over_udp_is_only_passed_to_answer(datagrams: list[bytes]) -> None:
    async def main(resolver: Resolver, where: Locator) -> None:
        with Udp(where) as udp:
            for datagram in [*datagrams, b"end"]:
                await udp.send(datagram)
            while await udp.receive() != b"endudp":
                pass

    serve(echo, main)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_busy_port_says_who_and_what_to_do(kind: socket.SocketKind) -> None:
    port = free_port()
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", port))
        if kind is socket.SOCK_STREAM:
            other.listen()
        with pytest.raises(HostError, match=rf"127\.0\.0\.1:{port}.*another name server has it"):
            trio.run(Resolver(Locator("127.0.0.1", port), echo).run)


def test_an_address_that_is_not_ours_says_what_to_do() -> None:
    with pytest.raises(HostError, match=r"192\.0\.2\.1:5353 \(UDP\).*set \[dns\] listen"):
        trio.run(Resolver(Locator("192.0.2.1", 5353), echo).run)
