"""The DNS server that applications ask: UDP and TCP on a loopback address.

It only moves messages; what they are answered with is decided elsewhere. Everything
is bounded: a query more than that is dropped, and the client's stub asks again.
"""

from __future__ import annotations

import errno
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import trio

from vipnet.errors import HostError
from vipnet.names.message import fit, udp_limit
from vipnet.types import Locator

QUERIES_MAX: Final = 512  # UDP queries being answered
CLIENT_QUERIES_MAX: Final = 128  # of one socket, so that nobody's flood keeps the others out
CONNECTIONS_MAX: Final = 64
PIPELINE_MAX: Final = 16  # queries of one connection being answered; RFC 7766 section 6.2.1.1
IDLE_S: Final = 10.0  # an idle connection is closed; RFC 7766 section 6.2.3
QUERY_MAX: Final = 4096  # bytes; no stub sends more

Answer = Callable[[bytes, bool], Awaitable[bytes]]


class Resolver:
    """Serve ANSWER at LISTEN.

    answer  gets a query's bytes and whether it came over TCP; no bytes back: no answer
    """

    def __init__(self, listen: Locator, answer: Answer) -> None:
        self.counters: Counter[str] = Counter()
        self._listen, self._answer = listen, answer
        self._answering: Counter[tuple[object, ...]] = Counter()

    async def run(self, *, task_status: trio.TaskStatus[Locator] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; tell the address listened on. Raise HostError when it cannot be had."""
        with await self._bind_udp() as udp:
            host, port = udp.getsockname()[:2]
            where = Locator(host, port)
            tcp = await self._listen_tcp(where)
            async with trio.open_nursery() as nursery:
                for listener in tcp:
                    nursery.start_soon(self._serve_tcp, listener)
                task_status.started(where)
                await self._serve_udp(udp, nursery)

    async def _bind_udp(self) -> trio.socket.SocketType:
        family = trio.socket.AF_INET6 if ":" in self._listen.host else trio.socket.AF_INET
        udp = trio.socket.socket(family, trio.socket.SOCK_DGRAM)
        try:
            await udp.bind((self._listen.host, self._listen.port))
        except OSError as error:
            udp.close()
            raise _cannot_listen(self._listen, "UDP", error) from None
        return udp

    async def _listen_tcp(self, where: Locator) -> list[trio.SocketListener]:
        try:
            return await trio.open_tcp_listeners(where.port, host=where.host)
        except OSError as error:
            raise _cannot_listen(where, "TCP", error) from None

    async def _serve_udp(self, udp: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        async def answer(query: bytes, client: tuple[object, ...]) -> None:
            try:
                reply = await self._answer(query, False)
                if reply:
                    with suppress(OSError):  # the client is gone
                        await udp.sendto(fit(reply, udp_limit(query)), client)
            finally:
                self._answering[client] -= 1
                if not self._answering[client]:
                    del self._answering[client]

        while True:
            try:
                query, client = await udp.recvfrom(QUERY_MAX)
            except OSError:  # the ICMP error that an earlier answer caused
                continue
            under_way = self._answering[client]
            if under_way >= CLIENT_QUERIES_MAX or self._answering.total() >= QUERIES_MAX:
                self.counters["dns_overload"] += 1
                continue
            self._answering[client] = under_way + 1
            nursery.start_soon(answer, query, client)

    async def _serve_tcp(self, listener: trio.SocketListener) -> None:
        places = trio.Semaphore(CONNECTIONS_MAX)

        async def serve(stream: trio.SocketStream) -> None:
            try:
                async with stream:
                    await self._serve_connection(stream)
            finally:
                places.release()

        async with listener, trio.open_nursery() as nursery:
            while True:
                await places.acquire()  # further clients wait in the kernel's queue
                try:
                    stream = await listener.accept()
                except OSError:  # out of file descriptors
                    places.release()
                    self.counters["dns_overload"] += 1
                    await trio.sleep(0.1)
                    continue
                nursery.start_soon(serve, stream)

    async def _serve_connection(self, stream: trio.SocketStream) -> None:
        places = trio.Semaphore(PIPELINE_MAX)
        sending = trio.Lock()

        async def send(reply: bytes) -> None:
            async with sending:
                with suppress(trio.BrokenResourceError), trio.move_on_after(IDLE_S) as patience:
                    await stream.send_all(reply)
            if patience.cancelled_caught:  # it asks and does not read
                nursery.cancel_scope.cancel()

        async def answer(query: bytes) -> None:
            try:
                reply = await self._answer(query, True)
                if reply:
                    await send(struct.pack("!H", len(reply)) + reply)
            finally:
                places.release()

        async with trio.open_nursery() as nursery:
            while True:
                await places.acquire()
                query = await _read_query(stream)
                if query is None:
                    return  # after the answers under way
                nursery.start_soon(answer, query)


async def _read_query(stream: trio.SocketStream) -> bytes | None:
    """Return the next query, None when the client has closed, is idle, or sends too much."""
    with suppress(trio.BrokenResourceError), trio.move_on_after(IDLE_S):
        header = await _read_exactly(stream, 2)
        if header is None:
            return None
        (length,) = struct.unpack("!H", header)
        return await _read_exactly(stream, length) if length <= QUERY_MAX else None
    return None


async def _read_exactly(stream: trio.SocketStream, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        more = await stream.receive_some(size - len(data))
        if not more:
            return None
        data += more
    return bytes(data)


def _cannot_listen(where: Locator, protocol: str, error: OSError) -> HostError:
    if error.errno == errno.EADDRINUSE:
        mend = f"another name server has it (`ss -lnp sport = {where.port}` shows which); set [dns] listen"
    elif error.errno == errno.EACCES:
        mend = "ports below 1024 need root or CAP_NET_BIND_SERVICE"
    elif error.errno == errno.EADDRNOTAVAIL:
        mend = "no interface has this address; is lo up? Or set [dns] listen"
    else:
        mend = "set [dns] listen to another address"
    return HostError(f"resolver: cannot listen at {where} ({protocol}): {error.strerror}; {mend}")
