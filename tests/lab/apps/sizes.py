"""Packets of every size, each with a digest of what it says.

    sizes.py serve
    sizes.py check HOST NUMBER SEED

The server sends everything back. What comes back changed, or belongs to someone else, ends the
check with exit status 1; else it prints one JSON object: what was sent and came back, by protocol.
Only the standard library, so that any Python of a host can run it.
"""

from __future__ import annotations

import errno
import functools
import json
import random
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from hashlib import blake2s
from typing import TypeVar

T = TypeVar("T")

PORT = 7007
UDP_MAX, TCP_MAX = 65_507, 65_507  # bytes
DIGEST = 16
_LENGTH = struct.Struct("!I")
_WINDOW = 8  # datagrams that may be unanswered
_GIVE_UP_S = 0.5


def content(source: random.Random, size: int) -> bytes:
    """SIZE bytes, of which the first say whether the others are right, as far as there is room."""
    body = source.randbytes(max(size - DIGEST, 0))
    return (blake2s(body, digest_size=DIGEST).digest() + body)[:size]


def is_right(data: bytes) -> bool:
    """Whether DATA is what content() made."""
    return len(data) < DIGEST or blake2s(data[DIGEST:], digest_size=DIGEST).digest() == data[:DIGEST]


def some_size(source: random.Random, most: int) -> int:
    """Log-uniform, 0 included."""
    return min(int(2 ** (source.random() * 16.0001)) - 1, most)


# --- the server


def serve() -> None:
    """Send back what comes, until killed."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    udp.bind(("", PORT))
    threading.Thread(target=_echo_datagrams, args=(udp,), daemon=True).start()
    listener = socket.create_server(("", PORT))
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_echo_stream, args=(connection,), daemon=True).start()


def _echo_datagrams(sock: socket.socket) -> None:
    while True:
        data, source = sock.recvfrom(65_535)
        if not is_right(data):
            data = b"changed on the way"
        sock.sendto(data, source)


def _echo_stream(connection: socket.socket) -> None:
    with connection:
        while data := connection.recv(1 << 16):
            connection.sendall(data)


# --- the client


def check(host: str, number: int, seed: int) -> dict[str, list[int]]:
    """Exchange NUMBER messages by each of TCP and UDP; [sent, came back]. Raise ValueError."""
    return {"tcp": _check_tcp(host, number, seed), "udp": _check_udp(host, number, seed)}


def _check_tcp(host: str, number: int, seed: int) -> list[int]:
    """Several messages are under way at once, so that segments are joined in all ways."""
    source = random.Random(seed)
    messages = [content(source, some_size(source, TCP_MAX)) for _ in range(min(number, 512))]
    with socket.create_connection((host, PORT), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def send() -> None:
            for turn in range(number):
                message = messages[turn % len(messages)]
                connection.sendall(_LENGTH.pack(len(message)) + message)

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        with connection.makefile("rb") as answers:
            for turn in range(number):
                (size,) = _LENGTH.unpack(answers.read(_LENGTH.size))
                if answers.read(size) != messages[turn % len(messages)]:
                    raise ValueError(f"TCP: message {turn} of {size} bytes came back changed")
        sender.join()
    return [number, number]


def _check_udp(host: str, number: int, seed: int) -> list[int]:
    """Datagrams may be lost, never changed."""
    source = random.Random(seed)
    came_back = 0
    waiting: set[bytes] = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.connect((host, PORT))
        sock.settimeout(_GIVE_UP_S)
        for _ in range(number):
            data = content(source, some_size(source, UDP_MAX))
            waiting.add(data)
            _once_more(functools.partial(sock.send, data))
            while len(waiting) >= _WINDOW:
                came_back += _take_one(sock, waiting)
        while waiting:
            came_back += _take_one(sock, waiting)
    return [number, came_back]


def _once_more(call: Callable[[], T]) -> T:
    """On a path that is narrower than tun0 a connected socket is told so, once (udp(7))."""
    try:
        return call()
    except OSError as error:
        if error.errno != errno.EMSGSIZE:
            raise
    return call()


def _take_one(sock: socket.socket, waiting: set[bytes]) -> bool:
    try:
        data = _once_more(functools.partial(sock.recv, 65_535))
    except TimeoutError:
        waiting.clear()
        return False
    if not is_right(data):
        raise ValueError(f"UDP: {len(data)} bytes came back changed")
    if data not in waiting:
        return False  # given up before
    waiting.remove(data)
    return True


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            serve()
        case ["check", host, number, seed]:
            started = time.monotonic()
            counts = check(host, int(number), int(seed))
            print(json.dumps({**counts, "seconds": time.monotonic() - started}))
        case _:
            sys.exit(__doc__)
