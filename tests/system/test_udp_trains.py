"""Datagrams that leave together, and those that came together."""

from __future__ import annotations

import contextlib
import socket

import pytest
from tests.fakes import FakeSockets, FakeWire
from tests.netns import namespace, veth
from tests.system.datagrams import BOUND_S, next_datagram, next_received, run

from vipnet.core.outputs import Fragmentation
from vipnet.system import udp
from vipnet.system.udp import DatagramSockets, UdpSockets, opening
from vipnet.types import Locator


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("last", [1, 700, 1450])
def test_what_leaves_together_arrives_together(host: str, last: int) -> None:
    async def main() -> None:
        one, other = UdpSockets(0), UdpSockets(0)
        payload = bytes(range(256)) * 1000
        payload = payload[: 43 * 1450 + last]
        whole = Fragmentation.AVOIDED  # else IPv6 has no datagram of more than 1,280 bytes
        assert one.send(payload, Locator(host, other.port), None, 1450, whole) is None
        received = await next_received(other)
        assert (bytes(received.payload), received.segment_size) == (payload, 1450)
        assert other.receive_nowait() is None
        await one.writable(Locator(host, other.port))
        one.close()
        other.close()

    run(main)


def test_a_link_too_narrow_for_a_segment_gets_fragments() -> None:
    """UDP_SEGMENT refuses what does not fit the MTU; each datagram by itself may be fragmented."""

    def send(sockets: UdpSockets, listener: socket.socket) -> None:
        destination = Locator("192.0.2.2", 5847)
        for turn in range(2):
            payload = bytes([turn]) * (2 * 1450 + 9)
            assert sockets.send(payload, destination, "192.0.2.1", 1450) is None
            heard = [listener.recv(9999) for _ in range(3)]
            assert heard == [payload[:1450], payload[1450:2900], payload[2900:]]
        assert sockets._whole == {("192.0.2.2", 1450, False)}
        assert sockets.send(bytes(2000), destination, None, 1000) is None
        assert [len(listener.recv(9999)) for _ in range(2)] == [1000, 1000]
        assert sockets._whole == {("192.0.2.2", 1450, False)}, "what fits is cut by the kernel"
        sockets.use_interfaces({"192.0.2.1": socket.if_nametoindex("eth0")})
        assert not sockets._whole, "another network may be wider"

    def inside(listener: socket.socket) -> None:
        with contextlib.closing(UdpSockets(5847)) as sockets:
            send(sockets, listener)

    with namespace() as space, namespace() as other:
        veth(space, "eth0", other, "eth0")
        for host, number in ((space, 1), (other, 2)):
            host.ip(f"addr add 192.0.2.{number}/24 dev eth0\nlink set eth0 mtu 1280 up")
        with other.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as listener:
            listener.bind(("", 5847))
            listener.settimeout(BOUND_S)
            space.call(lambda: inside(listener))


def test_a_kernel_that_does_not_cut_is_helped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 4.18 there is no UDP_SEGMENT."""

    async def main() -> None:
        one, other = UdpSockets(0), UdpSockets(0)
        monkeypatch.setattr(udp, "_UDP_SEGMENT", 0)  # nothing that UDP knows
        destination = Locator("127.0.0.1", other.port)
        for _ in range(2):
            assert one.send(bytes(25), destination, None, 10) is None
            assert [len((await next_datagram(other))[0]) for _ in range(3)] == [10, 10, 5]
        one.close()
        other.close()

    run(main)


def test_without_offloads_every_datagram_is_alone() -> None:
    async def main() -> None:
        one, other = UdpSockets(0, offloads=False), UdpSockets(0, offloads=False)
        destination = Locator("127.0.0.1", other.port)
        one.use_interfaces({})  # a new network does not bring them back
        assert not one.segments
        assert not other.trains
        assert one.send(bytes(25), destination, None, 10) is None
        assert [len((await next_datagram(other))[0]) for _ in range(3)] == [10, 10, 5]
        one.close()
        other.close()

    run(main)


def test_a_receiver_without_trains_hears_what_was_sent_as_one() -> None:
    async def main() -> None:
        one, other = UdpSockets(0), UdpSockets(0, offloads=False)
        assert one.segments
        assert one.trains
        assert one.send(bytes(25), Locator("127.0.0.1", other.port), None, 10) is None
        assert [len((await next_datagram(other))[0]) for _ in range(3)] == [10, 10, 5]
        one.close()
        other.close()

    run(main)


@pytest.mark.parametrize("said", [-(2**31), -1, 0, 26, 2**31 - 1])
def test_a_size_that_lies_is_not_believed(said: int) -> None:
    """Of datagrams that came together each has to have a size, and none reaches beyond what came."""

    class Liar:
        def recvmsg_into(self, buffers: list[memoryview], _size: int) -> object:
            buffers[0][:25] = bytes(25)
            control = [(opening.SOL_UDP, opening.UDP_GRO, udp._INT.pack(said))]
            return 25, control, 0, ("192.0.2.1", 5847)

    sockets = UdpSockets(0)
    received = sockets._receive_from(Liar())  # type: ignore[arg-type]
    assert received is not None
    assert (len(received.payload), received.segment_size) == (25, 25)
    sockets.close()


def test_the_fake_passes_on_what_goes_together() -> None:
    async def main() -> None:
        wire = FakeWire()
        places = Locator("192.0.2.1", 5847), Locator("192.0.2.2", 5847)
        one, other = (FakeSockets(wire, place) for place in places)
        sockets: DatagramSockets = one
        assert sockets.send(bytes(25), places[1], None, 10) is None
        received = await next_received(other)
        assert (len(received.payload), received.segment_size, received.source) == (25, 10, places[0])
        assert other.receive_nowait() is None
        await sockets.writable(places[1])

    run(main)
