"""Receive RTP and print what its headers say: `rtp_receiver.py PORT`.

A line a packet: time of arrival in ns, source, and version, payload type, sequence
number, timestamp and SSRC of the header (RFC 3550 section 5.1).
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from typing import NoReturn

_HEADER = struct.Struct("!BBHII")


def main() -> NoReturn:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("0.0.0.0", int(sys.argv[1])))
        while True:
            data, (host, port) = receiver.recvfrom(65535)
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


if __name__ == "__main__":
    main()
