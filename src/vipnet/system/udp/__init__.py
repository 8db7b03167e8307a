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
from msgspec import Struct

from vipnet.core.outputs import Fragmentation, TooBig
from vipnet.errors import HostError
from vipnet.policy import MTU_BASE
from vipnet.system.udp.control import Control, natural_source, packet_info, too_big
from vipnet.system.udp.opening import (
    IP_MTU_DISCOVER,
    IPV6_MTU,
    IPV6_MTU_DISCOVER,
    PMTUDISC_DONT,
    SOL_UDP,
    UDP_GRO,
    NoIPv6Error,
    ask_for_trains,
    open_ipv4,
    open_ipv6,
    refusal,
)
from vipnet.types import Locator
from vipnet.wire import socketerror

_ALLOWED: Final = Fragmentation.ALLOWED  # looking into an Enum takes time
_DATAGRAM_MAX: Final = 65_535  # bytes
_CACHE_MAX: Final = 4096  # sources remembered as Locators
_TURN: Final = 16  # datagrams after which the other family is heard first

# linux/in.h, linux/udp.h: what the socket module has no name for
_PMTUDISC_PROBE: Final = 3
_UDP_SEGMENT: Final = 103
_U16, _INT = struct.Struct("=H"), struct.Struct("=i")
_CONTROL_BYTES: Final = socket.CMSG_SPACE(_INT.size)
_NO_SEGMENTS: Final = frozenset({errno.EINVAL, errno.EMSGSIZE, errno.EIO, errno.ENOPROTOOPT})
_WHOLE_MAX: Final = 256
_ERRORS_AT_ONCE: Final = 64


class Received(Struct, frozen=True, gc=False):
    """Datagrams of one source, one behind the other, `segment_size` bytes each, the last perhaps shorter."""

    payload: memoryview
    segment_size: int
    source: Locator


class DatagramSockets(Protocol):
    """What the daemon needs of the network; tests have one in memory."""

    def filenos(self) -> Collection[int]:
        """To wait for from outside; none where only readable() can."""
        ...

    async def readable(self) -> None: ...

    def receive_nowait(self, fd: int | None = ..., /) -> Received | None: ...

    def too_big_nowait(self, suspected: bool = ..., /) -> TooBig | None: ...

    async def writable(self, destination: Locator, /) -> None: ...

    def send(
        self,
        payload: bytes | bytearray | memoryview,
        destination: Locator,
        source: str | None,
        segment_size: int | None = None,
        fragmentation: Fragmentation = Fragmentation.ALLOWED,
        /,
    ) -> OSError | None: ...

    def use_interfaces(self, indices: Mapping[str, int], detours: Collection[str] = (), /) -> None: ...

    def close(self) -> None: ...


class UdpSockets:
    """Both sockets, bound to PORT of all addresses, as one.

    dscp      codepoint of the outer header (RFC 2474)
    offloads  let the kernel cut and join datagrams, where it knows how

    Raise HostError when the port cannot be had.
    """

    def __init__(self, port: int, *, dscp: int = 0, offloads: bool = True) -> None:
        self._sockets: dict[bool, socket.socket] = {}  # by "is IPv6"
        self._by_fd: dict[int, socket.socket] = {}
        self._known: dict[tuple[str, int], Locator] = {}
        self._indices: dict[str, int] = {}
        self._controls: dict[str | None, Control] = {}  # by source; there is none for None
        self._detours: frozenset[str] = frozenset()
        self._past: dict[str, Control] = {}  # by destination: what keeps datagrams out of a detour
        self._ready: select.epoll | None = None  # one thing for tasks to wait for instead of two
        self._closed = False
        self._turn = 0
        self._memory = memoryview(bytearray(_DATAGRAM_MAX))
        self._offloads = self._segments = offloads  # whether the kernel may, and does, cut what is sent
        self.trains = False  # whether datagrams that came together are read together
        self._whole: set[tuple[str, int, bool]] = set()  # destination, size, DF: what it did not cut
        self._df = {False: False, True: False}  # whether a socket sends with it, by "is IPv6"
        self._errors = False  # whether there may be some in the sockets' queues
        self.lost = 0  # datagrams from sources that no answer can reach
        try:
            self._add(open_ipv4(port, dscp))
            # Port 0 is for tests: the kernel chose one, IPv6 takes the same.
            self.port: int = self._sockets[False].getsockname()[1]
            with contextlib.suppress(NoIPv6Error):
                self._add(open_ipv6(self.port, dscp))
        except OSError as error:
            self.close()
            raise HostError(refusal(port, error)) from None

    def _add(self, sock: socket.socket) -> None:
        if self._offloads:
            self.trains = ask_for_trains(sock)
        self._sockets[sock.family == socket.AF_INET6] = self._by_fd[sock.fileno()] = sock

    @property
    def segments(self) -> bool:
        """Whether the kernel cuts what is sent (UDP_SEGMENT, Linux 4.18); False: we do, one by one."""
        return self._segments

    def filenos(self) -> Collection[int]:
        """The sockets' descriptors, none after close()."""
        return () if self._closed else self._by_fd

    async def readable(self) -> None:
        """Wait until receive_nowait() may have something.

        Raise trio.ClosedResourceError after close().
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._closed:
            raise trio.ClosedResourceError
        if self._ready is None:
            self._ready = select.epoll()  # readable when a member is
            for fd in self._by_fd:
                self._ready.register(fd, select.EPOLLIN)
        await trio.lowlevel.wait_readable(self._ready.fileno())

    def receive_nowait(self, fd: int | None = None) -> Received | None:
        """What is there already, None when nothing is: in one socket, or in any of them.

        The view is valid until the next call, whoever makes it: use it before anything else runs.
        """
        if fd is not None:
            return self._receive_from(self._by_fd[fd])
        for sock in self._in_turn():
            if received := self._receive_from(sock):
                return received
        return None

    def too_big_nowait(self, suspected: bool = False) -> TooBig | None:
        """What has not passed a link, as the kernel or a router reports; None when there is no more.

        Anybody can forge what routers say.

        suspected  a socket was readable and had nothing to receive: it has an error then
        """
        if not (self._errors or suspected):
            return None
        for sock in self._sockets.values():
            for _ in range(_ERRORS_AT_ONCE):
                try:
                    quoted, control, _, address = sock.recvmsg(
                        socketerror.QUOTED_MAX, socketerror.ANCILLARY_MAX, socket.MSG_ERRQUEUE
                    )
                except OSError:
                    break
                if report := too_big(quoted, control, address):
                    return report
        self._errors = False
        return None

    async def writable(self, destination: Locator) -> None:
        """Wait until a datagram to DESTINATION would not be refused for want of room."""
        sock = self._sockets.get(":" in destination.host)
        if sock is None:
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.wait_writable(sock)

    def _in_turn(self) -> Sequence[socket.socket]:
        """IPv4 first, and every now and then IPv6: a flood of one must not silence the other."""
        self._turn = (self._turn + 1) % _TURN
        sockets = tuple(self._sockets.values())
        return sockets if self._turn else sockets[::-1]

    def _receive_from(self, sock: socket.socket) -> Received | None:
        try:
            size, control, _, address = sock.recvmsg_into((self._memory,), _CONTROL_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            # An ICMP error about something sent earlier: the protocol has its own opinion
            # of what a path is worth. Reading has cleared it.
            self._errors = True
            return None
        key = address[:2]
        source = self._known.get(key) or self._remember(key)
        if source is None:
            return None
        segment_size = size
        for level, kind, value in control:
            if level == SOL_UDP and kind == UDP_GRO:
                (segment_size,) = _INT.unpack(value)
        if not 0 < segment_size <= size:  # nothing to cut, and never a step that leads nowhere
            segment_size = size or 1
        return Received(self._memory[:size], segment_size, source)

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
        self,
        payload: bytes | bytearray | memoryview,
        destination: Locator,
        source: str | None = None,
        segment_size: int | None = None,
        fragmentation: Fragmentation = Fragmentation.ALLOWED,
    ) -> OSError | None:
        """Send PAYLOAD, from the address SOURCE by its own interface; None leaves both to the kernel.

        segment_size   PAYLOAD is several datagrams of this size, the last perhaps shorter
        fragmentation  AVOIDED, and our own link is too narrow: it goes in pieces, too_big_nowait() says so

        Return what went wrong: no route, no such source, no buffer. Never wait, never raise OSError.
        """
        host = destination.host
        is_ipv6 = ":" in host
        sock = self._sockets.get(is_ipv6)
        if sock is None or (source is not None and (":" in source) != is_ipv6):
            # The kernel would silently take another source for one of the other family.
            return OSError(errno.EAFNOSUPPORT, f"no way from {source or 'here'} to {destination}")
        address = (host, destination.port)
        df = fragmentation is not _ALLOWED
        segmented = segment_size is not None and segment_size < len(payload)
        try:
            if df is not self._df[is_ipv6]:
                self._set_df(sock, is_ipv6, df)
            control = self._controls.get(source) or self._ancillary(source, destination)
        except OSError as error:
            return error
        if not segmented:
            try:
                sock.sendmsg((payload,), control, 0, address)
            except OSError:
                pass  # perhaps it was for something earlier: see _send()
            else:
                return None
        elif self._segments and (destination.host, segment_size, df) not in self._whole:
            try:
                _send(sock, payload, (*control, (SOL_UDP, _UDP_SEGMENT, _U16.pack(segment_size))), address)
            except OSError as error:
                if error.errno not in _NO_SEGMENTS:
                    return error
                self._note_refusal(error, (destination.host, segment_size or 0, df))
            else:
                return None
        size = segment_size if segmented else len(payload)
        return self._send_each(sock, payload, size or 1, control, address, fragmentation)

    def _note_refusal(self, error: OSError, what: tuple[str, int, bool]) -> None:
        """The kernel does not cut this: the device cannot, or a piece does not fit into the path's MTU."""
        if error.errno in (errno.EIO, errno.ENOPROTOOPT):
            self._segments = False
            return
        if len(self._whole) >= _WHOLE_MAX:
            self._whole.clear()
        self._whole.add(what)

    def _send_each(
        self,
        sock: socket.socket,
        payload: bytes | bytearray | memoryview,
        size: int,
        control: Sequence[tuple[int, int, bytes]],
        address: tuple[str, int],
        fragmentation: Fragmentation,
    ) -> OSError | None:
        """One by one."""
        view = memoryview(payload)
        for start in range(0, max(len(view), 1), size):
            piece = view[start : start + size]
            try:
                _send(sock, piece, control, address)
            except OSError as error:
                if error.errno != errno.EMSGSIZE or fragmentation is not Fragmentation.AVOIDED:
                    return error
                self._errors = True  # the queue says what would fit
                self._set_df(sock, ":" in address[0], False)
                return self._send_each(sock, view[start:], size, control, address, Fragmentation.ALLOWED)
        return None

    def _set_df(self, sock: socket.socket, is_ipv6: bool, df: bool) -> None:
        """Let datagrams leave whole or not at all, or in fragments where a link is too narrow."""
        self._df[is_ipv6] = df
        value = _PMTUDISC_PROBE if df else PMTUDISC_DONT
        if not is_ipv6:
            sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, value)
            return
        # No router cuts IPv6: fragments are made here, of the size that passes everywhere.
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, value)
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU, 0 if df else MTU_BASE)

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
        self._whole.clear()  # another network may be wider
        self._segments = self._offloads

    def _ancillary(self, source: str | None, destination: Locator) -> Sequence[tuple[int, int, bytes]]:
        if source is not None:
            return self._make_control(source)
        return self._past_detours(destination) if self._detours else ()

    def _past_detours(self, destination: Locator) -> Control:
        """What goes with datagrams to DESTINATION so that they do not leave by a detour; mostly nothing.

        A rule such as wg-quick's sends everything into the tunnel, but a route that leads to
        another interface than the one asked for does not match (ip-rule(8), fib_lookup).
        Raise OSError when there is no way at all.
        """
        control = self._past.get(destination.host)
        if control is None:
            is_ipv6 = ":" in destination.host
            natural = natural_source(destination)
            # Held to its interface although the kernel would take it: the route may be gone in an instant.
            index = self._indices.get(natural)
            if index is None and natural in self._detours:
                index = next(
                    (index for host, index in self._indices.items() if (":" in host) == is_ipv6), None
                )
                if index is None:
                    raise OSError(errno.ENETUNREACH, f"no way to {destination} but a detour")
            anything = "::" if is_ipv6 else "0.0.0.0"  # noqa: S104 - not bound to
            control = [] if index is None else [packet_info(anything, index)]
            if len(self._past) >= _CACHE_MAX:
                self._past.clear()
            self._past[destination.host] = control
        return control

    def _make_control(self, source: str) -> Control:
        """The ancillary data that sets a datagram's source (ip(7), ipv6(7)); raise OSError for no address."""
        control = [packet_info(source, self._indices.get(source, 0))]
        if len(self._controls) >= _CACHE_MAX:
            self._controls.clear()
        return self._controls.setdefault(source, control)

    def close(self) -> None:
        self._closed = True
        if self._ready is not None and not self._ready.closed:
            with contextlib.suppress(RuntimeError):  # outside of trio nobody can be waiting
                trio.lowlevel.notify_closing(self._ready.fileno())
            self._ready.close()
        for sock in self._sockets.values():
            sock.close()


def _send(
    sock: socket.socket,
    payload: bytes | bytearray | memoryview,
    control: Sequence[tuple[int, int, bytes]],
    address: tuple[str, int],
) -> None:
    """One send. Raise OSError, if it was refused; BlockingIOError for want of room."""
    try:
        sock.sendmsg((payload,), control, 0, address)
    except BlockingIOError:
        raise
    except OSError:
        # Perhaps it was for an ICMP error about something else (ip(7), IP_RECVERR): asking has cleared that.
        sock.sendmsg((payload,), control, 0, address)
