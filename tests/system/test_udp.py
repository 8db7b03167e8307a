from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
from tests.fakes import FakeSockets, FakeWire
from tests.netns import Namespace, namespace, veth
from tests.system.datagrams import BOUND_S, next_datagram, run

from vipnet.errors import HostError
from vipnet.system import udp
from vipnet.system.udp import DatagramSockets, UdpSockets, opening
from vipnet.types import Locator


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("with_source", [False, True])
def test_datagrams_go_both_ways(host: str, with_source: bool) -> None:
    async def main() -> None:
        one, other = UdpSockets(0), UdpSockets(0)
        source = host if with_source else None
        for payload in (b"", b"x", bytes(9000), memoryview(b"view")):
            assert one.send(payload, Locator(host, other.port), source) is None
            assert await next_datagram(other) == (payload, Locator(host, one.port))
        assert other.send(b"back", Locator(host, one.port), source) is None
        assert await next_datagram(one) == (b"back", Locator(host, other.port))
        one.close()
        other.close()

    run(main)


def test_the_source_is_the_one_asked_for() -> None:
    async def main() -> None:
        one, other = UdpSockets(0), UdpSockets(0)
        for source in ("127.0.0.2", "127.0.0.3"):
            assert one.send(b"x", Locator("127.0.0.1", other.port), source) is None
            assert await next_datagram(other) == (b"x", Locator(source, one.port))
        one.close()
        other.close()

    run(main)


def test_both_families_are_heard_at_once() -> None:
    async def main() -> None:
        one, other = UdpSockets(0), UdpSockets(0)
        for host in ("127.0.0.1", "::1", "127.0.0.1", "::1"):
            assert one.send(host.encode(), Locator(host, other.port), None) is None
        heard = [await next_datagram(other) for _ in range(4)]
        assert sorted(payload for payload, _ in heard) == [b"127.0.0.1"] * 2 + [b"::1"] * 2
        one.close()
        other.close()

    run(main)


def test_a_flood_of_one_family_does_not_silence_the_other() -> None:
    async def main() -> None:
        one, other = UdpSockets(0), UdpSockets(0)
        for host, count in (("127.0.0.1", 100), ("::1", 3)):
            for _ in range(count):
                assert one.send(host.encode(), Locator(host, other.port), None) is None
        heard = [(await next_datagram(other))[0] for _ in range(60)]
        assert heard.count(b"::1") == 3
        one.close()
        other.close()

    run(main)


def test_what_cannot_be_sent_is_a_value() -> None:
    async def main() -> None:
        sockets = UdpSockets(0)
        own = Locator("127.0.0.1", sockets.port)
        assert isinstance(sockets.send(b"", own, "192.0.2.1"), OSError), "not our address"
        assert isinstance(sockets.send(b"", own, "::1"), OSError), "the other family"
        assert isinstance(sockets.send(b"", own, "nonsense"), OSError)
        assert isinstance(sockets.send(bytes(65_508), own, None), OSError), "too long"
        assert isinstance(sockets.send(b"", Locator("0.0.0.0", 0), None), OSError)
        error = sockets.send(bytes(70_000), Locator("::1", sockets.port), "::1")
        assert error is not None
        assert error.errno == errno.EMSGSIZE
        sockets.close()
        assert isinstance(sockets.send(b"", own, None), OSError), "closed"

    run(main)


def test_an_icmp_error_does_not_break_receiving() -> None:
    async def main() -> None:
        sockets = UdpSockets(0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
            nobody.bind(("127.0.0.1", 0))
            port = nobody.getsockname()[1]
        for _ in range(3):  # "port unreachable" comes back
            sockets.send(b"x", Locator("127.0.0.1", port), "127.0.0.1")
        sockets.send(b"still here", Locator("127.0.0.1", sockets.port), None)
        assert (await next_datagram(sockets))[0] == b"still here"
        sockets.close()

    run(main)


def test_close_ends_receive() -> None:
    async def main() -> None:
        sockets = UdpSockets(0)

        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await next_datagram(sockets)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            sockets.close()
        sockets.close()
        await receive()

    run(main)


def test_a_cancelled_receive_loses_nothing() -> None:
    async def main() -> None:
        sockets = UdpSockets(0)
        assert sockets.send(b"kept", Locator("127.0.0.1", sockets.port), None) is None
        with trio.CancelScope() as scope:
            scope.cancel()
            await next_datagram(sockets)
        assert scope.cancelled_caught
        assert (await next_datagram(sockets))[0] == b"kept"
        sockets.close()

    run(main)


def test_a_busy_port_is_said_and_nothing_is_left_open() -> None:
    first = UdpSockets(0)
    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        with pytest.raises(HostError, match=rf"UDP port {first.port} is in use: .*\[transport\] port"):
            UdpSockets(first.port)
        first.close()
        with socket.socket(family, socket.SOCK_DGRAM) as other:
            if family == socket.AF_INET6:
                other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            other.bind((host, first.port))
            with pytest.raises(HostError, match="in use"):
                UdpSockets(first.port)
        first = UdpSockets(first.port)  # nothing of the failures holds it
    first.close()


def test_known_sources_are_not_parsed_again_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "_CACHE_MAX", 2)

    async def main() -> None:
        one, other = UdpSockets(0), UdpSockets(0)

        async def heard_from(source: str) -> Locator:
            assert one.send(b"", Locator("127.0.0.1", other.port), source) is None
            return (await next_datagram(other))[1]

        first = await heard_from("127.0.0.2")
        assert await heard_from("127.0.0.2") is first
        for i in range(3, 9):
            assert (await heard_from(f"127.0.0.{i}")).host == f"127.0.0.{i}"
            assert len(other._known) <= 2
        one.close()
        other.close()

    run(main)


def test_what_no_answer_can_reach_is_dropped_and_counted() -> None:
    async def main(space: Namespace) -> None:
        with trio.fail_after(BOUND_S):
            sockets = UdpSockets(5847)
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other:
                address = socket.getaddrinfo("fe80::1%eth0", 5847, type=socket.SOCK_DGRAM)[0][4]
                other.sendto(b"from fe80::2", address)
            assert sockets.send(b"end", Locator("::1", 5847), None) is None
            assert (await next_datagram(sockets))[0] == b"end"
            assert sockets.lost == 1
            sockets.close()

    with namespace() as space:
        veth(space, "eth0", space, "eth1")
        space.ip("link set eth0 addrgenmode none up\nlink set eth1 addrgenmode none up")
        space.ip("addr add fe80::1/64 dev eth0 nodad")
        space.call(lambda: trio.run(main, space))


def test_a_source_leaves_by_its_own_interface() -> None:
    """The better route is by eth0; a datagram from eth1's address has to leave by eth1 all the same."""

    def inside() -> None:
        sockets = UdpSockets(5847)
        peer = Locator("10.9.9.9", 5847)
        for index in (1, 0):
            source = f"10.0.{index}.1"
            sockets.use_interfaces({source: socket.if_nametoindex(f"eth{index}")})
            assert sockets.send(b"x", peer, source) is None
        sockets.close()

    def sent_by(space: Namespace, interface: str) -> int:
        return int(space.run("cat", f"/sys/class/net/{interface}/statistics/tx_packets"))

    with namespace() as space, namespace() as there:
        for i in (0, 1):
            veth(space, f"eth{i}", there, f"eth{i}")
            there.ip(f"link set eth{i} up")
            space.ip(
                f"link set eth{i} addrgenmode none up\naddr add 10.0.{i}.1/24 dev eth{i}\n"
                f"route add default via 10.0.{i}.2 metric {i + 1}\n"
                f"neigh add 10.0.{i}.2 lladdr 02:00:00:00:00:0{i} dev eth{i}"
            )
        before = sent_by(space, "eth0"), sent_by(space, "eth1")
        space.call(inside)
        assert (sent_by(space, "eth0"), sent_by(space, "eth1")) == (before[0] + 1, before[1] + 1)


def test_without_ipv6_there_is_ipv4() -> None:
    async def main() -> None:
        with trio.fail_after(BOUND_S):
            sockets = UdpSockets(0)
            own = Locator("127.0.0.1", sockets.port)
            assert sockets.send(b"x", own, None) is None
            assert await next_datagram(sockets) == (b"x", own)
            assert isinstance(sockets.send(b"x", Locator("2001:db8::1", 1), None), OSError)
            sockets.close()

    def disable() -> None:
        Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
        trio.run(main)

    with namespace() as space:
        space.call(disable)


def test_options_of_the_outer_header() -> None:
    sockets = UdpSockets(0, dscp=46)
    ipv4, ipv6 = sockets._sockets[False], sockets._sockets[True]
    assert ipv4.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 64
    assert ipv4.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 46 << 2
    assert ipv4.getsockopt(socket.IPPROTO_IP, opening.IP_MTU_DISCOVER) == opening.PMTUDISC_DONT
    assert ipv6.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) == 64
    assert ipv6.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS) == 46 << 2
    assert ipv6.getsockopt(socket.IPPROTO_IPV6, opening.IPV6_MTU_DISCOVER) == opening.PMTUDISC_DONT
    sockets.close()


def test_the_fake_does_the_same() -> None:
    async def main() -> None:
        wire = FakeWire()
        at_home, abroad, server = (Locator(f"192.0.2.{i}", 5847) for i in (1, 2, 3))
        mover, other = FakeSockets(wire, at_home), FakeSockets(wire, server)
        sockets: DatagramSockets = mover
        assert sockets.send(b"1", server, None) is None
        assert await next_datagram(other) == (b"1", at_home)
        mover.locators = (abroad,)
        assert other.send(b"lost", at_home, None) is None
        assert isinstance(sockets.send(b"2", server, at_home.host), OSError)
        assert sockets.send(b"2", server, abroad.host) is None
        assert await next_datagram(other) == (b"2", abroad)
        sockets.close()
        with pytest.raises(trio.ClosedResourceError):
            await next_datagram(sockets)

    run(main)


def listening(interface: str) -> socket.socket:
    every_kind = 0x0003  # linux/if_ether.h, ETH_P_ALL
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(every_kind))
    wire.bind((interface, every_kind))
    wire.setblocking(False)
    return wire


def heard_on(wire: socket.socket) -> int:
    """Of our datagrams: IPv6 has its own to say on a link."""
    count = 0
    while True:
        try:
            content, address = wire.recvfrom(2048)
            count += b"do not detour" in content and address[2] == socket.PACKET_OUTGOING
        except BlockingIOError:
            return count


@pytest.mark.parametrize("rule", [True, False], ids=["by-a-rule", "by-two-halves"])
@pytest.mark.parametrize("is_ipv6", [False, True], ids=["IPv4", "IPv6"])
def test_nothing_leaves_by_a_detour(is_ipv6: bool, rule: bool) -> None:
    """Eth1 stands for a tunnel that has taken the default route, as wg-quick does it, or OpenVPN."""
    net, far, bits = ("fd00:{}::{}", "fd09::9", 64) if is_ipv6 else ("10.0.{}.{}", "10.9.9.9", 24)
    gateways = [net.format(i, 2) for i in (0, 1)]
    halves = ("::/1", "8000::/1") if is_ipv6 else ("0.0.0.0/1", "128.0.0.0/1")

    def inside() -> list[tuple[int, int]]:
        """How many leave by (eth0, eth1), without and with that knowledge."""
        sockets, found = UdpSockets(5847), []
        for detours in ((), (net.format(1, 1),)):
            sockets.use_interfaces({net.format(0, 1): socket.if_nametoindex("eth0")}, detours)
            with ExitStack() as stack:
                wires = [stack.enter_context(listening(f"eth{i}")) for i in (0, 1)]
                for _ in range(3):
                    assert sockets.send(b"do not detour", Locator(far, 5847), None) is None
                found.append((heard_on(wires[0]), heard_on(wires[1])))
        sockets.close()
        return found

    with namespace() as space, namespace() as there:
        for i in (0, 1):
            veth(space, f"eth{i}", there, f"eth{i}")
            there.ip(f"link set eth{i} up")
            space.ip(
                f"link set eth{i} addrgenmode none up\n"
                f"addr add {net.format(i, 1)}/{bits} dev eth{i} {'nodad' if is_ipv6 else ''}\n"
                f"neigh add {gateways[i]} lladdr 02:00:00:00:00:0{i} dev eth{i}\n"
            )
        space.ip(f"route add default via {gateways[0]} dev eth0 metric 9\n")
        if rule:
            space.ip(f"route add default via {gateways[1]} dev eth1 table 51820\n")
            family = "-6" if is_ipv6 else "-4"
            space.run("ip", family, "rule", "add", "not", "fwmark", "51820", "table", "51820")
            space.run("ip", family, "rule", "add", "table", "main", "suppress_prefixlength", "0")
        else:
            space.ip("".join(f"route add {half} via {gateways[1]} dev eth1\n" for half in halves))
        assert space.call(inside) == [(0, 3), (3, 0)]


def test_an_instant_without_a_way_is_no_reason_for_a_detour() -> None:
    """The address is gone and nobody has told us yet; then we know, and have no other."""
    with namespace() as space, namespace() as there:
        for i in (0, 1):
            veth(space, f"eth{i}", there, f"eth{i}")
            there.ip(f"link set eth{i} up\naddr add 10.0.{i}.2/24 dev eth{i}\n")
            space.ip(f"link set eth{i} up\naddr add 10.0.{i}.1/24 dev eth{i}\n")
        space.ip("route add default via 10.0.1.2 dev eth1\n")

        def inside() -> tuple[int, int, object]:
            sockets, beside = UdpSockets(5847), Locator("10.0.0.2", 5847)
            tunnel, index = ("10.0.1.1",), socket.if_nametoindex("eth0")
            with listening("eth0") as wire, listening("eth1") as detour:
                sockets.use_interfaces({"10.0.0.1": index}, tunnel)
                assert sockets.send(b"do not detour", beside) is None
                space.ip("addr del 10.0.0.1/24 dev eth0\n")
                sockets.send(b"do not detour", beside)
                sockets.use_interfaces({}, tunnel)
                refusal = sockets.send(b"do not detour", beside)
                found = heard_on(wire), heard_on(detour), refusal and refusal.errno
            sockets.close()
            return found

        assert space.call(inside) == (2, 0, errno.ENETUNREACH)
