"""Addresses and routes of tun0, and the route that keeps tokens from ever leaving in clear.

Each call is one short conversation with the kernel; none waits for anything but
the kernel's answer.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST
from pyroute2.netlink.rtnl import (
    RTM_DELROUTE,
    RTM_GETADDR,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.marshal import MarshalRtnl
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from vipnet.errors import HostError
from vipnet.types import Token
from vipnet.wire.offload import super_packet_max

WORST_METRIC: Final = 2**32 - 1
_LONGER_THAN_DEFAULT: Final = 2  # bits; VPN clients write a default route as two halves

# linux/rtnetlink.h, linux/if.h, linux/if_addr.h
_RT_TABLE_MAIN, _RT_TABLE_LOCAL, _RTPROT_STATIC = 254, 255, 4
_RT_SCOPE_UNIVERSE, _RT_SCOPE_LINK = 0, 253
_RTN_UNICAST, _RTN_UNREACHABLE = 1, 7
_IFF_UP, _IFA_F_NOPREFIXROUTE = 1, 0x200


_SIOCGIFMTU: Final = 0x8921
_IFREQ_BYTES: Final = 40  # at least, on every platform (netdevice(7))
_IFREQ_MTU = struct.Struct("=16xi")

_ERROR = struct.Struct("=16xi")  # nlmsghdr, errno negated
_NLMSG_ERROR: Final = 2
_ANSWER_S: Final = 5.0  # the kernel answers within the call; more is a fault


def overlapping_route(subnet: IPv4Network, ignore: set[str]) -> str | None:
    """Say which address or route of this host lies in SUBNET's way: `10.0.0.0/8 dev eth0`; None: free.

    ignore  interfaces that do not count: our own

    Default routes are in nobody's way, nor are the two halves (0.0.0.0/1, 128.0.0.0/1)
    that VPN clients use instead. Raise HostError.
    """
    for network, name in [*_addresses(), *_routes(subnet)]:
        if network.overlaps(subnet) and name not in ignore:
            return f"{network} dev {name}" if name else f"{network}"
    return None


def install_unreachable(subnet: IPv4Network) -> None:
    """Let packets to SUBNET fail unless a better route exists; also when vipnet has died. Raise HostError."""
    route = _route(subnet, _RTN_UNREACHABLE, RTA_PRIORITY=WORST_METRIC)
    _request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route, f"route unreachable {subnet}")


def remove_unreachable(subnet: IPv4Network) -> None:
    """Undo install_unreachable; nothing happens when there is no such route. Raise HostError."""
    route = _route(subnet, _RTN_UNREACHABLE, RTA_PRIORITY=WORST_METRIC)
    _request(RTM_DELROUTE, 0, route, f"route unreachable {subnet}", but_not=errno.ESRCH)


def configure_tun(ifname: str, own: Token, subnet: IPv4Network, mtu: int) -> None:
    """Give IFNAME the address OWN and send SUBNET's packets there, from OWN. Raise HostError."""
    set_mtu(ifname, mtu)
    index = _index(ifname)
    _add_address(index, ifname, own)
    _add_route(index, ifname, subnet, own)


def set_mtu(ifname: str, mtu: int) -> None:
    """Let IFNAME, which is brought up, have packets of MTU bytes. Raise HostError."""
    link = ifinfmsg()
    link["index"], link["flags"], link["change"] = _index(ifname), _IFF_UP, _IFF_UP
    link["attrs"] = [("IFLA_MTU", mtu), ("IFLA_GSO_MAX_SIZE", super_packet_max(mtu))]
    _request(RTM_NEWLINK, 0, link, f"MTU {mtu} of {ifname}")


def link_mtu(index: int) -> int | None:
    """The MTU of the interface INDEX; None when it is gone."""
    try:
        request = socket.if_indextoname(index).encode().ljust(_IFREQ_BYTES, b"\0")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            answer = fcntl.ioctl(sock, _SIOCGIFMTU, request)
    except OSError:
        return None
    (mtu,) = _IFREQ_MTU.unpack_from(answer)
    return int(mtu)


def use_local_token(ifname: str, local: Token, remote: Token) -> None:
    """Let packets to REMOTE come from LOCAL, not from this host's own token. Raise HostError."""
    index = _index(ifname)
    _add_address(index, ifname, local)
    _add_route(index, ifname, IPv4Network(remote), local)


def _add_address(index: int, ifname: str, address: IPv4Address) -> None:
    message = ifaddrmsg()
    message["family"], message["prefixlen"], message["index"] = socket.AF_INET, 32, index
    message["attrs"] = [
        ("IFA_LOCAL", str(address)),
        ("IFA_ADDRESS", str(address)),
        ("IFA_FLAGS", _IFA_F_NOPREFIXROUTE),
    ]
    _request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, message, f"address {address} of {ifname}")


def _add_route(index: int, ifname: str, destination: IPv4Network, source: IPv4Address) -> None:
    route = _route(destination, _RTN_UNICAST, RTA_OIF=index, RTA_PREFSRC=str(source))
    _request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route, f"route {destination} dev {ifname}")


def _route(destination: IPv4Network, kind: int, **attributes: object) -> rtmsg:
    message = rtmsg()
    message["family"], message["dst_len"] = socket.AF_INET, destination.prefixlen
    message["table"], message["proto"], message["type"] = _RT_TABLE_MAIN, _RTPROT_STATIC, kind
    message["scope"] = _RT_SCOPE_LINK if kind == _RTN_UNICAST else _RT_SCOPE_UNIVERSE
    message["attrs"] = [("RTA_DST", str(destination.network_address)), *attributes.items()]
    return message


def _addresses() -> Iterator[tuple[IPv4Network, str]]:
    message = ifaddrmsg()
    message["family"] = socket.AF_INET
    for answer in _dump(RTM_GETADDR, message):
        address = answer.get_attr("IFA_LOCAL") or answer.get_attr("IFA_ADDRESS")
        network = IPv4Network(f"{address}/{answer['prefixlen']}", strict=False)
        yield network, _name(answer["index"])


def _routes(subnet: IPv4Network) -> Iterator[tuple[IPv4Network, str]]:
    """All routes but default ones, the kernel's own for addresses, and ours that says unreachable."""
    message = rtmsg()
    message["family"] = socket.AF_INET
    for answer in _dump(RTM_GETROUTE, message):
        if answer["dst_len"] < _LONGER_THAN_DEFAULT or answer["table"] == _RT_TABLE_LOCAL:
            continue
        network = IPv4Network(f"{answer.get_attr('RTA_DST')}/{answer['dst_len']}")
        unreachable = answer["type"] == _RTN_UNREACHABLE
        if not (unreachable and network == subnet and answer.get_attr("RTA_PRIORITY") == WORST_METRIC):
            hops = answer.get_attr("RTA_MULTIPATH") or [{"oif": answer.get_attr("RTA_OIF")}]
            yield network, _name(hops[0]["oif"])


def _request(kind: int, flags: int, message: Any, what: str, *, but_not: int = 0) -> None:  # noqa: ANN401 - pyroute2 is untyped
    """Have MESSAGE done; raise HostError that names WHAT, but not for the errno BUT_NOT."""
    with _open() as sock:
        sock.send(_encode(kind, flags | NLM_F_ACK, message))
        (negated,) = _ERROR.unpack_from(sock.recv(65_536))
    if negated and -negated != but_not:
        mend = "; run as root, or with CAP_NET_ADMIN" if -negated == errno.EPERM else "; see `dmesg`"
        raise HostError(f"{what}: {os.strerror(-negated)}{mend}")


def _dump(kind: int, message: Any) -> Iterator[Any]:  # noqa: ANN401 - pyroute2 is untyped
    marshal = MarshalRtnl()
    with _open() as sock:
        sock.send(_encode(kind, NLM_F_DUMP, message))
        while True:
            for answer in marshal.parse(sock.recv(65_536)):
                if answer["header"]["type"] == _NLMSG_ERROR:
                    raise HostError(
                        "the kernel does not list its routes; is this a sandbox without rtnetlink?"
                    )
                if answer["event"] == "NLMSG_DONE":
                    return
                yield answer


def _open() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    sock.settimeout(_ANSWER_S)
    return sock


def _encode(kind: int, flags: int, message: Any) -> bytes:  # noqa: ANN401 - pyroute2 is untyped
    message["header"]["type"], message["header"]["flags"] = kind, NLM_F_REQUEST | flags
    message["header"]["sequence_number"] = 1
    message.encode()
    return bytes(message.data)


def _index(ifname: str) -> int:
    try:
        return socket.if_nametoindex(ifname)
    except OSError:
        raise HostError(f"there is no interface {ifname} any more; start vipnet again") from None


def _name(index: int | None) -> str:
    """The interface's name; empty where a route has none or it is just gone."""
    try:
        return socket.if_indextoname(index or 0)
    except OSError:
        return ""
