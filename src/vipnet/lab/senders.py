"""The sending ends of a measurement's streams: each message has its own deadline."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any, Final

from vipnet.lab.flows import (
    ICMP_ID,
    INTERVAL_MS,
    MESSAGE_SIZE,
    Message,
    SenderSettings,
)

_CONNECT_S: Final = 5.0
_NO_WAY: Final = frozenset(
    {
        errno.EAGAIN,
        errno.ENOBUFS,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ECONNREFUSED,
        errno.EINVAL,  # the source address has gone while the route still stood
        errno.EADDRNOTAVAIL,
    }
)


class Sender:
    """One stream at its pace; how a message leaves is the subclass's."""

    message_bytes = MESSAGE_SIZE

    def __init__(self, settings: SenderSettings, run: int, case: int) -> None:
        self.flow = settings.flow
        self._run, self._case = run, case
        self._interval_ns = int(INTERVAL_MS[settings.flow] * 1e6)
        self._start_ns = 0
        self._number = 0
        self._step = 1
        self.count = self.refused = self.last_ns = 0
        self.error: str | None = None

    def start(self, at_ns: int) -> None:
        self._start_ns = at_ns

    @property
    def due_ns(self) -> int:
        return self._start_ns + self._number * self._interval_ns

    def send_due(self, now_ns: int, phase: int) -> None:
        """Send all that is due: after a pause the missed ones leave at once."""
        while self.due_ns <= now_ns and self.error is None:
            message = Message(self._run, self._case, self.flow, phase, self._number)
            self._number += self._step
            try:
                self.send(message.encode(self.message_bytes))
                self.count += 1
                self.last_ns = now_ns
            except OSError as error:
                if error.errno not in _NO_WAY:
                    self.error = error.strerror or str(error)
                self.refused += 1

    def send(self, data: bytes) -> None:
        raise NotImplementedError

    def thin_out(self, step: int) -> None:
        """From now on send only each so-many-th message, under its own number; what has an order does not."""

    def stop(self) -> None:
        pass


class UdpSender(Sender):
    """An unbound, unconnected socket: the kernel picks the source for each datagram."""

    def __init__(self, settings: SenderSettings, run: int, case: int, address: Any) -> None:  # noqa: ANN401
        super().__init__(settings, run, case)
        self._address = address
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._sock = socket.socket(family, socket.SOCK_DGRAM)
        self._sock.setblocking(False)

    def thin_out(self, step: int) -> None:
        self._step = step

    def send(self, data: bytes) -> None:
        self._sock.sendto(data, self._address)


class PingSender(Sender):
    """Echo requests (RFC 792)."""

    def __init__(self, settings: SenderSettings, run: int, case: int, address: Any) -> None:  # noqa: ANN401
        super().__init__(settings, run, case)
        self._address = address
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.sock.setblocking(False)

    def send(self, data: bytes) -> None:
        head = struct.pack("!BBHHH", 8, 0, 0, ICMP_ID, self._number & 0xFFFF)
        checksum = internet_checksum(head + data)
        self.sock.sendto(head[:2] + checksum.to_bytes(2, "big") + head[4:] + data, self._address)


class TcpSender(Sender):
    """A connection that is never reopened; what the kernel does not take yet is kept."""

    def __init__(
        self,
        settings: SenderSettings,
        run: int,
        case: int,
        address: Any,  # noqa: ANN401
        message_bytes: int,
    ) -> None:
        super().__init__(settings, run, case)
        self.message_bytes = message_bytes
        self._waiting = bytearray()
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._sock = socket.socket(family, socket.SOCK_STREAM)
        self._sock.settimeout(_CONNECT_S)
        self._sock.connect(address)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.setblocking(False)

    def send(self, data: bytes) -> None:
        self._waiting += data
        try:
            taken = self._sock.send(self._waiting)
        except BlockingIOError:
            return
        del self._waiting[:taken]

    def stop(self) -> None:
        try:
            self._sock.settimeout(_CONNECT_S)
            self._sock.sendall(self._waiting)
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.error = self.error or error.strerror or str(error)


def internet_checksum(data: bytes) -> int:
    """RFC 1071; DATA has an even length."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
