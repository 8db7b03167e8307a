"""One DNS question to one server, over UDP or TCP.

Right after a move the first datagram may die for want of a route or a neighbour, and
the answer to one that left from the old address never comes. So a question goes out
of a socket bound to no address, and again soon: the same bytes, from wherever the
host is by then.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

import trio

from vipnet.errors import LookupFailedError
from vipnet.types import Locator

RETRY_S: Final = 0.05  # of a datagram, doubling ...
ROUTE_RETRY_S: Final = 0.005  # of one that could not leave: routes come right after addresses; doubling ...
RETRY_MAX_S: Final = 1.6  # ... to this

# linux/in.h, linux/in6.h and linux/errqueue.h; the module socket has no names for them.
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_ERROR_SIZE = 64  # bytes of ancillary data, with a sock_extended_err and an offender's address

Accept = Callable[[bytes], bool]
T = TypeVar("T")


async def ask_udp(
    query: bytes,
    server: Locator,
    accept: Accept,
    *,
    retry_s: float = RETRY_S,
    wanted: Callable[[], bool] = lambda: True,
) -> bytes:
    """Return SERVER's first answer that ACCEPT takes; anything else is ignored as forged.

    Asks again for ever; the caller sets the deadline. Raise LookupFailedError when the
    server's host says that nobody listens there, or WANTED is no longer true.
    """
    with _open(server) as sock:
        address = _address(server)
        route_retry_s = ROUTE_RETRY_S
        while True:
            if not wanted():
                raise LookupFailedError(f"{server} is no name server of this network any more")
            try:
                sock.sendto(query, address)
            except OSError:  # no route at this moment
                pause_s, route_retry_s = route_retry_s, min(2 * route_retry_s, RETRY_MAX_S)
            else:
                pause_s, retry_s = retry_s, min(2 * retry_s, RETRY_MAX_S)
            with trio.move_on_after(pause_s):
                return await _receive(sock, server, address, accept)


async def ask_tcp(query: bytes, server: Locator, accept: Accept) -> bytes:
    """Like ask_udp over a TCP connection of its own; any trouble with it is a LookupFailedError."""
    try:
        async with await trio.open_tcp_stream(server.host, server.port) as stream:
            await stream.send_all(struct.pack("!H", len(query)) + query)
            while True:
                (length,) = struct.unpack("!H", await _receive_exactly(stream, 2))
                reply = await _receive_exactly(stream, length)
                if accept(reply):
                    return reply
    except OSError as error:
        why = error.strerror or str(error)
    except (trio.BrokenResourceError, EOFError):
        why = "connection closed"
    raise LookupFailedError(f"{server} over TCP: {why}")


async def first(attempts: Sequence[Callable[[], Awaitable[T]]], stagger_s: float) -> T:
    """Return the first result; the next attempt starts after STAGGER_S or when the one before failed.

    Raise the LookupFailedError of the only attempt, or one that tells what all said.
    """
    if len(attempts) == 1:  # nearly always; tasks cost as much as all the rest
        return await attempts[0]()
    results: list[T] = []
    errors: list[LookupFailedError] = []

    async def attempt(make: Callable[[], Awaitable[T]], ended: trio.Event) -> None:
        try:
            results.append(await make())
            nursery.cancel_scope.cancel()
        except LookupFailedError as error:
            errors.append(error)
        finally:
            ended.set()

    async with trio.open_nursery() as nursery:
        for make in attempts:
            ended = trio.Event()
            nursery.start_soon(attempt, make, ended)
            with trio.move_on_after(stagger_s):
                await ended.wait()
    if results:
        return results[0]
    if len(errors) == 1:
        raise errors[0]
    raise LookupFailedError("; ".join(dict.fromkeys(map(str, errors)))) from (errors[0] if errors else None)


def has_route(server: Locator) -> bool:
    """True when the host has a route to SERVER now; sends nothing."""
    try:
        with _open(server) as sock:
            sock.connect(_address(server))
    except (OSError, LookupFailedError):
        return False
    return True


def _open(server: Locator) -> socket.socket:
    """A socket bound to no address: each send takes the source that is right by then."""
    ipv6 = ":" in server.host
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as error:  # a kernel without IPv6, too many open files
        raise LookupFailedError(f"{server}: {error.strerror}") from None
    if ipv6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
    return sock


def _address(server: Locator) -> tuple[str, int] | tuple[str, int, int, int]:
    """What the socket calls take; a link-local server's scope ("fe80::1%eth0") becomes a number."""
    host, _, scope = server.host.partition("%")
    if ":" not in host:
        return host, server.port
    if not scope:
        return host, server.port, 0, 0
    try:
        return host, server.port, 0, socket.if_nametoindex(scope)
    except OSError:
        raise LookupFailedError(f"{server}: there is no interface {scope}") from None


async def _receive(
    sock: socket.socket, server: Locator, address: tuple[str | int, ...], accept: Accept
) -> bytes:
    while True:
        await trio.lowlevel.wait_readable(sock)
        try:
            reply, source = sock.recvfrom(65535)
        except OSError:
            # An ICMP error, ours or left by a send. Only "refused" is final: routes come back.
            if errno.ECONNREFUSED in _queued_errors(sock):
                raise LookupFailedError(f"{server}: nobody listens there") from None
            continue
        if (source[0].partition("%")[0], source[1]) == address[:2] and accept(reply):
            return reply


def _queued_errors(sock: socket.socket) -> set[int]:
    """Take the ICMP errors off SOCK, or it stays readable for ever (ip(7), IP_RECVERR)."""
    errors = set()
    with suppress(BlockingIOError):
        while True:
            _, ancillary, _, _ = sock.recvmsg(0, _ERROR_SIZE, socket.MSG_ERRQUEUE)
            for _, kind, data in ancillary:
                if kind in (_IP_RECVERR, _IPV6_RECVERR) and len(data) >= 4:
                    errors.add(struct.unpack_from("=I", data)[0])
    return errors


async def _receive_exactly(stream: trio.SocketStream, size: int) -> bytes:
    """Raise EOFError when the other end closes before that."""
    data = bytearray()
    while len(data) < size:
        more = await stream.receive_some(size - len(data))
        if not more:
            raise EOFError
        data += more
    return bytes(data)
