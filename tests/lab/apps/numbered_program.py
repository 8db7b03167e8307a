"""Numbered UDP datagrams and a TCP connection, both ways, between two hosts; no vipnet in here.

    python numbered_program.py listen|connect NAME SEED

Prints `datagrams bytes` that have arrived, now and then. `stop` on standard input: sends no
more; once the other side has done so too and all of the connection is there, the last line is a
JSON object: what was sent, and what came. Runs from the outset with both sides' names, so that
neither side waits for the other's datagrams.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import select
import socket
import sys
import time

PORT = 5910
DATAGRAM_SIZE = 333  # bytes: no other packet of a test has this length
EVERY_S = 0.005  # UDP
CHUNK_SIZE = 1000  # bytes of TCP ...
CHUNK_EVERY = 4  # ... with every so many datagrams
SAY_EVERY = 20  # datagrams
LINGER_S = 3.0  # datagrams may come for so long after the connection's end


class Side:
    """One host's part."""

    def __init__(self, udp: socket.socket, tcp: socket.socket, seed: int) -> None:
        self.udp, self.tcp = udp, tcp
        self.chunks = random.Random(seed)
        self.sent_ns: list[int] = []
        self.received: list[int] = []
        self.sent = self.heard = 0
        self.sent_hash, self.heard_hash = hashlib.sha256(), hashlib.sha256()
        self.waiting = b""
        self.stopping = self.ended = False

    def send(self, number: int) -> None:
        data = number.to_bytes(4, "big").ljust(DATAGRAM_SIZE, b".")
        at_ns = time.monotonic_ns()
        self.udp.send(data)
        self.sent_ns.append(at_ns)
        if number % CHUNK_EVERY == 0:
            chunk = self.chunks.randbytes(CHUNK_SIZE)
            self.sent += len(chunk)
            self.sent_hash.update(chunk)
            self.waiting += chunk
            self.push()

    def push(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.waiting = self.waiting[self.tcp.send(self.waiting) :]

    def stop(self) -> None:
        """The rest of the stream, then its end."""
        self.stopping = True
        self.tcp.setblocking(True)
        self.tcp.sendall(self.waiting)
        self.tcp.shutdown(socket.SHUT_WR)
        self.tcp.setblocking(False)

    def receive_datagrams(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self.received.append(int.from_bytes(self.udp.recv(2048)[:4], "big"))

    def receive_stream(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = self.tcp.recv(2**16)
            self.heard += len(data)
            self.heard_hash.update(data)
            self.ended = not data

    def report(self) -> dict[str, object]:
        return {
            "sent_ns": self.sent_ns,
            "received": self.received,
            "stream_sent": [self.sent, self.sent_hash.hexdigest()],
            "stream_heard": [self.heard, self.heard_hash.hexdigest()],
        }


def run(side: Side) -> None:
    start, number, linger_until = time.monotonic(), 0, None
    while linger_until is None or time.monotonic() < linger_until:
        due = start + number * EVERY_S
        while not side.stopping and time.monotonic() >= due:
            side.send(number)
            number += 1
            due = start + number * EVERY_S
            if number % SAY_EVERY == 0:
                print(len(side.received), side.heard, flush=True)
        readers: list[socket.socket | int] = [
            side.udp,
            *([] if side.ended else [side.tcp]),
            *([] if side.stopping else [0]),
        ]
        timeout = 0.1 if side.stopping else max(0.0, due - time.monotonic())
        ready, _, _ = select.select(readers, [], [], timeout)
        if side.udp in ready:
            side.receive_datagrams()
        if side.tcp in ready:
            side.receive_stream()
        if 0 in ready and b"stop" in os.read(0, 100):
            side.stop()
        if side.stopping and side.ended and linger_until is None:
            linger_until = time.monotonic() + LINGER_S


def main(role: str, name: str, seed: int) -> None:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**22)
    udp.bind(("", PORT))
    if role == "listen":
        with socket.create_server(("", PORT)) as listener:
            tcp, _ = listener.accept()
    else:
        tcp = socket.create_connection((name, PORT))
    udp.connect((name, PORT))
    udp.setblocking(False)
    tcp.setblocking(False)
    side = Side(udp, tcp, seed)
    run(side)
    print(json.dumps(side.report()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
