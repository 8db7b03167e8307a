#!/usr/bin/env python3
"""A chat over one plain TCP connection. It knows nothing of vipnet, and need not.

    on b.example.org:   ./moving_chat.py listen
    on a.example.org:   ./moving_chat.py b.example.org

Type lines at both ends. Now change the network under one of them, or under both:
another Wi-Fi, the cable out, the phone's hotspot. Go on typing.

usage: moving_chat.py listen|NAME [PORT]     (port 7878 unless told)
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys


def connect(name: str, port: int) -> socket.socket:
    if name != "listen":
        return socket.create_connection((name, port))
    with socket.create_server(("", port)) as server:
        print(f"waiting at port {port}", flush=True)
        return server.accept()[0]


def chat(connection: socket.socket) -> None:
    """Carry lines both ways until one end closes."""
    print(f"{connection.getsockname()[0]} <-> {connection.getpeername()[0]}", flush=True)
    with selectors.DefaultSelector() as ready:
        ready.register(connection, selectors.EVENT_READ)
        ready.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is connection:
                    text = connection.recv(4096)
                    if not text:
                        return
                    print("> " + text.decode(errors="replace"), end="", flush=True)
                else:
                    line = sys.stdin.readline()
                    if not line:
                        return
                    connection.sendall(line.encode())


def main() -> int:
    if not 2 <= len(sys.argv) <= 3 or sys.argv[1].startswith("-"):
        print(__doc__)
        return 2
    port = int(sys.argv[2]) if len(sys.argv) == 3 else 7878
    try:
        with connect(sys.argv[1], port) as connection, contextlib.suppress(KeyboardInterrupt):
            chat(connection)
    except OSError as error:
        print(f"the connection is gone: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
