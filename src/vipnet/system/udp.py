"""The UDP sockets that carry everything between hosts: one IPv4, one IPv6 where the kernel has it."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
from collections.abc import Collection, Mapping, Sequence
from ipaddress import ip_address
from typing import Final, Protocol

import trio

from vipnet.errors import HostError
from vipnet.types import Locator

_DATAGRAM_MAX: Final = 65_535  # bytes
_BUFFER_BYTES: Final = 4 << 20  # each way; 30 ms at 1 Gbit/s
_TTL: Final = 64
_CACHE_MAX: Final = 4096  # sources remembered as Locators
_TURN: Final = 16  # datagrams after which the other family is heard first

# linux/in.h, linux/in6.h, asm-generic/socket.h: what the socket module has no name for
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT = 10, 23, 0
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_IP_PKTINFO: Final = 8
_IN_PKTINFO = struct.Struct("=i4s4s")  # interface, source, (receiving only)
_IN6_PKTINFO = struct.Struct("=16si")  # source, interface

_Control = list[tuple[int, int, bytes]]


class DatagramSockets(Protocol):
    """What the daemon needs of the network; tests have one in memory."""

    async def receive(self) -> tuple[bytes, Locator]: ...

    def receive_nowait(self) -> tuple[bytes, Locator] | None: ...

    def send(
        self, payload: bytes | memoryview, destination: Locator, source: str | None, /
    ) -> OSError | None: ...

    def use_interfaces(self, indices: Mapping[str, int], detours: Collection[str] = (), /) -> None: ...

    def close(self) -> None: ...


class UdpSockets:
    """Both sockets, bound to PORT of all addresses, as one.

    dscp  codepoint of the outer header (RFC 2474)

    Raise HostError when the port cannot be had.
    """

    def __init__(self, port: int, *, dscp: int = 0) -> None:
        self._sockets: dict[bool, socket.socket] = {}  # by "is IPv6"
        self._known: dict[tuple[str, int], Locator] = {}
        self._indices: dict[str, int] = {}
        self._controls: dict[str, _Control] = {}
        self._detours: frozenset[str] = frozenset()
        self._past: dict[str, _Control] = {}  # by destination: what keeps datagrams out of a detour
        # One thing to wait for instead of two: an epoll is readable when a member is.
        self._ready = select.epoll()
        self._turn = 0
        self.lost = 0  # datagrams from sources that no answer can reach
        try:
            self._add(_open_ipv4(port, dscp))
            # Port 0 is for tests: the kernel chose one, IPv6 takes the same.
            self.port: int = self._sockets[False].getsockname()[1]
            with contextlib.suppress(_NoIPv6Error):
                self._add(_open_ipv6(self.port, dscp))
        except OSError as error:
            self.close()
            raise HostError(_refusal(port, error)) from None

    def _add(self, sock: socket.socket) -> None:
        self._sockets[sock.family == socket.AF_INET6] = sock
        self._ready.register(sock, select.EPOLLIN)

    async def receive(self) -> tuple[bytes, Locator]:
        """Return the next datagram and where it came from.

        Raise trio.ClosedResourceError after close().
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            if received := self.receive_nowait():
                # Let others run, but do not lose the datagram to a cancellation.
                await trio.lowlevel.cancel_shielded_checkpoint()
                return received
            if self._ready.closed:
                raise trio.ClosedResourceError
            await trio.lowlevel.wait_readable(self._ready.fileno())

    def receive_nowait(self) -> tuple[bytes, Locator] | None:
        """Return the next datagram that is there already, and where it came from; None: there is none."""
        for sock in self._in_turn():
            if received := self._receive_from(sock):
                return received
        return None

    def _in_turn(self) -> Sequence[socket.socket]:
        """IPv4 first, and every now and then IPv6: a flood of one must not silence the other."""
        self._turn = (self._turn + 1) % _TURN
        sockets = tuple(self._sockets.values())
        return sockets if self._turn else sockets[::-1]

    def _receive_from(self, sock: socket.socket) -> tuple[bytes, Locator] | None:
        try:
            payload, address = sock.recvfrom(_DATAGRAM_MAX)
        except OSError:
            # Nothing there, or an ICMP error about something sent earlier: the protocol
            # has its own opinion of what a path is worth. Reading has cleared it.
            return None
        key = address[:2]
        source = self._known.get(key) or self._remember(key)
        return None if source is None else (payload, source)

    def _remember(self, key: tuple[str, int]) -> Locator | None:
        """KEY as a Locator; None when it cannot be answered: port 0, or an address that needs a scope."""
        host, port = key
        if port == 0 or ip_address(host).is_link_local:
            self.lost += 1
            return None
        if len(self._known) >= _CACHE_MAX:
            self._known.clear()  # sources are forged more easily than remembered
        return self._known.setdefault(key, Locator(host, port))

    def send(
        self, payload: bytes | memoryview, destination: Locator, source: str | None = None
    ) -> OSError | None:
        """Send PAYLOAD, from the address SOURCE by its own interface; None leaves both to the kernel.

        Return what went wrong: no route, no such source, no buffer. Never wait, never raise OSError.
        """
        is_ipv6 = ":" in destination.host
        sock = self._sockets.get(is_ipv6)
        if sock is None or (source is not None and (":" in source) != is_ipv6):
            # The kernel would silently take another source for one of the other family.
            return OSError(errno.EAFNOSUPPORT, f"no way from {source or 'here'} to {destination}")
        try:
            if source is not None:
                control = self._controls.get(source) or self._control(source)
                sock.sendmsg((payload,), control, 0, (destination.host, destination.port))
            elif self._detours:
                sock.sendmsg(
                    (payload,), self._past_detours(destination), 0, (destination.host, destination.port)
                )
            else:
                sock.sendto(payload, (destination.host, destination.port))
        except OSError as error:
            return error
        return None

    def use_interfaces(self, indices: Mapping[str, int], detours: Collection[str] = ()) -> None:
        """Let datagrams from each of these addresses, best first, leave by the interface of this index.

        Without it the kernel would choose the interface by destination alone, and a second
        network would carry nothing.

        detours  addresses from which nothing is to leave unless it is asked for: where the
                 kernel would choose one of them, the best interface is used
        """
        self._indices, self._detours = dict(indices), frozenset(detours)
        self._controls.clear()
        self._past.clear()

    def _past_detours(self, destination: Locator) -> _Control:
        """What goes with datagrams to DESTINATION so that they do not leave by a detour; mostly nothing.

        A rule such as wg-quick's sends everything into the tunnel, but a route that leads to
        another interface than the one asked for does not match (ip-rule(8), fib_lookup).
        Raise OSError when there is no way at all.
        """
        control = self._past.get(destination.host)
        if control is None:
            control = []
            if _natural_source(destination) in self._detours:
                is_ipv6 = ":" in destination.host
                best = next((index for host, index in self._indices.items() if (":" in host) == is_ipv6), 0)
                control = [_packet_info("::" if is_ipv6 else "0.0.0.0", best)]  # noqa: S104 - not bound to
            if len(self._past) >= _CACHE_MAX:
                self._past.clear()
            self._past[destination.host] = control
        return control

    def _control(self, source: str) -> _Control:
        """The ancillary data that sets a datagram's source (ip(7), ipv6(7)); raise OSError for no address."""
        control = [_packet_info(source, self._indices.get(source, 0))]
        if len(self._controls) >= _CACHE_MAX:
            self._controls.clear()
        return self._controls.setdefault(source, control)

    def close(self) -> None:
        if self._ready.closed:
            return
        with contextlib.suppress(RuntimeError):  # outside of trio nobody can be waiting
            trio.lowlevel.notify_closing(self._ready.fileno())
        self._ready.close()
        for sock in self._sockets.values():
            sock.close()


def _packet_info(source: str, index: int) -> tuple[int, int, bytes]:
    """The message that names a datagram's source and interface; unspecified, 0: the kernel's choice."""
    if ":" in source:
        packed = socket.inet_pton(socket.AF_INET6, source)
        return socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _IN6_PKTINFO.pack(packed, index)
    packed = socket.inet_pton(socket.AF_INET, source)
    return socket.IPPROTO_IP, _IP_PKTINFO, _IN_PKTINFO.pack(index, packed, bytes(4))


def _natural_source(destination: Locator) -> str:
    """The address from which the kernel would send to DESTINATION by itself; nothing is sent."""
    family = socket.AF_INET6 if ":" in destination.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((destination.host, destination.port))
        found: str = probe.getsockname()[0]
    return found


class _NoIPv6Error(Exception):
    """This kernel was built or booted without IPv6."""


def _open_ipv4(port: int, dscp: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        _enlarge_buffers(sock)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, _TTL)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
        # DF off: until paths' MTUs are probed, a narrow link has to fragment; with DF it would
        # swallow every full packet wherever a firewall eats the ICMP that says so (RFC 2923).
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DONT)
        sock.bind(("", port))
    except OSError:
        sock.close()
        raise
    return sock


def _open_ipv6(port: int, dscp: int) -> socket.socket:
    try:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise _NoIPv6Error from error
    try:
        _enlarge_buffers(sock)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, _TTL)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
        sock.bind(("::", port))
    except OSError as error:
        sock.close()
        if error.errno in (errno.EADDRNOTAVAIL, errno.ENOPROTOOPT):
            raise _NoIPv6Error from error
        raise
    return sock


def _enlarge_buffers(sock: socket.socket) -> None:
    """Room for a burst while Python does something else; beyond rmem_max only with CAP_NET_ADMIN."""
    for force, ask in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, _BUFFER_BYTES)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, ask, _BUFFER_BYTES)


def _refusal(port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"UDP port {port} is in use: `ss -ulpn 'sport = :{port}'` shows by whom; "
            "stop that, or set another as [transport] port"
        )
    if error.errno == errno.EACCES:
        return f"UDP port {port} is for root only: set [transport] port to 1024 or above"
    return f"UDP port {port} cannot be opened: {error.strerror}"
