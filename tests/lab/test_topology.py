from __future__ import annotations

import json
from typing import Any

import pytest
from tests.lab.wires import inside, reaches, wires

from vipnet.errors import HostError
from vipnet.lab import topology
from vipnet.lab.layout import ROUTER
from vipnet.lab.topology import Nic, explain_failure, lab_namespaces, nics


def test_hosts_reach_each_other_and_the_router_on_both_lans() -> None:
    with wires(hosts=3) as layout:
        for label, address in (
            ("a", "10.201.1.1"),
            ("a", "10.201.2.1"),
            ("a", "10.201.2.20"),
            ("b", "10.201.1.40"),
        ):
            assert reaches(layout, label, address), (label, address)


def test_one_nic_is_up() -> None:
    with wires() as layout:
        a, b = layout.hosts
        assert nics(layout, a) == (
            Nic(1, up=True, addresses=("10.201.1.10",)),
            Nic(2, up=False, addresses=()),
        )
        assert nics(layout, b) == (
            Nic(1, up=False, addresses=()),
            Nic(2, up=True, addresses=("10.201.2.20",)),
        )


def test_ipv6_is_usable_at_once() -> None:
    with wires(ipv6=True) as layout:
        assert nics(layout, layout.host("a"))[0].addresses == ("10.201.1.10", "fd00:201:1::10")
        assert reaches(layout, "a", "fd00:201:2::20")


def test_a_host_sees_two_nics_and_no_wires() -> None:
    with wires() as layout:
        links = json.loads(inside(layout, "a", "ip", "-j", "link"))
        assert {link["ifname"] for link in links} == {"lo", "eth0", "eth1"}


def test_only_the_bridge_answers_for_the_router() -> None:
    """The wires are in its namespace too: a second answer would lead frames into a dead end."""
    with wires() as layout:
        assert reaches(layout, "a", "10.201.1.1")
        (bridge,) = json.loads(inside(layout, ROUTER, "ip", "-j", "link", "show", "lan1"))
        for place in range(3):  # the first answer is often right by luck
            inside(layout, "a", "ip", "neighbour", "flush", "dev", "eth0")
            assert reaches(layout, "a", "10.201.1.1"), place
            neighbours: list[dict[str, Any]] = json.loads(inside(layout, "a", "ip", "-j", "neighbour"))
            assert [one["lladdr"] for one in neighbours if one["dst"] == "10.201.1.1"] == [bridge["address"]]


def test_a_lab_is_never_taken_for_a_part_of_another() -> None:
    with wires() as layout:
        assert len(lab_namespaces(layout.name)) == 3
        assert lab_namespaces(layout.name.rpartition("-")[0]) == []
        assert lab_namespaces(layout.name[:-1]) == []


def test_what_is_gone_is_gone_twice() -> None:
    with wires() as layout:
        topology.demolish(layout.name)
        assert lab_namespaces(layout.name) == []
        topology.demolish(layout.name)


def test_a_second_lab_of_the_same_name_is_refused() -> None:
    with wires() as layout, pytest.raises(HostError, match=r"`ip netns add vipnet-w-.*File exists"):
        topology.build(layout)


def test_a_failure_names_its_command() -> None:
    text = explain_failure('Error: argument "x" is wrong\nCommand failed -:2\n', ["link show", "link set x"])
    assert text == 'ip failed `ip link set x`: Error: argument "x" is wrong; see `dmesg`'
    assert "needs root" in explain_failure("RTNETLINK answers: Operation not permitted\n", [])
    assert explain_failure("", []) == "ip failed: no reason given; see `dmesg`"
