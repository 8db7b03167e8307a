"""Datagrams that are too large for a link: whole, in fragments or not at all, and who says so."""

from __future__ import annotations

import errno
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from tests.lab.labs import wait_until
from tests.netns import Namespace, namespace, veth

from vipnet.core.outputs import Fragmentation, TooBig
from vipnet.system.udp import UdpSockets, control
from vipnet.types import Locator

ALLOWED, AVOIDED, FORBIDDEN = Fragmentation.ALLOWED, Fragmentation.AVOIDED, Fragmentation.FORBIDDEN
BOUND_S = 10.0
FAMILIES = {
    # network of a and r, network of r and b
    "IPv4": ("192.0.2.{}/24", "198.51.100.{}/24"),
    "IPv6": ("2001:db8:1::{}/64", "2001:db8:2::{}/64"),
}


@contextmanager
def networks(family: str, first_mtu: int, second_mtu: int) -> Iterator[tuple[Namespace, Namespace, Locator]]:
    """Hosts a and b with a router between them, and where b is.

    a .1 -- first_mtu -- .9 r .9 -- second_mtu -- .2 b
    """
    first, second = FAMILIES[family]
    nodad = " nodad" if family == "IPv6" else ""
    with namespace() as a, namespace() as r, namespace() as b:
        veth(a, "eth0", r, "to_a")
        veth(b, "eth0", r, "to_b")
        r.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for space, name, network, number, mtu in (
            (a, "eth0", first, 1, first_mtu),
            (r, "to_a", first, 9, first_mtu),
            (r, "to_b", second, 9, second_mtu),
            (b, "eth0", second, 2, second_mtu),
        ):
            space.ip(f"link set {name} mtu {mtu} up\naddr add {network.format(number)} dev {name}{nodad}")
        for space, network in ((a, first), (b, second)):
            gateway = network.format(9).split("/")[0]
            space.run("ip", f"-{family[-1]}", "route", "add", "default", "via", gateway)
        there = second.format(2).split("/")[0]
        # A new link drops what it is given until the kernel has noticed that it is one.
        wait_until(lambda: _answers(a, there), "packets arrive")
        yield a, b, Locator(there, 5847)


def _answers(space: Namespace, host: str) -> bool:
    try:
        space.run("ping", "-c", "1", "-W", "1", host)
    except subprocess.CalledProcessError:
        return False
    return True


@contextmanager
def listening(space: Namespace, at: Locator) -> Iterator[socket.socket]:
    kind = socket.AF_INET6 if ":" in at.host else socket.AF_INET
    with space.call(lambda: socket.socket(kind, socket.SOCK_DGRAM)) as listener:
        listener.bind(("", at.port))
        listener.settimeout(BOUND_S)
        yield listener


def reports(sockets: UdpSockets) -> list[TooBig]:
    """What there is to be said, after waiting for it as the daemon does."""
    deadline = time.monotonic() + BOUND_S
    found: list[TooBig] = []
    while not found and time.monotonic() < deadline:
        assert sockets.receive_nowait() is None
        sockets._errors = True  # as readable() leaves it, when nothing can be received
        while report := sockets.too_big_nowait():
            found.append(report)
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_router_says_what_passes(family: str) -> None:
    def inside(listener: socket.socket, there: Locator) -> None:
        with closing(UdpSockets(5847)) as sockets:
            full = bytes(range(250)) * 5 + bytes(150)
            assert sockets.send(full, there, None, None, AVOIDED) is None
            (report,) = reports(sockets)
            assert (report.destination, report.mtu, report.local) == (there, 1280, False)
            assert len(report.quoted) >= 12
            assert full.startswith(report.quoted)
            # In fragments it arrives: IPv4 is cut by the router, IPv6 by ourselves.
            for fragmentation in (ALLOWED, ALLOWED):
                assert sockets.send(full, there, None, None, fragmentation) is None
                assert listener.recv(9999) == full
            # What fits is not held up, and goes whole.
            assert sockets.send(full[:1200] * 3, there, None, 1200, AVOIDED) is None
            assert [listener.recv(9999) for _ in range(3)] == [full[:1200]] * 3

    with networks(family, 1500, 1280) as (a, b, there), listening(b, there) as listener:
        a.call(lambda: inside(listener, there))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("count", [1, 3])
def test_our_own_link_is_too_narrow(family: str, count: int) -> None:
    """What should go whole goes in fragments all the same, a probe not at all; the queue says what fits."""

    def inside(listener: socket.socket, there: Locator) -> None:
        with closing(UdpSockets(5847)) as sockets:
            full = bytes(range(250)) * 5 + bytes(150)
            segment_size = len(full) if count > 1 else None
            for _ in range(2):
                assert sockets.send(full * count, there, None, segment_size, AVOIDED) is None
                assert [listener.recv(9999) for _ in range(count)] == [full] * count
                found = reports(sockets)
                said = {(report.destination.host, report.mtu, report.local) for report in found}
                assert said == {(there.host, 1300, True)}
            refused = sockets.send(full, there, None, None, FORBIDDEN)
            assert refused is not None
            assert refused.errno == errno.EMSGSIZE
            assert reports(sockets)
            assert sockets.send(b"last", there, None, None, FORBIDDEN) is None
            assert listener.recv(9999) == b"last", "the probe did not arrive"

    with networks(family, 1300, 1500) as (a, b, there), listening(b, there) as listener:
        a.call(lambda: inside(listener, there))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_error_about_one_datagram_costs_no_other(family: str) -> None:
    """Nobody listens there: the next send is told, and goes all the same."""

    def inside(listener: socket.socket, there: Locator, nobody: Locator) -> None:
        with closing(UdpSockets(5847)) as sockets:
            for number in range(50):
                assert sockets.send(b"to nobody", nobody) is None
                assert sockets.send(b"%d" % number * 100, there, None, 100) is None
            heard = b"".join(listener.recv(9999) for _ in range(sum(len(str(n)) for n in range(50))))
            assert heard == b"".join(b"%d" % number * 100 for number in range(50))
            assert sockets.segments
            sockets._errors = True
            assert sockets.too_big_nowait() is None, "that is another error"

    with networks(family, 1500, 1500) as (a, b, there), listening(b, there) as listener:
        a.call(lambda: inside(listener, there, Locator(there.host, there.port + 1)))


@pytest.mark.parametrize(
    "address", [("192.0.2.9", 0), ("2001:db8::9", 5847, 0, 0), ("fe80::9%eth0", 5847, 0, 2)]
)
@pytest.mark.parametrize("kind", [(0, 11), (41, 25), (17, 104)])
def test_any_entry_of_the_queue_is_read_or_passed_over(
    address: tuple[str, int], kind: tuple[int, int]
) -> None:
    value = struct.pack("=IBBBBII", errno.EMSGSIZE, 3, 2, 0, 0, 1300, 0)
    report = control.too_big(b"quoted", [(*kind, value)], address)
    if "%" in address[0] or kind == (17, 104):
        assert report is None, "no peer is at a link-local address"
    else:
        assert report == TooBig(Locator(*address[:2]), 1300, b"quoted")
    assert control.too_big(b"", [(*kind, value[:9])], address) is None
