"""Applications that know nothing of vipnet: an echo over TCP and UDP, and who talks to it.

python talk.py serve                    says `ready`, then `from ADDRESS` for every connection
python talk.py talk NAME                sends each line of standard input over both, on sockets it
                                        keeps, and says `heard` when both have come back
python talk.py shout ADDRESS            sends UDP datagrams for ever, and says each change of the result
"""

from __future__ import annotations

import errno
import socket
import sys
import threading
import time

PORT = 7000
AGAIN_S = 0.2  # UDP: an answer that has not come by then is asked for again
EVERY_S = 0.005


def serve() -> None:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("0.0.0.0", PORT))
    listener = socket.create_server(("0.0.0.0", PORT))
    threading.Thread(target=_echo_datagrams, args=(udp,), daemon=True).start()
    say("ready")
    while True:
        connection, (address, _) = listener.accept()
        say(f"from {address}")
        threading.Thread(target=_echo, args=(connection,), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    while data := connection.recv(4096):
        connection.sendall(data)


def _echo_datagrams(udp: socket.socket) -> None:
    while True:
        data, client = udp.recvfrom(4096)
        udp.sendto(data, client)


def talk(name: str) -> None:
    tcp = socket.create_connection((name, PORT))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.connect((name, PORT))
    udp.settimeout(AGAIN_S)
    say(f"to {tcp.getpeername()[0]}")
    for line in sys.stdin:
        words = line.encode()
        tcp.sendall(words)
        heard = b""
        while len(heard) < len(words):
            more = tcp.recv(4096)
            if not more:
                sys.exit("the connection has ended")
            heard += more
        if heard != words:
            sys.exit(f"sent {words!r}, heard {heard!r}")
        _ask_datagram(udp, words)
        say("heard")


def _ask_datagram(udp: socket.socket, words: bytes) -> None:
    """UDP does not promise to arrive: ask until there is an answer to this."""
    while True:
        try:
            udp.send(words)
            while udp.recv(4096) != words:
                pass
        except TimeoutError:
            continue
        else:
            return


def shout(address: str) -> None:
    last, count = "", 0
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    while True:
        try:
            udp.sendto(b"shout", (address, PORT))
            result = "ok"
        except OSError as error:
            result = errno.errorcode.get(error.errno or 0, "unknown")
        count = count + 1 if result == last else 1
        last = result
        # The hundredth of a kind: that state lasts, and was tried often enough to be seen.
        if count in (1, 100):
            say(f"{result} {count}")
        time.sleep(EVERY_S)


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            serve()
        case ["talk", to]:
            talk(to)
        case ["shout", to]:
            shout(to)
        case _:
            sys.exit(__doc__)
