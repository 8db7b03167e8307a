from __future__ import annotations

from ipaddress import IPv4Network

from tests.netns import Namespace, namespace, veth

from vipnet.system.survey import network
from vipnet.system.survey.network import Interface


def test_an_empty_namespace() -> None:
    with namespace() as space:
        found = space.call(network.network)
    (lo,) = found.interfaces
    assert (lo.name, lo.mtu, lo.address) == ("lo", 65_536, "127.0.0.1")
    assert (found.default_route, found.rejected) == (False, ())


def test_what_was_set_is_found() -> None:
    def settings(space: Namespace, **values: int) -> None:
        for name, value in values.items():
            space.run("sysctl", "-qw", f"net.ipv4.{name.replace('__', '.')}={value}")

    with namespace() as space:
        veth(space, "eth0", space, "eth1")
        space.ip("link set eth0 mtu 1280 up\nlink set eth1 up\naddr add 10.9.0.1/24 dev eth0")
        settings(
            space, ip_forward=1, conf__all__rp_filter=0, conf__eth0__rp_filter=1, conf__eth1__rp_filter=0
        )
        found = space.call(network.network)
        assert found.forwards
        assert found.interface("eth0") == Interface("eth0", 1280, "10.9.0.1", 1)
        assert found.interface("eth1") == Interface("eth1", 1500, None, 0)
        settings(space, conf__all__rp_filter=2)
        loose = space.call(network.network).interface("eth0")
        assert loose is not None
        assert loose.rp_filter == 2, "the greater of both is in force"
        space.ip("link set eth1 down\nlink set eth0 down")
        assert space.call(network.network).interface("eth1") is None


def test_default_routes() -> None:
    def has_default(routes: str) -> bool:
        with namespace() as space:
            veth(space, "eth0", space, "eth1")
            space.ip("link set eth1 up\nlink set eth0 up\naddr add 10.9.0.1/24 dev eth0")
            space.ip("addr add fd09::1/64 dev eth0 nodad\n" + routes)
            return space.call(network.network).default_route

    assert not has_default("route add 10.0.0.0/8 via 10.9.0.2\nroute add fd00::/8 via fd09::2")
    assert has_default("route add default via 10.9.0.2")
    assert has_default("route add 128.0.0.0/1 via 10.9.0.2"), "half of it, as VPN clients do"
    assert has_default("route add default via fd09::2")
    assert not has_default("route add unreachable default metric 9\nroute add unreachable ::/0 metric 9")


def test_what_a_killed_daemon_leaves() -> None:
    with namespace() as space:
        space.ip("route add unreachable 240.0.0.0/4 metric 4294967295\nroute add prohibit 10.7.0.0/16")
        found = space.call(network.network)
    assert IPv4Network("240.0.0.0/4") in found.rejected


def test_guests() -> None:
    assert Interface("docker0", 1500, None, 0).leads_to_guests
    assert Interface("br-0123456789ab", 1500, None, 0).leads_to_guests
    assert not Interface("eth0", 1500, None, 0).leads_to_guests
