"""The virtual interface: packets of applications in, packets for applications out."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from pathlib import Path
from typing import Any, Final, Protocol

import pytun
import trio

from vipnet.errors import HostError
from vipnet.wire import udp, virtio
from vipnet.wire.offload import PACKET_MAX, TRAILER_MAX, Offload, Packet
from vipnet.wire.tcp import complete

_DEVICE: Final = "/dev/net/tun"
_READ_BYTES: Final = virtio.HEADER_SIZE + PACKET_MAX
# linux/if_tun.h: checksums are begun only, TCP comes in super-packets, such with ECN too
_TUNSETOFFLOAD: Final = 0x400454D0
_TUNGETIFF: Final = 0x800454D2
_IFREQ = struct.Struct("=16sH22x")  # name, flags
_OFFLOADS: Final = 0x01 | 0x02 | 0x08
# UDP in super-packets, over both kinds of IP. To write such, the kernel has to know them (Linux 6.2);
# asked for, applications' own would come, too, which are rare.
_UDP_OFFLOADS: Final = 0x20 | 0x40

BATCH: Final = 64  # packets at once; then others have their turn
_MEMORY_BYTES: Final = 4 * (_READ_BYTES + TRAILER_MAX)
_LAST_START: Final = _MEMORY_BYTES - _READ_BYTES - TRAILER_MAX


class PacketDevice(Protocol):
    """What the daemon needs of tun0; tests have one in memory."""

    @property
    def name(self) -> str: ...

    @property
    def index(self) -> int: ...

    def fileno(self) -> int | None:
        """To wait for from outside; None where only receive() can."""
        ...

    async def receive(self) -> list[Packet]: ...

    def receive_one(self) -> Packet | None: ...

    def receive_nowait(self) -> list[Packet]: ...

    def send(self, packet: bytes | memoryview, left: Offload | None = None, /) -> bool: ...

    def close(self) -> None: ...


class TunDevice:
    """A TUN interface of this process: it is gone when the process is, however that ends.

    offloads  let the kernel leave work undone, where it knows how

    Raise HostError when the system does not let us have it; the message says what to do.
    """

    def __init__(self, name: str, mtu: int, *, offloads: bool = True) -> None:
        try:
            self._device = _open(name, with_header=offloads)
        except OSError as error:
            raise HostError(_refusal(name, error)) from None
        self._fd: int = self._device.fileno()
        self._header_size = virtio.HEADER_SIZE if _has_header(self._fd) else 0
        self.offloads = False  # whether packets come and go with work left to do
        self._cuts_udp = False  # whether the kernel knows UDP super-packets
        os.set_blocking(self._fd, False)
        os.set_inheritable(self._fd, False)
        self._memory = memoryview(bytearray(_MEMORY_BYTES))
        self._one = (self._memory[:_READ_BYTES],)  # where a packet goes that is read alone,
        self._header = self._memory[: self._header_size]  # and what is said of it
        self._drained = False  # whether the last read came to the end of what was there
        self.refused = 0  # what the kernel handed over though it was not asked to
        try:
            if self._header_size:
                with contextlib.suppress(OSError):
                    fcntl.ioctl(self._fd, _TUNSETOFFLOAD, _OFFLOADS | _UDP_OFFLOADS)
                    self._cuts_udp = True
                with contextlib.suppress(OSError):  # then every packet comes complete: slower
                    fcntl.ioctl(self._fd, _TUNSETOFFLOAD, _OFFLOADS)
                    self.offloads = True
            self.name: str = self._device.name
            self.index: int = socket.if_nametoindex(self.name)
            _keep_ipv6_out(self.name)
            self._device.mtu = mtu
            self._device.up()
        except OSError as error:
            self.close()
            raise HostError(f"interface {name} cannot be brought up: {_reason(error)}; see `dmesg`") from None

    def fileno(self) -> int | None:
        """The descriptor, None after close()."""
        return self._fd if self._fd >= 0 else None

    async def receive(self) -> list[Packet]:
        """Return the next packets that applications sent; views are valid until the next call.

        Raise HostError when the interface was deleted, trio.ClosedResourceError after close().
        """
        while True:
            # Either way others run before anything is read: a cancellation loses no packets.
            if self._fd < 0:
                raise trio.ClosedResourceError
            if self._drained:
                await trio.lowlevel.wait_readable(self._fd)
            else:
                await trio.lowlevel.checkpoint()
            if packets := self.receive_nowait():
                return packets

    def receive_one(self) -> Packet | None:
        """The next packet, if it is there already and what the kernel may hand over; errors as receive()."""
        try:
            size = os.readv(self._fd, self._one)
        except BlockingIOError:
            self._drained = True
            return None
        except OSError as error:
            raise self._gone(error) from None
        self._drained = False
        if self._header == virtio.COMPLETE:
            return Packet(self._memory[virtio.HEADER_SIZE : size])
        return self._packet(0, size)

    def receive_nowait(self) -> list[Packet]:
        """What is there already, as far as there is room for one more of the largest; errors as receive()."""
        memory, fd, at = self._memory, self._fd, 0
        packets: list[Packet] = []
        self._drained = False
        while at <= _LAST_START and len(packets) < BATCH:
            try:
                size = os.readv(fd, (memory[at : at + _READ_BYTES],))
            except BlockingIOError:
                self._drained = True
                break
            except OSError as error:
                if packets:
                    break
                raise self._gone(error) from None
            if packet := self._packet(at, size):
                packets.append(packet)
                at += size + TRAILER_MAX
        return packets

    def _packet(self, at: int, size: int) -> Packet | None:
        """What was read to the memory from AT on; None when the kernel should not have handed it over."""
        memory, start, end = self._memory, at + self._header_size, at + size
        try:
            left = virtio.decode(memory, at, end) if self._header_size else None
        except ValueError:
            self.refused += 1
            return None
        return Packet(memory[start:end], left, memory[start : end + TRAILER_MAX])

    def _gone(self, error: OSError) -> Exception:
        if self._fd < 0:
            return trio.ClosedResourceError()
        return HostError(f"interface {self.name} is gone: {error.strerror}; start vipnet again")

    def send(self, packet: bytes | memoryview, left: Offload | None = None) -> bool:
        """Hand PACKET to the kernel, which does what is LEFT.

        False when it was refused (interface down, no memory, no IP packet).
        """
        if not self._cuts_udp and udp.is_joined(left):
            return not [one for one in udp.cut(packet, left) if not self.send(one, udp.BEGUN)]
        try:
            if self._header_size:
                os.writev(self._fd, (virtio.encode(packet, left), packet))
            else:
                for whole in (packet,) if left is None else complete(packet, left):
                    os.write(self._fd, whole)
        except OSError as error:
            if error.errno == errno.EINVAL and udp.is_joined(left):
                self._cuts_udp = False  # some Linux 6 refuse what they know: 89add40066f9 mended that
                return self.send(packet, left)
            return False
        return True

    def close(self) -> None:
        """Delete the interface, and the routes and addresses on it."""
        if self._fd < 0:
            return
        with contextlib.suppress(RuntimeError):  # outside of trio nobody can be waiting
            trio.lowlevel.notify_closing(self._fd)
        self._fd = -1
        self._device.close()


def _open(name: str, *, with_header: bool) -> Any:  # noqa: ANN401 - pytun is untyped
    """Make the device, with a virtio header before each packet or, where the kernel refuses that, without."""
    # EXCL: never attach to a device that somebody else made.
    flags = pytun.IFF_TUN | pytun.IFF_NO_PI | pytun.IFF_TUN_EXCL
    if with_header:
        with contextlib.suppress(OSError):  # whatever else is wrong is wrong without it too
            return pytun.TunTapDevice(name=name, flags=flags | pytun.IFF_VNET_HDR)
    return pytun.TunTapDevice(name=name, flags=flags)


def _has_header(fd: int) -> bool:
    """Whether each packet has a virtio header: a kernel that has never heard of the flag ignores it."""
    request = bytearray(_IFREQ.size)
    try:
        fcntl.ioctl(fd, _TUNGETIFF, request)
    except OSError:  # before Linux 2.6.27, as is the header
        return False
    _, flags = _IFREQ.unpack(request)
    return bool(flags & pytun.IFF_VNET_HDR)


def _keep_ipv6_out(name: str) -> None:
    """No link-local address, no router solicitations: tun0 carries IPv4 only.

    Where /proc/sys is read-only or IPv6 absent, the node drops what is not IPv4.
    """
    with contextlib.suppress(OSError):
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")


def _refusal(name: str, error: OSError) -> str:
    match error.errno:
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            return (
                f"{_DEVICE} is missing: load it with `modprobe tun`, or start the container "
                f"with `--device {_DEVICE}`"
            )
        case errno.EPERM | errno.EACCES:
            return (
                f"interface {name} cannot be made without CAP_NET_ADMIN: run as root, or start the container "
                "with `--cap-add NET_ADMIN`"
            )
        case errno.EBUSY | errno.EEXIST:
            return (
                f"interface {name} exists already, and is not ours: remove it with `ip link delete {name}`, "
                "or set another name as [tun] interface"
            )
        case errno.EINVAL:
            return (
                f"interface {name}: another kind of interface has this name; set another as [tun] interface"
            )
    return f"interface {name} cannot be made: {_reason(error)}; see `dmesg`"


def _reason(error: OSError) -> str:
    return error.strerror or str(error)  # python-pytun has some words of its own
