"""An inetd for one service: `inetd.py PORT COMMAND...` gives each connection a COMMAND of its own."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import NoReturn


def main() -> NoReturn:
    port, *command = sys.argv[1:]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are nobody's to wait for
    with socket.create_server(("0.0.0.0", int(port))) as listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for descriptor in range(3):
                        os.dup2(connection.fileno(), descriptor)
                    os.execv(command[0], command)


if __name__ == "__main__":
    main()
