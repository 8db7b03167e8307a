from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import msgspec
import pytest
from tests.lab.wires import inside, reaches, wires
from tests.schema import hold
from tests.support import need_program

from vipnet.errors import ConfigError, HostError
from vipnet.lab import namespaces
from vipnet.lab.layout import Lan, Layout
from vipnet.lab.moves import Change, Kind, LabMove, carry_out, plan_move
from vipnet.lab.topology import nics
from vipnet.policy import DEFAULT_PORT


@pytest.fixture(scope="module")
def layout() -> Iterator[Layout]:
    """Each test leaves the hosts on one LAN, with plain IPv4 addresses."""
    with wires() as made:
        yield made


def move(layout: Layout, *labels: str, kind: Kind = "switch", lan: Lan | None = None) -> list[LabMove]:
    return carry_out([plan_move(layout, label, kind, lan) for label in labels])


def at(layout: Layout, label: str) -> list[str]:
    """The addresses of NICs that are up."""
    return [address for nic in nics(layout, layout.host(label)) if nic.up for address in nic.addresses]


def test_a_switch_goes_to_the_other_lan_and_back(layout: Layout) -> None:
    (there,) = move(layout, "a")
    assert (there.host, there.before, there.after) == ("a", "10.201.1.10", "10.201.2.10")
    assert at(layout, "a") == ["10.201.2.10"]
    assert reaches(layout, "a", "10.201.1.1"), "by its new router"
    assert reaches(layout, "a", "10.201.2.20")
    (back,) = move(layout, "a")
    assert (back.before, back.after) == (there.after, there.before)
    assert reaches(layout, "a", "10.201.2.20")


def test_what_is_printed_is_as_others_rely_on(layout: Layout) -> None:
    moves = move(layout, "a", "b")
    hold(msgspec.json.decode(msgspec.json.encode({"moves": moves})), "lab-move")
    move(layout, "a", "b")


def test_the_time_is_that_of_the_change(layout: Layout) -> None:
    before = time.monotonic_ns()
    (done,) = move(layout, "a")
    assert before < done.event_ns < done.done_ns < time.monotonic_ns()
    move(layout, "a")


def test_away_for_a_while(layout: Layout) -> None:
    (done,) = carry_out([plan_move(layout, "a", ends=True)], 50.0)
    assert done.done_ns - done.event_ns >= 50_000_000
    move(layout, "a")


def test_none_joins_before_all_have_left(layout: Layout) -> None:
    """B's join needs an interface that A's leave makes: in any other order it fails."""
    a, b = layout.netns("a"), layout.netns("b")
    slow = ("link set dev lo up",) * 300
    changes = [
        Change("a", a, None, None, (*slow, f"link add marker netns {b} type veth peer name other"), ()),
        Change("b", b, None, None, (), ("link delete marker",)),
    ]
    carry_out(changes)


def test_both_end_where_the_other_was(layout: Layout) -> None:
    moves = move(layout, "a", "b")
    assert [(one.host, one.before, one.after) for one in moves] == [
        ("a", "10.201.1.10", "10.201.2.10"),
        ("b", "10.201.2.20", "10.201.1.20"),
    ]
    assert reaches(layout, "a", "10.201.1.20")
    move(layout, "a", "b")
    assert reaches(layout, "a", "10.201.2.20")


def test_a_lan_can_be_named(layout: Layout) -> None:
    assert move(layout, "a", lan=2)[0].after == "10.201.2.10"
    with pytest.raises(ConfigError, match="a is on LAN 2 already"):
        move(layout, "a", lan=2)
    move(layout, "a", lan=1)


def test_another_address_on_the_same_lan(layout: Layout) -> None:
    (there,) = move(layout, "a", kind="readdress")
    assert (there.before, there.after) == ("10.201.1.10", "10.201.1.110")
    assert at(layout, "a") == ["10.201.1.110"]
    assert reaches(layout, "a", "10.201.2.20")
    (back,) = move(layout, "a", kind="readdress")
    assert (back.before, back.after) == ("10.201.1.110", "10.201.1.10")


def test_one_lan_more_and_one_less(layout: Layout) -> None:
    (more,) = move(layout, "a", kind="add")
    assert (more.before, more.after) == (None, "10.201.2.10")
    assert at(layout, "a") == ["10.201.1.10", "10.201.2.10"]
    with pytest.raises(ConfigError, match="both LANs: `--kind remove`"):
        move(layout, "a")
    with pytest.raises(ConfigError, match="on LAN 1 and 2 already"):
        move(layout, "a", kind="add")
    (less,) = move(layout, "a", kind="remove")
    assert (less.before, less.after) == ("10.201.1.10", None)
    assert reaches(layout, "a", "10.201.1.1"), "over the one that is left"
    move(layout, "a", kind="remove")
    assert at(layout, "a") == []
    with pytest.raises(ConfigError, match="a is not on any LAN: nothing to remove"):
        move(layout, "a", kind="remove")
    (back,) = move(layout, "a")
    assert (back.before, back.after) == (None, "10.201.1.10")


def test_a_black_hole_is_not_an_event(layout: Layout) -> None:
    before = inside(layout, "a", "ip", "-o", "address"), inside(layout, "a", "ip", "route")
    (dead,) = move(layout, "a", kind="blackhole")
    assert (dead.before, dead.after) == ("10.201.1.10", None)
    assert not reaches(layout, "a", "10.201.1.1")
    assert (inside(layout, "a", "ip", "-o", "address"), inside(layout, "a", "ip", "route")) == before
    (whole,) = move(layout, "a", kind="blackhole")
    assert (whole.before, whole.after) == (None, "10.201.1.10")
    assert reaches(layout, "a", "10.201.1.1")


def test_a_black_hole_may_end_by_itself(layout: Layout) -> None:
    carry_out([plan_move(layout, "a", "blackhole", ends=True)], 10.0)
    assert reaches(layout, "a", "10.201.1.1")


def test_a_nat_gives_another_source_port_each_time(layout: Layout) -> None:
    need_program("nft")

    def port_seen() -> int:
        """Of a datagram from a to b and back."""
        with namespaces.inside(layout.netns("b")):
            b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with namespaces.inside(layout.netns("a")):
            a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with a, b:
            for sock in (a, b):
                sock.bind(("", DEFAULT_PORT))
                sock.settimeout(5)
            a.sendto(b"out", ("10.201.2.20", DEFAULT_PORT))
            data, source = b.recvfrom(100)
            b.sendto(b"back", source)
            assert (data, a.recv(100)) == (b"out", b"back")
            return int(source[1])

    ports = [port_seen()]
    for _ in range(2):
        (done,) = move(layout, "a", kind="nat")
        assert done.before == done.after == "10.201.1.10"
        ports.append(port_seen())
    assert ports[0] == DEFAULT_PORT
    assert len(set(ports)) == 3


def test_ipv6_needs_a_lab_that_has_it(layout: Layout) -> None:
    with pytest.raises(ConfigError, match="`lab up --ipv6`"):
        move(layout, "a", kind="family")


def test_a_command_that_fails_is_named(layout: Layout) -> None:
    change = Change("a", layout.netns("a"), None, None, (), ("link set dev nothing up",))
    with pytest.raises(HostError, match="`ip link set dev nothing up`"):
        carry_out([change])
    with pytest.raises(HostError, match="`ip link set dev nothing up`"):
        carry_out([change], 1.0)


def test_from_ipv4_to_ipv6_and_back() -> None:
    with wires(ipv6=True) as layout:
        (there,) = move(layout, "a", kind="family")
        assert (there.before, there.after) == ("10.201.1.10", "fd00:201:1::10")
        assert at(layout, "a") == ["fd00:201:1::10"]
        assert reaches(layout, "a", "fd00:201:2::20")
        assert not reaches(layout, "a", "10.201.1.1")
        (switched,) = move(layout, "a")
        assert (switched.before, switched.after) == ("fd00:201:1::10", "fd00:201:2::10")
        (back,) = move(layout, "a", kind="family")
        assert (back.before, back.after) == ("fd00:201:2::10", "10.201.2.10")
        assert at(layout, "a") == ["10.201.2.10"]
        assert "default" not in inside(layout, "a", "ip", "-6", "route")
        assert reaches(layout, "a", "10.201.1.1")
        (again,) = move(layout, "a", kind="family")
        assert again.after == "fd00:201:2::10"
