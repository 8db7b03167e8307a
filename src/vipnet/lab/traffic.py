"""A program that sends and receives the streams of a measurement, on one host.

    python -m vipnet.lab.traffic SETTINGS      (JSON, as an argument)

It is led by lines on standard input, and answers each with a line of JSON:

    connect     open what sends                 -> {"addresses": {...}}
    start NS    send from CLOCK_MONOTONIC NS on -> {}
    phase N     what is sent now belongs to N   -> {}
    progress                                    -> Progress
    stop        send no more                    -> {}
    report      tell all, and end               -> TrafficReport

One thread, one select: two of these and two daemons share a small machine. Each
message has its own deadline, counted from the start, so that a late one does not
make the rest late.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import sys
import time
from typing import Any, Final, Protocol

import msgspec

from vipnet.lab.flows import (
    ICMP_ID,
    INTERVAL_MS,
    MESSAGE_SIZE,
    Arrival,
    Flow,
    Message,
    Progress,
    SenderSettings,
    Sent,
    Settings,
    TrafficReport,
)
from vipnet.lab.stamps import ANCILLARY_SIZE, stamp_ns, stamped

_BUFFER: Final = 2**22  # bytes: seconds of traffic, should this program not run for a while
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


# --- receivers


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

    def __init__(self, family: socket.AddressFamily, port: int, journal: Journal) -> None:
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
                data, ancillary, _, _ = self._sock.recvmsg(MESSAGE_SIZE - len(self._partial), ANCILLARY_SIZE)
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
            if len(self._partial) == MESSAGE_SIZE:
                self._journal.note(self._partial, self._latest_ns)
                self._partial = b""


# --- senders


class Sender:
    """One stream at its pace; how a message leaves is the subclass's."""

    def __init__(self, settings: SenderSettings, run: int, case: int) -> None:
        self.flow = settings.flow
        self._run, self._case = run, case
        self._interval_ns = int(INTERVAL_MS[settings.flow] * 1e6)
        self._start_ns = 0
        self._number = 0
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
            data = Message(self._run, self._case, self.flow, phase, self._number).encode()
            self._number += 1
            try:
                self.send(data)
                self.count += 1
                self.last_ns = now_ns
            except OSError as error:
                if error.errno not in _NO_WAY:
                    self.error = error.strerror or str(error)
                self.refused += 1

    def send(self, data: bytes) -> None:
        raise NotImplementedError

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

    def __init__(self, settings: SenderSettings, run: int, case: int, address: Any) -> None:  # noqa: ANN401
        super().__init__(settings, run, case)
        self._waiting = b""
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
        self._waiting = self._waiting[taken:]

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


# --- the program


class Program:
    """Receivers, senders, and the lines that lead them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._family = socket.AF_INET if settings.family == 4 else socket.AF_INET6
        self._journal = Journal(settings.run, settings.case)
        self._receivers: list[Receiver] = []
        self._tcp: TcpReceiver | None = None
        self._senders: list[Sender] = []
        self._running = False
        self._phase = 0
        if settings.udp_port is not None:
            self._receivers.append(UdpReceiver(self._family, settings.udp_port, self._journal))
        if settings.tcp_port is not None:
            self._tcp = TcpReceiver(self._family, settings.tcp_port, self._journal)
            self._receivers.append(self._tcp)

    def run(self) -> None:
        """Work until `report` is asked for, or nobody leads any more."""
        pending = b""
        while True:
            ready = self._wait()
            for receiver in ready:
                if not isinstance(receiver, int):
                    receiver.receive()
            if 0 not in ready:
                continue
            data = os.read(0, 4096)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                os.write(1, msgspec.json.encode(self._obey(*line.decode().split())) + b"\n")
                if line == b"report":
                    return

    def _wait(self) -> list[Receiver | int]:
        timeout_s = None
        if self._running:
            now_ns = time.monotonic_ns()
            for sender in self._senders:
                sender.send_due(now_ns, self._phase)
            due_ns = min((sender.due_ns for sender in self._senders), default=None)
            if due_ns is not None:
                timeout_s = max(0.0, (due_ns - time.monotonic_ns()) / 1e9)
        waiting: list[Receiver | int] = [0]
        waiting += [one for one in self._receivers if not (one is self._tcp and self._tcp.ended)]
        # Not epoll: its time-outs are whole milliseconds.
        return select.select(waiting, [], [], timeout_s)[0]

    def _obey(self, command: str, *arguments: str) -> object:
        match command:
            case "connect":
                return {"addresses": self._connect()}
            case "start":
                for sender in self._senders:
                    sender.start(int(arguments[0]))
                self._running = True
            case "phase":
                self._phase = int(arguments[0])
            case "progress":
                ended = self._tcp is None or self._tcp.ended
                return Progress(self._journal.newest, ended)
            case "stop":
                self._running = False
                for sender in self._senders:
                    sender.stop()
            case "report":
                return self._report()
        return {}

    def _connect(self) -> dict[str, str]:
        addresses = {}
        for one in self._settings.send:
            found = socket.getaddrinfo(one.host, one.port, self._family, socket.SOCK_DGRAM)
            address = found[0][4]
            addresses[one.host] = str(address[0])
            if one.kind == "udp":
                self._senders.append(UdpSender(one, self._settings.run, self._settings.case, address))
            elif one.kind == "tcp":
                self._senders.append(TcpSender(one, self._settings.run, self._settings.case, address))
            else:
                sender = PingSender(one, self._settings.run, self._settings.case, address)
                self._senders.append(sender)
                self._receivers.append(EchoReceiver(sender.sock, self._journal))
        return addresses

    def _report(self) -> TrafficReport:
        errors = [f"{Flow(one.flow).name}: {one.error}" for one in self._senders if one.error]
        if self._tcp and self._tcp.error:
            errors.append(f"TCP receiver: {self._tcp.error}")
        return TrafficReport(
            tuple(Sent(one.flow, one.count, one.refused, one.last_ns) for one in self._senders),
            tuple(self._journal.arrivals),
            tuple(errors),
        )


def _go_first() -> None:
    """Run before everything that is not in a hurry, where that is allowed.

    The kernel joins TCP segments that wait to be read, and keeps the stamp of the last:
    who reads late would see a silence end late. What is measured hardly notices, for
    this program has little to do.
    """
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def main() -> None:
    _go_first()
    Program(msgspec.json.decode(sys.argv[1], type=Settings)).run()


if __name__ == "__main__":
    main()
