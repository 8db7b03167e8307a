"""A program that sends and receives the streams of a measurement, on one host.

    python -m vipnet.lab.traffic SETTINGS      (JSON, as an argument)

It is led by lines on standard input, and answers each with a line of JSON:

    connect     open what sends                 -> {"addresses": {...}}
    start NS    send from CLOCK_MONOTONIC NS on -> {}
    phase N     what is sent now belongs to N   -> {}
    every N     leave out datagrams between     -> {}
    progress                                    -> Progress
    stop        send no more                    -> {}
    report      tell all, and end               -> TrafficReport

One thread, one select: two of these and two daemons share a small machine. Each
message has its own deadline, counted from the start, so that a late one does not
make the rest late.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import time

import msgspec

from vipnet.lab.flows import (
    Flow,
    Progress,
    Sent,
    Settings,
    TrafficReport,
)
from vipnet.lab.receivers import EchoReceiver, Journal, Receiver, TcpReceiver, UdpReceiver
from vipnet.lab.senders import PingSender, Sender, TcpSender, UdpSender


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
            self._tcp = TcpReceiver(self._family, settings.tcp_port, settings.tcp_bytes, self._journal)
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
            case "every":
                for sender in self._senders:
                    sender.thin_out(int(arguments[0]))
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
                size = self._settings.tcp_bytes
                self._senders.append(TcpSender(one, self._settings.run, self._settings.case, address, size))
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
