"""Numbered datagrams from this host to others and back: what is lost, doubled or late cannot hide.

python stream_program.py OWN EVERY_MS SIZE [LABEL=NAME]...

OWN is this host's label. To each NAME goes a datagram of SIZE bytes every EVERY_MS milliseconds, on
one socket.
It is led by lines on standard input, and answers each with a line of JSON:

    progress    {LABEL: greatest number that has arrived from it}
    sent        {LABEL: how many have been sent to it}
    stop        {}          sends no more
    report      {LABEL: [[number, CLOCK_MONOTONIC ns], ...]} in the order of arrival
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

PORT = 7100
_SIZE_MAX = 65_536
_BUFFER = 1 << 22


def main(own: str, every_ms: str, size: str, *targets: str) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    sock.bind(("0.0.0.0", PORT))
    sock.setblocking(False)
    print(json.dumps({}), flush=True)
    sys.stdin.readline()  # nobody sends before all receive
    addresses = {label: _resolve(name) for label, _, name in (one.partition("=") for one in targets)}
    sent = dict.fromkeys(addresses, 0)
    arrivals: dict[str, list[tuple[int, int]]] = {}
    every_s = float(every_ms) / 1000
    due, sending = time.monotonic(), True
    print(json.dumps({}), flush=True)
    while True:
        wait_s = max(0.0, due - time.monotonic()) if sending else None
        readable, _, _ = select.select([sock, sys.stdin], [], [], wait_s)
        if sock in readable:
            _receive(sock, arrivals)
        if sys.stdin in readable:
            command = sys.stdin.readline().strip()
            if not command:
                return
            sending = sending and command != "stop"
            print(json.dumps(_answer(command, sent, arrivals)), flush=True)
        if sending and time.monotonic() >= due:
            due += every_s
            for label, address in addresses.items():
                sock.sendto(f"{own} {sent[label]} ".encode().ljust(int(size), b"."), address)
                sent[label] += 1


def _resolve(name: str) -> tuple[str, int]:
    return socket.getaddrinfo(name, PORT, socket.AF_INET, socket.SOCK_DGRAM)[0][4][:2]  # type: ignore[return-value]


def _receive(sock: socket.socket, arrivals: dict[str, list[tuple[int, int]]]) -> None:
    while True:
        try:
            data = sock.recv(_SIZE_MAX)
        except BlockingIOError:
            return
        label, number, _ = data.decode().split(" ")
        arrivals.setdefault(label, []).append((int(number), time.monotonic_ns()))


def _answer(command: str, sent: dict[str, int], arrivals: dict[str, list[tuple[int, int]]]) -> object:
    match command:
        case "progress":
            return {label: max(number for number, _ in heard) for label, heard in arrivals.items()}
        case "sent":
            return sent
        case "report":
            return arrivals
        case _:
            return {}


if __name__ == "__main__":
    main(*sys.argv[1:])
