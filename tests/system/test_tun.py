from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import dpkt
import pytest
import pytun
import trio
from tests.fakes import FakeTun
from tests.netns import Namespace, namespace
from tests.support import need
from tests.wire.test_tcp import offload_of, tcp
from tests.wire.test_udp import udp as made_udp

from vipnet.errors import HostError
from vipnet.system.tun import PacketDevice, TunDevice
from vipnet.wire.offload import Packet, complete_checksum
from vipnet.wire.tcp import complete
from vipnet.wire.udp import BEGUN, join

BOUND_S = 10.0
IOCTL: Any = fcntl.ioctl
WRITEV = os.writev
UDP_GRO = 104  # linux/udp.h


def udp(source: str, destination: str, payload: bytes) -> bytes:
    datagram = dpkt.udp.UDP(sport=1000, dport=2000, data=payload)
    datagram.ulen = len(datagram)
    return bytes(
        dpkt.ip.IP(
            src=IPv4Address(source).packed,
            dst=IPv4Address(destination).packed,
            p=dpkt.ip.IP_PROTO_UDP,
            data=datagram,
        )
    )


def whole(packets: list[Packet]) -> bytes:
    """The one packet that came, with its checksum."""
    (packet,) = packets
    return bytes(packet.data) if packet.offload is None else complete_checksum(packet.data, packet.offload)


def test_packets_go_both_ways() -> None:
    async def main(space: Namespace) -> None:
        device = TunDevice("tun7", 1400)
        space.ip("addr add 240.0.0.1/32 dev tun7\nroute add 240.0.0.0/4 dev tun7")
        application = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        with application, trio.fail_after(BOUND_S):
            await application.bind(("240.0.0.1", 2000))
            await application.sendto(b"out", ("240.0.0.2", 1000))
            heard = dpkt.ip.IP(whole(await device.receive()))
            assert (heard.src, heard.dst, bytes(heard.data.data)) == (b"\xf0\0\0\1", b"\xf0\0\0\2", b"out")
            packet = udp("240.0.0.2", "240.0.0.1", b"in")
            for form in (packet, memoryview(packet)):
                assert device.send(form)
                assert await application.recvfrom(99) == (b"in", ("240.0.0.2", 1000))
            assert not device.send(b"\xff is no version of IP")
            assert not device.send(b"")
        device.close()

    with namespace() as space:
        space.call(lambda: trio.run(main, space))


def refusing(make: Callable[..., object], **arguments: Any) -> object:
    """A kernel that does not like IFF_VNET_HDR."""
    if arguments["flags"] & pytun.IFF_VNET_HDR:
        raise pytun.Error(errno.EINVAL, "Invalid argument")
    return make(**arguments)


def ignoring(make: Callable[..., object], **arguments: Any) -> object:
    """A kernel that has never heard of it."""
    return make(**{**arguments, "flags": arguments["flags"] & ~pytun.IFF_VNET_HDR})


@pytest.mark.parametrize("kernel", [None, refusing, ignoring])
def test_without_offloads_packets_are_complete(
    kernel: Callable[..., object] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By configuration, and where the kernel has none: out and in, a super-packet too."""
    if kernel is not None:
        monkeypatch.setattr(pytun, "TunTapDevice", partial(kernel, pytun.TunTapDevice))

    async def main(space: Namespace) -> None:
        device = TunDevice("tun7", 1400, offloads=kernel is not None)
        assert not device.offloads
        space.ip("addr add 240.0.0.2/32 dev tun7\nroute add 240.0.0.0/4 dev tun7")
        application = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))  # ETH_P_IP
        with application, wire, trio.fail_after(BOUND_S):
            await application.sendto(b"out", ("240.0.0.1", 1000))
            (packet,) = await device.receive()
            heard = dpkt.ip.IP(packet.data)
            assert (packet.offload, bytes(heard.data.data)) == (None, b"out")
            sum_said, heard.data.sum, heard.sum = heard.data.sum, 0, 0
            assert dpkt.ip.IP(bytes(heard)).data.sum == sum_said

            wire.bind(("tun7", 0x0800))
            wire.settimeout(BOUND_S)
            joined = tcp(bytes(range(256)) * 10)
            left = offload_of(joined, 1000)
            for form in (joined, memoryview(joined)):
                assert device.send(form, left)
                assert [wire.recv(9999) for _ in range(3)] == list(complete(joined, left))
            assert device.send(udp("240.0.0.1", "240.0.0.2", b"in"))
            assert wire.recv(9999).endswith(b"in")
            assert not device.send(b"\xff is no version of IP")
        device.close()

    with namespace() as space:
        space.call(lambda: trio.run(main, space))


def knows_no_udp_offloads(fd: int, request: int, value: Any = 0) -> object:
    """A kernel before Linux 6.2."""
    if isinstance(value, int) and value & 0x60:
        raise OSError(errno.EINVAL, "Invalid argument")
    return IOCTL(fd, request, value)


def refuses_super_packets(fd: int, buffers: Sequence[bytes]) -> int:
    """A kernel between that change and the one that mended it."""
    if buffers[0][1]:
        raise OSError(errno.EINVAL, "Invalid argument")
    return WRITEV(fd, buffers)


@pytest.mark.parametrize("offloads", [True, False])
@pytest.mark.parametrize("kernel", ["new", "old", "broken"])
@pytest.mark.parametrize("segments", [True, False])
def test_a_super_packet_of_udp_comes_as_its_datagrams(
    offloads: bool, kernel: str, segments: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the kernel can, and whether or not the application takes many at once."""
    if kernel == "old":
        monkeypatch.setattr(fcntl, "ioctl", knows_no_udp_offloads)
    elif kernel == "broken":
        monkeypatch.setattr(os, "writev", refuses_super_packets)
    payloads = [bytes((number,)) * 1200 for number in range(40)]
    datagrams = [made_udp(one, identification=number) for number, one in enumerate(payloads)]
    (joined,) = join([Packet(one, BEGUN) for one in datagrams])

    def inside(space: Namespace) -> None:
        device = TunDevice("tun7", 1400, offloads=offloads)
        space.ip("addr add 240.0.0.2/32 dev tun7\nroute add 240.0.0.0/4 dev tun7")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as application:
            application.bind(("240.0.0.2", 2000))
            application.settimeout(BOUND_S)
            if segments:
                application.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
            assert device.send(joined.data, joined.offload)
            got, parts = b"", 0
            while len(got) < 40 * 1200:
                part, source = application.recvfrom(99_999)
                assert source == ("240.0.0.1", 1000)
                got, parts = got + part, parts + 1
            assert got == b"".join(payloads)
            assert parts == (1 if segments and kernel == "new" and offloads else 40)
        space.ip("link set tun7 down")
        assert not device.send(joined.data, joined.offload)
        device.close()

    with namespace() as space:
        space.call(lambda: inside(space))


@pytest.mark.parametrize("offloads", [True, False])
def test_a_packet_is_read_alone(offloads: bool) -> None:
    """Complete ones, and those whose checksum is only begun; what follows stays there."""

    def inside(space: Namespace) -> None:
        device = TunDevice("tun7", 1400, offloads=offloads)
        space.ip("addr add 240.0.0.1/32 dev tun7\nroute add 240.0.0.0/4 dev tun7")
        assert device.receive_one() is None
        sent = udp("240.0.0.1", "240.0.0.2", b"complete")
        with (
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as application,
        ):
            raw.sendto(sent, ("240.0.0.2", 0))
            application.sendto(b"begun", ("240.0.0.2", 1000))
            raw.sendto(sent, ("240.0.0.2", 0))
        first, second = device.receive_one(), device.receive_one()
        assert first is not None
        assert first.offload is None
        assert second is not None
        assert (second.offload is not None) == offloads
        assert whole([second]).endswith(b"begun")
        (third,) = device.receive_nowait()
        assert dpkt.ip.IP(bytes(third.data)).data.data == b"complete"
        assert device.receive_one() is None
        space.ip("link delete tun7")
        with pytest.raises(HostError, match="tun7 is gone"):
            device.receive_one()
        device.close()
        with pytest.raises(trio.ClosedResourceError):
            device.receive_one()

    with namespace() as space:
        space.call(lambda: inside(space))


def test_the_interface_is_as_asked_for_and_ends_with_close() -> None:
    def inside(space: Namespace) -> None:
        device = TunDevice("tun7", 1380)
        assert (device.name, device.index) == ("tun7", device.index)
        shown = space.run("ip", "addr", "show", "tun7")
        assert "mtu 1380" in shown
        assert "UP,LOWER_UP" in shown
        assert "inet6" not in shown, "no IPv6 inside"
        device.close()
        device.close()
        assert "tun7" not in space.run("ip", "link")
        TunDevice("tun7", 1380).close()

    with namespace() as space:
        space.call(lambda: inside(space))


def test_receive_ends_when_the_interface_does() -> None:
    async def close_while_receiving() -> None:
        device = TunDevice("tun7", 1400)
        with trio.fail_after(BOUND_S):
            async with trio.open_nursery() as nursery:

                async def receive() -> None:
                    with pytest.raises(trio.ClosedResourceError):
                        await device.receive()

                nursery.start_soon(receive)
                await trio.testing.wait_all_tasks_blocked()
                device.close()
            with pytest.raises(trio.ClosedResourceError):
                await device.receive()

    async def deleted_by_hand(space: Namespace) -> None:
        device = TunDevice("tun7", 1400)
        space.ip("link delete tun7")
        with trio.fail_after(BOUND_S), pytest.raises(HostError, match="tun7 is gone"):
            await device.receive()
        assert not device.send(udp("240.0.0.2", "240.0.0.1", b""))
        device.close()

    with namespace() as space:
        space.call(lambda: trio.run(close_while_receiving))
        space.call(lambda: trio.run(deleted_by_hand, space))


def test_a_cancelled_receive_loses_nothing() -> None:
    async def main(space: Namespace) -> None:
        device = TunDevice("tun7", 1400)
        space.ip("addr add 240.0.0.1/32 dev tun7\nroute add 240.0.0.0/4 dev tun7")
        application = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        with application, trio.fail_after(BOUND_S):
            await application.sendto(b"kept", ("240.0.0.2", 1000))
            with trio.CancelScope() as scope:
                scope.cancel()
                await device.receive()
            assert scope.cancelled_caught
            assert whole(await device.receive()).endswith(b"kept")
        device.close()

    with namespace() as space:
        space.call(lambda: trio.run(main, space))


def test_a_device_that_is_not_ours_is_left_alone() -> None:
    def inside(space: Namespace) -> None:
        space.ip("tuntap add mode tun name tun7")
        with pytest.raises(HostError, match=r"exists already, and is not ours: .*`ip link delete tun7`"):
            TunDevice("tun7", 1400)
        with pytest.raises(HostError, match="exists already"):
            TunDevice("lo", 1400)
        assert "tun7" in space.run("ip", "link")

    with namespace() as space:
        space.call(lambda: inside(space))


def test_a_killed_daemon_leaves_no_device() -> None:
    code = (
        "from vipnet.system.tun import TunDevice; d = TunDevice('tun7', 1400); print('up', flush=1); input()"
    )
    with namespace() as space:
        daemon = subprocess.Popen(
            ["ip", "netns", "exec", space.name, sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with daemon:
            assert daemon.stdout is not None
            assert daemon.stdout.readline() == "up\n"
            assert "tun7" in space.run("ip", "link")
            daemon.kill()
        space.call(lambda: TunDevice("tun7", 1400).close())


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOENT, "`modprobe tun`"),
        (errno.ENODEV, "`modprobe tun`"),
        (errno.EPERM, "CAP_NET_ADMIN"),
        (errno.EACCES, "CAP_NET_ADMIN"),
        (errno.EBUSY, "exists already"),
        (errno.EINVAL, "another kind"),
        (errno.EMFILE, "Too many open files"),
    ],
)
def test_refusals_say_what_to_do(monkeypatch: pytest.MonkeyPatch, number: int, words: str) -> None:
    def refuse(**_: object) -> None:
        raise pytun.Error(number, "Too many open files" if number == errno.EMFILE else "?")

    monkeypatch.setattr(pytun, "TunTapDevice", refuse)
    with pytest.raises(HostError) as caught:
        TunDevice("tun7", 1400)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_name_that_is_too_long() -> None:
    need(Path("/dev/net/tun").exists(), "/dev/net/tun")
    with pytest.raises(HostError, match="too long"):
        TunDevice("sixteen-letters-", 1400)


def test_the_fake_does_the_same() -> None:
    async def main() -> None:
        fake = FakeTun()
        device: PacketDevice = fake
        fake.outgoing.send_nowait(b"out")
        assert await device.receive() == [Packet(b"out")]
        assert device.send(memoryview(b"in"))
        assert fake.delivered == [b"in"]
        fake.refuses = True
        assert not device.send(b"in")
        device.close()
        with pytest.raises(trio.ClosedResourceError):
            await device.receive()

    trio.run(main)
