"""The receiving ends of a measurement's streams, and the journal of what has arrived."""

from __future__ import annotations

import socket
import time
from typing import Final, Protocol

from vipnet.lab.flows import (
    ICMP_ID,
    MESSAGE_SIZE,
    Arrival,
    Message,
)
from vipnet.lab.stamps import ANCILLARY_SIZE, stamp_ns, stamped

_BUFFER: Final = 2**22  # bytes: seconds of traffic, should this program not run for a while


class Receiver(Protocol):
    """Something that select can wait for."""

    def fileno(self) -> int: ...
    def receive(self) -> None:
        """Take all that is there."""


class Journal:
    """What has arrived of this run and case; an earlier one's stragglers are not ours."""

    def __init__(self, run: int, case: int) -> None:
        self._run, self._case = run, case
        self.arrivals: list[Arrival] = []
        self.newest: dict[int, int] = {}
        # The kernel stamps by the wall clock. Taken once: a clock that is set meanwhile
        # would move all stamps, which the run's figures would show.
        self._to_monotonic_ns = min(time.monotonic_ns() - time.time_ns() for _ in range(100))

    def note(self, data: bytes, stamp_ns: int) -> None:
        message = Message.decode(data)
        if message is None or (message.run, message.case) != (self._run, self._case):
            return
        at_ns = stamp_ns + self._to_monotonic_ns
        self.arrivals.append(Arrival(message.flow, message.phase, message.number, at_ns))
        self.newest[message.flow] = max(message.number, self.newest.get(message.flow, -1))


class UdpReceiver:
    """Datagrams at a port, from anywhere."""

    def __init__(self, family: socket.AddressFamily, port: int, journal: Journal) -> None:
        self._sock = stamped(socket.socket(family, socket.SOCK_DGRAM), _BUFFER)
        self._sock.bind(("", port))
        self._journal = journal

    def fileno(self) -> int:
        return self._sock.fileno()

    def receive(self) -> None:
        while True:
            try:
                data, ancillary, _, _ = self._sock.recvmsg(MESSAGE_SIZE, ANCILLARY_SIZE)
            except OSError:
                return
            self._journal.note(data, stamp_ns(ancillary))


class EchoReceiver:
    """Answers to this program's own echo requests; shares the sender's raw socket."""

    def __init__(self, sock: socket.socket, journal: Journal) -> None:
        self._sock = stamped(sock, _BUFFER)
        self._journal = journal

    def fileno(self) -> int:
        return self._sock.fileno()

    def receive(self) -> None:
        while True:
            try:
                packet, ancillary, _, _ = self._sock.recvmsg(1500, ANCILLARY_SIZE)
            except OSError:
                return
            icmp = packet[(packet[0] & 0x0F) * 4 :]  # a raw IPv4 socket gives the IP header too
            if icmp[:1] == b"\0" and int.from_bytes(icmp[4:6], "big") == ICMP_ID:
                self._journal.note(icmp[8:], stamp_ns(ancillary))


class TcpReceiver:
    """One accepted connection, read message by message, so that each has its packet's stamp.

    A message's time is when it and all before it were there: what came early waits for the gap.
    """

    def __init__(self, family: socket.AddressFamily, port: int, message_bytes: int, journal: Journal) -> None:
        self._message_bytes = message_bytes
        self._sock = stamped(socket.socket(family, socket.SOCK_STREAM), _BUFFER)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._sock.bind(("", port))
        self._sock.listen(1)
        self._listening = True
        self._journal = journal
        self._partial = b""
        self._latest_ns = 0
        self.ended = False
        self.error: str | None = None

    def fileno(self) -> int:
        return self._sock.fileno()

    def receive(self) -> None:
        if self._listening:
            connection, _ = self._sock.accept()
            self._sock.close()
            self._sock, self._listening = stamped(connection, _BUFFER), False
        while not self.ended:
            try:
                missing = self._message_bytes - len(self._partial)
                data, ancillary, _, _ = self._sock.recvmsg(missing, ANCILLARY_SIZE)
            except BlockingIOError:
                return
            except OSError as error:
                self.error, self.ended = error.strerror or str(error), True
                return
            if not data:
                self.ended = True
                return
            self._latest_ns = max(self._latest_ns, stamp_ns(ancillary))
            self._partial += data
            if len(self._partial) == self._message_bytes:
                self._journal.note(self._partial, self._latest_ns)
                self._partial = b""
