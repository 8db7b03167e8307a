from __future__ import annotations

import json
import socket
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from tests.netns import Namespace, namespace, veth

from vipnet.errors import HostError
from vipnet.system.routes import (
    configure_tun,
    install_unreachable,
    link_mtu,
    overlapping_route,
    remove_unreachable,
    set_mtu,
    use_local_token,
)
from vipnet.system.tun import TunDevice
from vipnet.types import Token

SUBNET = IPv4Network("240.0.0.0/4")
OWN, OTHER, REMOTE = (Token(IPv4Address(f"240.0.0.{i}")) for i in (1, 2, 3))


def routes(space: Namespace) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = json.loads(space.run("ip", "-json", "route", "show"))
    return shown


def chosen(space: Namespace, destination: Token) -> tuple[str, str]:
    """The interface and source the kernel takes for DESTINATION."""
    (answer,) = json.loads(space.run("ip", "-json", "route", "get", str(destination)))
    return answer["dev"], answer["prefsrc"]


def test_the_unreachable_route_comes_and_goes_any_number_of_times() -> None:
    def inside(space: Namespace) -> None:
        remove_unreachable(SUBNET)
        install_unreachable(SUBNET)
        install_unreachable(SUBNET)
        (route,) = routes(space)
        assert (route["type"], route["dst"], route["metric"]) == ("unreachable", "240.0.0.0/4", 2**32 - 1)
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as application,
            pytest.raises(OSError, match="No route"),
        ):
            application.sendto(b"", ("240.1.2.3", 9))
        remove_unreachable(SUBNET)
        remove_unreachable(SUBNET)
        assert routes(space) == []

    with namespace() as space:
        space.call(lambda: inside(space))


def test_tokens_go_to_tun_and_stop_when_it_is_gone() -> None:
    def inside(space: Namespace) -> None:
        install_unreachable(SUBNET)
        device = TunDevice("tun7", 1420)
        for _ in range(2):
            configure_tun("tun7", OWN, SUBNET, 1300)
            use_local_token("tun7", OTHER, REMOTE)
        assert chosen(space, REMOTE) == ("tun7", str(OTHER))
        assert chosen(space, Token(IPv4Address("250.0.0.1"))) == ("tun7", str(OWN))
        assert "mtu 1300" in space.run("ip", "link", "show", "tun7")
        assert link_mtu(device.index) == 1300
        set_mtu("tun7", 8920)
        assert link_mtu(device.index) == 8920
        assert link_mtu(4711) is None
        assert len(routes(space)) == 3
        use_local_token("tun7", OWN, REMOTE)
        assert chosen(space, REMOTE) == ("tun7", str(OWN))
        device.close()
        assert [route["type"] for route in routes(space)] == ["unreachable"]

    with namespace() as space:
        space.call(lambda: inside(space))


@pytest.mark.parametrize(
    ("setup", "subnet", "found"),
    [
        ("", "240.0.0.0/4", None),
        ("addr add 10.1.2.3/16 dev eth0", "240.0.0.0/4", None),
        ("addr add 10.1.2.3/16 dev eth0", "10.0.0.0/8", "10.1.0.0/16 dev eth0"),
        ("addr add 10.1.2.3/16 dev eth0", "10.1.2.0/24", "10.1.0.0/16 dev eth0"),
        ("addr add 10.1.2.3/16 dev eth0", "10.2.0.0/16", None),
        ("addr add 240.5.5.5/32 dev eth0", "240.0.0.0/4", "240.5.5.5/32 dev eth0"),
        ("route add 10.7.0.0/16 dev eth0", "10.7.7.0/24", "10.7.0.0/16 dev eth0"),
        ("route add 10.7.0.0/16 dev eth0 table 77", "10.7.7.0/24", "10.7.0.0/16 dev eth0"),
        ("route add blackhole 10.7.0.0/16", "10.7.7.0/24", "10.7.0.0/16"),
        ("route add unreachable 240.0.0.0/4 metric 9", "240.0.0.0/4", "240.0.0.0/4"),
        ("route add unreachable 240.0.0.0/4 metric 4294967295", "240.0.0.0/4", None),
        ("route add unreachable 240.0.0.0/4 metric 4294967295", "240.0.0.0/5", "240.0.0.0/4"),
        ("route add default dev eth0", "240.0.0.0/4", None),
        ("route add 0.0.0.0/1 dev eth0\nroute add 128.0.0.0/1 dev eth0", "240.0.0.0/4", None),
        ("route add 192.0.0.0/2 dev eth0", "240.0.0.0/4", "192.0.0.0/2 dev eth0"),
        (
            "addr add 10.1.0.1/24 dev eth0\n"
            "route add 10.7.0.0/16 nexthop via 10.1.0.2 dev eth0 nexthop via 10.1.0.3 dev eth0",
            "10.7.0.0/24",
            "10.7.0.0/16 dev eth0",
        ),
    ],
)
def test_what_is_in_the_way_of_a_subnet(setup: str, subnet: str, found: str | None) -> None:
    with namespace() as space:
        veth(space, "eth0", space, "eth1")
        space.ip(f"link set eth0 up\nlink set eth1 up\n{setup}")
        network = IPv4Network(subnet)
        assert space.call(lambda: overlapping_route(network, set())) == found
        if found and "dev eth0" in found:
            assert space.call(lambda: overlapping_route(network, {"eth0"})) is None


def test_a_running_daemon_is_not_in_its_own_way() -> None:
    def inside() -> None:
        install_unreachable(SUBNET)
        device = TunDevice("tun7", 1420)
        configure_tun("tun7", OWN, SUBNET, 1420)
        assert overlapping_route(SUBNET, {"tun7"}) is None
        assert overlapping_route(SUBNET, set()) == f"{OWN}/32 dev tun7"
        device.close()

    with namespace() as space:
        space.call(inside)


def test_a_long_routing_table() -> None:
    with namespace() as space:
        veth(space, "eth0", space, "eth1")
        space.ip("link set eth0 up\nlink set eth1 up")
        space.ip("".join(f"route add 10.{i >> 8}.{i & 255}.0/24 dev eth0\n" for i in range(2000)))
        assert (
            space.call(lambda: overlapping_route(IPv4Network("10.7.207.0/24"), set()))
            == "10.7.207.0/24 dev eth0"
        )
        assert space.call(lambda: overlapping_route(IPv4Network("10.7.208.0/24"), set())) is None


def test_refusals_name_what_was_wanted() -> None:
    def inside() -> None:
        with pytest.raises(HostError, match="there is no interface tun9"):
            configure_tun("tun9", OWN, SUBNET, 1420)
        with pytest.raises(HostError, match="there is no interface tun9"):
            use_local_token("tun9", OTHER, REMOTE)
        device = TunDevice("tun7", 1420)
        with pytest.raises(HostError, match="MTU 5 of tun7: Invalid argument"):
            configure_tun("tun7", OWN, SUBNET, 5)
        device.close()

    with namespace() as space:
        space.call(inside)
