"""As much TCP as there is room for.

bulk.py take PORT                     count what comes until the other side is done; print it
bulk.py give NAME PORT SECONDS        send so long
"""

from __future__ import annotations

import socket
import sys
import time

_PIECE = bytes(1 << 16)


def take(port: int) -> None:
    with socket.create_server(("", port)) as listening:
        connection, _ = listening.accept()
        with connection:
            count = 0
            while size := len(connection.recv(1 << 20)):
                count += size
    print(count)


def give(name: str, port: int, seconds: float) -> None:
    with socket.create_connection((name, port), timeout=30) as connection:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            connection.sendall(_PIECE)


if __name__ == "__main__":
    if sys.argv[1] == "take":
        take(int(sys.argv[2]))
    else:
        give(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
