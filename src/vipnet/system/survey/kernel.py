"""The kernel, /dev/net/tun, what this process and the daemon may do, and which offloads really work."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import platform
import re
import socket
import struct
from pathlib import Path
from typing import Final

from msgspec import Struct

CAP_NET_BIND_SERVICE: Final = 10  # linux/capability.h
CAP_NET_ADMIN: Final = 12

_TUN: Final = Path("/dev/net/tun")
# linux/if_tun.h
_TUNSETIFF, _TUNGETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x800454D2, 0x400454D0
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
_TUN_F_CSUM, _TUN_F_TSO4 = 0x01, 0x02
_IFREQ = struct.Struct("=16sH22x")
# linux/udp.h
_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
_CUT: Final = 100  # bytes of each datagram that is tried
_WAIT_S: Final = 1.0


class KernelFacts(Struct, frozen=True):
    """The kernel and what may be done with it.

    system, release   as uname(2) says
    tun_errno         why /dev/net/tun cannot be opened; None: it can
    capabilities      effective ones of the daemon when one runs, else of this process, as a bit mask
    is_daemons        whose they are
    """

    system: str
    release: str
    tun_errno: int | None
    capabilities: int
    is_daemons: bool

    @property
    def version(self) -> tuple[int, int]:
        """(0, 0) when the release is no number."""
        found = re.match(r"(\d+)\.(\d+)", self.release)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    def has(self, capability: int) -> bool:
        return bool(self.capabilities >> capability & 1)


class OffloadFacts(Struct, frozen=True):
    """What was tried and worked; None: could not be tried.

    tun          packets come with a virtio header, and TCP in super-packets
    udp_send     a send was cut into datagrams (UDP_SEGMENT)
    udp_receive  datagrams were read together (UDP_GRO)
    """

    tun: bool | None
    udp_send: bool | None
    udp_receive: bool | None


def kernel(daemon_pid: int | None) -> KernelFacts:
    own = platform.uname()
    mask = None if daemon_pid is None else _capabilities(str(daemon_pid))
    return KernelFacts(
        own.system,
        own.release,
        _tun_errno(),
        _capabilities("self") or 0 if mask is None else mask,
        mask is not None,
    )


def offloads() -> OffloadFacts:
    """Try them: on a TUN interface that lives for a moment, and on two sockets of the loopback."""
    cut = _try_udp()
    return OffloadFacts(_try_tun(), None if cut is None else cut[0] > 1, None if cut is None else cut[1])


def _tun_errno() -> int | None:
    try:
        os.close(os.open(_TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return error.errno or errno.EIO
    return None


def _capabilities(process: str) -> int | None:
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", text, re.MULTILINE)
    return int(found[1], 16) if found else None


def _try_tun() -> bool | None:
    try:
        device = os.open(_TUN, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        request = bytearray(_IFREQ.pack(b"vipnet%d", _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR))
        try:
            fcntl.ioctl(device, _TUNSETIFF, request)
        except PermissionError:
            return None
        except OSError:
            return False
        try:
            # A kernel that has never heard of the flag ignores it.
            fcntl.ioctl(device, _TUNGETIFF, request)
            fcntl.ioctl(device, _TUNSETOFFLOAD, _TUN_F_CSUM | _TUN_F_TSO4)
        except OSError:
            return False
        return bool(_IFREQ.unpack(request)[1] & _IFF_VNET_HDR)
    finally:
        os.close(device)


def _try_udp() -> tuple[int, bool] | None:
    """(datagrams that one send became, whether they were read together); None: no loopback."""
    with contextlib.ExitStack() as stack:
        sender, receiver = (
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)
        )
        try:
            receiver.bind(("127.0.0.1", 0))
            receiver.settimeout(_WAIT_S)
            joins = _set(receiver, _UDP_GRO, 1)
            if not _set(sender, _UDP_SEGMENT, _CUT):
                return 1, joins
            sender.sendto(bytes(3 * _CUT), receiver.getsockname())
            sizes = [len(receiver.recv(4 * _CUT))]
            while sum(sizes) < 3 * _CUT:
                sizes.append(len(receiver.recv(4 * _CUT)))
        except OSError:
            return None
        return (3, sizes == [3 * _CUT]) if joins else (len(sizes), False)


def _set(sock: socket.socket, option: int, value: int) -> bool:
    try:
        sock.setsockopt(_SOL_UDP, option, value)
    except OSError:
        return False
    return True
