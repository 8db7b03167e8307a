"""Receive RTP and print what its headers say: `rtp_program.py PORT [NAME]`.

A line a packet: time of arrival in ns, source, and version, payload type, sequence
number, timestamp and SSRC of the header (RFC 3550 section 5.1).

With NAME it talks, too: to that host's same port, 50 packets a second with 20 ms of G.711 each
(RFC 3551 section 4.5.14), as a telephone does, until standard input ends. The line
`sent NUMBER` on standard error is its last word.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import sys
import time

_HEADER = struct.Struct("!BBHII")
_VERSION = 2 << 6
_SAMPLES = 160  # of 8 bits, 8,000 a second
_EVERY_S = 0.02


def main() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", int(sys.argv[1])))
        if sys.argv[2:]:
            talk(sock, (sys.argv[2], int(sys.argv[1])))
        while True:
            hear(sock)


def hear(sock: socket.socket) -> None:
    data, (host, port) = sock.recvfrom(65535)
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
    print(
        time.monotonic_ns(),
        f"{host}:{port}",
        first >> 6,
        second & 0x7F,
        sequence,
        timestamp,
        ssrc,
        flush=True,
    )


def talk(sock: socket.socket, to: tuple[str, int]) -> None:
    address = (socket.gethostbyname(to[0]), to[1])
    ssrc = int.from_bytes(os.urandom(4), "big")
    number, due, waiting = 0, time.monotonic(), [sock, sys.stdin]
    while True:
        readable, _, _ = select.select(waiting, [], [], max(0.0, due - time.monotonic()))
        if sock in readable:
            hear(sock)
        if sys.stdin in readable:
            print("sent", number, file=sys.stderr)
            return
        if time.monotonic() >= due:
            due += _EVERY_S
            header = _HEADER.pack(_VERSION, 0, number % 2**16, number * _SAMPLES % 2**32, ssrc)
            with contextlib.suppress(OSError):  # a telephone goes on; the packet counts as sent
                sock.sendto(header + bytes(_SAMPLES), address)
            number += 1


if __name__ == "__main__":
    main()
