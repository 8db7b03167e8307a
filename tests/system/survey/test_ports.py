from __future__ import annotations

import socket
from pathlib import Path

from tests.netns import namespace

from vipnet.system.survey import ports
from vipnet.system.survey.ports import Listener


def test_who_listens_where() -> None:
    def inside() -> tuple[Listener, ...]:
        everywhere = socket.create_server(("", 7000))
        dual = socket.create_server(("::", 7001), family=socket.AF_INET6, dualstack_ipv6=True)
        one = socket.create_server(("127.0.0.1", 7002))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.9", 7003))
        client = socket.create_connection(("127.0.0.1", 7002))
        server, _ = one.accept()
        connected = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        connected.connect(("127.0.0.9", 7003))
        with everywhere, dual, one, udp, client, server, connected:
            return ports.listeners()

    with namespace() as space:
        found = space.call(inside)
    own = Path("/proc/self/comm").read_text().strip()
    assert found == (
        Listener(7000, "tcp", "0.0.0.0", own),
        Listener(7001, "tcp", "::", own),
        Listener(7002, "tcp", "127.0.0.1", own),
        Listener(7003, "udp", "127.0.0.9", own),
    )
    assert [one.everywhere for one in found] == [True, True, False, False]


def test_addresses_of_both_families() -> None:
    assert str(Listener(1, "tcp", "::ffff:10.0.0.1").ip) == "10.0.0.1"
    assert str(Listener(1, "tcp", "2001:db8::1").ip) == "2001:db8::1"
    assert not Listener(1, "tcp", "::ffff:10.0.0.1").everywhere
