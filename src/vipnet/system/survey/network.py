"""Interfaces, default routes, and the settings of the kernel that decide what comes in."""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final

from msgspec import Struct

_SIOCGIFMTU, _SIOCGIFFLAGS, _SIOCGIFADDR = 0x8921, 0x8913, 0x8915  # linux/sockios.h
_IFF_UP: Final = 1
_REJECTED: Final = 0x0200  # linux/route.h, RTF_REJECT
_HEX = struct.Struct("!I" if sys.byteorder == "big" else "<I")
_IFREQ = struct.Struct("=16si20x")
_CONTAINERS: Final = ("docker", "br-", "podman", "cni", "virbr", "lxcbr", "lxdbr", "veth")


class Interface(Struct, frozen=True):
    """One that is up.

    address    its first IPv4 one
    rp_filter  what is in force there: 0 none, 1 strict, 2 loose (ip-sysctl.txt); None: unknown
    """

    name: str
    mtu: int
    address: str | None
    rp_filter: int | None

    @property
    def leads_to_guests(self) -> bool:
        """Containers or virtual machines are behind it, by its name."""
        return self.name.startswith(_CONTAINERS)


class NetworkFacts(Struct, frozen=True):
    """What there is to send and receive by.

    default_route  whether there is one, IPv4 or IPv6
    rejected       destinations that a route calls unreachable
    forwards       this host passes on IPv4 packets of others
    """

    interfaces: tuple[Interface, ...]
    default_route: bool
    forwards: bool
    rejected: tuple[IPv4Network, ...] = ()

    def interface(self, name: str) -> Interface | None:
        return next((one for one in self.interfaces if one.name == name), None)


def network() -> NetworkFacts:
    """Of the network namespace that this thread is in."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        found = [_interface(probe, name) for _, name in socket.if_nameindex()]
    return NetworkFacts(
        tuple(one for one in found if one is not None),
        _has_default_route(),
        _sysctl("ip_forward") == 1,
        tuple(_rejected()),
    )


def _interface(probe: socket.socket, name: str) -> Interface | None:
    try:
        if not _ask(probe, _SIOCGIFFLAGS, name) & _IFF_UP:
            return None
        mtu = _ask(probe, _SIOCGIFMTU, name)
    except OSError:  # it has just gone
        return None
    strict = [_sysctl(f"conf/{one}/rp_filter") for one in ("all", name)]
    known = [value for value in strict if value is not None]
    return Interface(name, mtu, _address(probe, name), max(known) if len(known) == 2 else None)


def _ask(probe: socket.socket, request: int, name: str) -> int:
    answer = fcntl.ioctl(probe, request, _IFREQ.pack(name.encode(), 0))
    value: int = _IFREQ.unpack(answer)[1]
    return value & 0xFFFF if request == _SIOCGIFFLAGS else value


def _address(probe: socket.socket, name: str) -> str | None:
    try:
        answer = fcntl.ioctl(probe, _SIOCGIFADDR, _IFREQ.pack(name.encode(), 0))
    except OSError:
        return None
    return socket.inet_ntoa(answer[20:24])


def _sysctl(name: str) -> int | None:
    try:
        return int(Path(f"/proc/sys/net/ipv4/{name}").read_text())
    except (OSError, ValueError):
        return None


def _has_default_route() -> bool:
    tables = (("route", _is_ipv4_default), ("ipv6_route", _is_ipv6_default))
    return any(is_default(fields) for table, is_default in tables for fields in _routes(table))


def _rejected() -> Iterator[IPv4Network]:
    for fields in _routes("route"):
        if len(fields) >= 8 and fields[0] == "*" and int(fields[3], 16) & _REJECTED:
            destination, mask = (IPv4Address(_HEX.unpack(bytes.fromhex(fields[at]))[0]) for at in (1, 7))
            yield IPv4Network(f"{destination}/{mask}", strict=False)


def _routes(table: str) -> list[list[str]]:
    """The lines of a table of /proc/net, each as its fields; numbers are in hexadecimal."""
    try:
        return [line.split() for line in Path(f"/proc/thread-self/net/{table}").read_text().splitlines()]
    except OSError:
        return []


def _is_ipv4_default(fields: list[str]) -> bool:
    """Of 0.0.0.0/0, or half of it as VPN clients write it; the fourth field has flags (route(8))."""
    if len(fields) < 8 or fields[0] in ("Iface", "*", "lo"):
        return False
    return not int(fields[3], 16) & _REJECTED and fields[7] in ("00000000", "00000080")


def _is_ipv6_default(fields: list[str]) -> bool:
    if len(fields) < 10 or fields[9] == "lo":
        return False
    return not int(fields[8], 16) & _REJECTED and int(fields[1], 16) <= 1
