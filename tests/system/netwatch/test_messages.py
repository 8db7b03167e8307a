from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg
from tests.netns import Namespace, namespace, veth

from vipnet.system.netwatch import messages
from vipnet.system.netwatch.messages import Address, Link, Route, decode

V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)


def encoded(message: Any, kind: int, header_flags: int = 0, **fields: Any) -> bytes:
    """MESSAGE as an independent encoder writes it."""
    message["header"]["type"], message["header"]["flags"] = kind, header_flags
    message["attrs"] = fields.pop("attrs")
    for name, value in fields.items():
        message[name] = value
    message.encode()
    return bytes(message.data)


def address(host: str, flags: int = 0, kind: int = 20, **attributes: Any) -> bytes:
    attrs = [("IFA_ADDRESS", host), ("IFA_FLAGS", flags), *attributes.items()]
    family = V6 if ":" in host else V4
    return encoded(ifaddrmsg(), kind, family=family, prefixlen=24, flags=flags & 0xFF, index=3, attrs=attrs)


def link(flags: int, kind: int = 16, family: int = 0, info: str = "veth") -> bytes:
    attrs = [
        ("IFLA_MTU", 1500),
        ("IFLA_IFNAME", "eth0"),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", info)]}),
    ]
    return encoded(ifinfmsg(), kind, family=family, index=3, flags=flags, attrs=attrs)


def route(destination: str, flags: int = 0, kind: int = 24, type_: int = 1, **attributes: Any) -> bytes:
    host, length = destination.split("/")
    attrs = [*([("RTA_DST", host)] if int(length) else []), *attributes.items()]
    family = V6 if ":" in host else V4
    return encoded(
        rtmsg(), kind, flags, family=family, dst_len=int(length), type=type_, table=254, attrs=attrs
    )


def fact(data: bytes) -> messages.Fact | None:
    (message,) = decode(data)
    return message.fact


@pytest.mark.parametrize(
    ("flags", "is_up", "has_carrier"),
    [(0, False, False), (0x1, True, False), (0x11043, True, True), (0x10000, False, True)],
)
def test_links(flags: int, is_up: bool, has_carrier: bool) -> None:
    assert fact(link(flags)) == Link(3, "eth0", "veth", is_up, has_carrier)


def test_links_that_are_none() -> None:
    assert fact(link(0x10009)) is None, "lo"
    assert fact(link(0x10001, family=socket.AF_UNIX)) is None, "what a bridge says of a port has a family"


@pytest.mark.parametrize(
    ("host", "flags", "usable"),
    [
        ("192.0.2.1", 0x80, True),
        ("192.0.2.1", 0x01, True),  # secondary
        ("192.0.2.1", 0x20, False),  # deprecated
        ("2001:db8::1", 0x80, True),
        ("2001:db8::1", 0x01, False),  # temporary: the same bit
        ("2001:db8::1", 0x40, False),  # tentative
        ("2001:db8::1", 0x44, True),  # optimistic
        ("2001:db8::1", 0x08, False),  # a duplicate
        ("2001:db8::1", 0x20, False),
        ("2001:db8::1", 0x300, True),  # only in the long flags
    ],
)
def test_addresses(host: str, flags: int, usable: bool) -> None:
    assert fact(address(host, flags)) == Address(3, host, usable)


@pytest.mark.parametrize("host", ["127.0.0.2", "169.254.1.1", "fe80::1", "::1", "224.0.0.1"])
def test_addresses_that_lead_to_nobody(host: str) -> None:
    assert fact(address(host)) is None


def test_of_two_ends_the_local_one() -> None:
    assert fact(address("192.0.2.2", IFA_LOCAL="192.0.2.1")) == Address(3, "192.0.2.1", True)


def test_default_routes() -> None:
    data = route("0.0.0.0/0", RTA_OIF=3, RTA_GATEWAY="192.0.2.1", RTA_PRIORITY=100, RTA_TABLE=254)
    found = fact(data)
    assert isinstance(found, Route)
    assert (found.family, found.is_default, found.metric, found.indices) == (V4, True, 100, (3,))
    found = fact(route("::/0", RTA_OIF=3, RTA_PRIORITY=1024))
    assert isinstance(found, Route)
    assert (found.family, found.is_default, found.metric) == (V6, True, 1024)
    for half in ("0.0.0.0/1", "128.0.0.0/1"):
        found = fact(route(half, RTA_OIF=3))
        assert isinstance(found, Route)
        assert found.is_default, "as some VPN clients write it"


def test_routes_by_gateways() -> None:
    found = fact(route("10.0.0.0/8", RTA_OIF=3, RTA_GATEWAY="192.0.2.1"))
    assert isinstance(found, Route)
    assert not found.is_default
    assert fact(route("10.0.0.0/8", RTA_OIF=3)) is None, "a network of our own"
    assert fact(route("10.0.0.0/8", RTA_OIF=3, RTA_GATEWAY="192.0.2.1", type_=7)) is None, "unreachable"
    assert fact(route("192.0.2.0/24", RTA_OIF=3, RTA_GATEWAY="192.0.2.1", RTA_TABLE=255)) is None, (
        "the kernel's"
    )


def test_the_key_is_what_the_kernel_replaces_by() -> None:
    def key(destination: str, **attributes: Any) -> bytes:
        found = fact(route(destination, RTA_GATEWAY="192.0.2.1", **attributes))
        assert isinstance(found, Route)
        return found.key

    assert key("10.0.0.0/8", RTA_OIF=3) == key("10.0.0.0/8", RTA_OIF=4)
    different = [
        key("10.0.0.0/8", RTA_OIF=3),
        key("10.0.0.0/9", RTA_OIF=3),
        key("11.0.0.0/8", RTA_OIF=3),
        key("10.0.0.0/8", RTA_OIF=3, RTA_PRIORITY=1),
        key("10.0.0.0/8", RTA_OIF=3, RTA_TABLE=100),
        key("0.0.0.0/0", RTA_OIF=3),
    ]
    assert len(set(different)) == len(different)


def test_marks_of_a_message() -> None:
    (message,) = decode(route("0.0.0.0/0", flags=0x100, RTA_OIF=3))
    assert (message.replaces, message.gone, message.interrupted) == (True, False, False)
    (message,) = decode(route("0.0.0.0/0", flags=0x10, kind=25, RTA_OIF=3))
    assert (message.replaces, message.gone, message.interrupted) == (False, True, True)
    both = list(decode(link(1) + address("192.0.2.1", kind=21)))
    assert [(type(message.fact), message.gone) for message in both] == [(Link, False), (Address, True)]


@given(st.binary(max_size=40), st.sampled_from([16, 17, 20, 21, 24, 25, 3, 99]), st.integers(0, 200))
def test_cut_or_strange_attributes_do_not_hang(body: bytes, kind: int, length: int) -> None:
    data = struct.pack("=IHHII", length, kind, 0, 0, 0) + body
    with contextlib.suppress(struct.error, ValueError):
        assert len(list(decode(data))) <= 4


def test_the_kernels_own_words() -> None:
    """What `ip` made is what is read, next hops of both kinds of multipath routes included."""

    def inside(space: Namespace) -> None:
        facts: list[object] = []
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
            sock.settimeout(10)
            for kind in (messages.GETLINK, messages.GETADDR, messages.GETROUTE):
                sock.send(messages.dump_request(kind))
                done = False
                while not done:
                    for message in decode(sock.recv(65_536)):
                        assert message.kind != messages.ERROR
                        done = done or message.kind == messages.DONE
                        facts.append(message.fact)
            eth0, eth1 = (socket.if_nametoindex(name) for name in ("eth0", "eth1"))
        assert Link(eth0, "eth0", "veth", True, True) in facts
        assert Address(eth0, "10.0.0.1", True) in facts
        assert Address(eth0, "2001:db8::1", True) in facts
        assert not any(isinstance(fact, Link) and fact.name == "lo" for fact in facts)
        routes = [fact for fact in facts if isinstance(fact, Route)]
        assert sorted((fact.family, fact.is_default, fact.metric, fact.indices) for fact in routes) == [
            (V4, False, 7, (eth0, eth1)),
            (V4, True, 5, (eth0,)),
            (V6, True, 1024, (eth0,)),
        ]

    with namespace() as space:
        veth(space, "eth0", space, "eth1")
        space.ip("link set eth0 up\nlink set eth1 up")
        space.ip(
            "addr add 10.0.0.1/24 dev eth0\naddr add 10.1.0.1/24 dev eth1\n"
            "addr add 2001:db8::1/64 dev eth0 nodad\n"
            "route add default via 10.0.0.9 metric 5\nroute add default via 2001:db8::9\n"
            "route add 10.2.0.0/16 metric 7 nexthop via 10.0.0.9 nexthop via 10.1.0.9"
        )
        space.call(lambda: inside(space))
