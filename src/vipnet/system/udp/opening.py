"""Sockets with all the options that they have from the beginning."""

from __future__ import annotations

import errno
import socket
from typing import Final

from vipnet.policy import MTU_BASE
from vipnet.system.udp.control import IP_RECVERR, IPV6_RECVERR

_BUFFER_BYTES: Final = 4 << 20  # each way; 30 ms at 1 Gbit/s
_TTL: Final = 64

# linux/in.h, linux/in6.h, asm-generic/socket.h, linux/udp.h: what the socket module has no name for
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_DONT = 10, 23, 0
IPV6_MTU: Final = 24
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
SOL_UDP, UDP_GRO = 17, 104


class NoIPv6Error(Exception):
    """This kernel was built or booted without IPv6."""


def open_ipv4(port: int, dscp: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        _enlarge_buffers(sock)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, _TTL)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
        # DF off, at first: a narrow link has to fragment; with DF it would swallow every full
        # packet wherever a firewall eats the ICMP that says so (RFC 2923).
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DONT)
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        sock.bind(("", port))
    except OSError:
        sock.close()
        raise
    return sock


def open_ipv6(port: int, dscp: int) -> socket.socket:
    try:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise NoIPv6Error from error
    try:
        _enlarge_buffers(sock)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, _TTL)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_DONT)
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU, MTU_BASE)
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        sock.bind(("::", port))
    except OSError as error:
        sock.close()
        if error.errno in (errno.EADDRNOTAVAIL, errno.ENOPROTOOPT):
            raise NoIPv6Error from error
        raise
    return sock


def ask_for_trains(sock: socket.socket) -> bool:
    """Let datagrams that came together be read together (UDP_GRO, Linux 5.0); False: one by one."""
    try:
        sock.setsockopt(SOL_UDP, UDP_GRO, 1)
    except OSError:
        return False
    return True


def _enlarge_buffers(sock: socket.socket) -> None:
    """Room for a burst while Python does something else; beyond rmem_max only with CAP_NET_ADMIN."""
    for force, ask in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, _BUFFER_BYTES)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, ask, _BUFFER_BYTES)


def refusal(port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"UDP port {port} is in use: `ss -ulpn 'sport = :{port}'` shows by whom; "
            "stop that, or set another as [transport] port"
        )
    if error.errno == errno.EACCES:
        return f"UDP port {port} is for root only: set [transport] port to 1024 or above"
    return f"UDP port {port} cannot be opened: {error.strerror}"
