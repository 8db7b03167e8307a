"""Whole hosts on paths of different MTUs: what passes, what applications are told, what a move loses."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from tests.core.pairs import Tap, locator, pair, peer_at
from tests.sim.network import Network, SimHost

from vipnet.core.outputs import Fragmentation, TooBig, Transmit
from vipnet.core.pathmtu import PathMtu, State
from vipnet.policy import MTU_BASE
from vipnet.types import Locator
from vipnet.wire.datagram import TCP_OVERHEAD
from vipnet.wire.inner import Unreachable

OVERHEAD = 28 + TCP_OVERHEAD  # bytes around an inner packet
INTERVAL_S = 0.005


class Application:
    """Sends numbered packets with DF, as large as it is told that they may be: UDP on Linux does so.

    size  of an inner packet, bytes
    """

    def __init__(self, net: Network, sender: SimHost, receiver: SimHost, size: int) -> None:
        self.net, self.sender, self.receiver, self.size = net, sender, receiver, size
        self.sent, self.stopped = 0, False
        receiver.received.clear()
        self._send()

    def _send(self) -> None:
        if self.stopped:
            return
        self.size = min([self.size, *told_mtus(self.sender)])
        self.sender.send(self.receiver, b"n%d " % self.sent + bytes(self.size - 30), df=True)
        self.sent += 1
        self.net.at(INTERVAL_S, self._send)

    def stop(self) -> None:
        self.stopped = True
        self.net.run_for(4)

    def missing(self) -> set[int]:
        numbers = [int(body.split()[0][1:]) for body in self.receiver.received if body[:1] == b"n"]
        assert len(numbers) == len(set(numbers)), "twice"
        return set(range(self.sent)) - set(numbers)


def told_mtus(host: SimHost) -> Iterator[int]:
    """What the ICMP answers at HOST say (RFC 1191 section 4)."""
    for packet in host.icmp:
        assert packet[20:22] == bytes((3, Unreachable.FRAGMENTATION_NEEDED))
        yield int.from_bytes(packet[26:28], "big")


def path(host: SimHost, other: SimHost) -> PathMtu:
    (found,) = peer_at(host, other).mtus.to_host(locator(other).host)
    return found


def on_links(mtu: int, *, routers_speak: bool = True, **options: Any) -> tuple[Network, SimHost, SimHost]:
    """a, whose link carries MTU, and b; they have met."""
    net = Network(3, latency_s=0.01)
    net.routers_speak = routers_speak
    a, b = pair(net, **options)
    net.narrow[locator(a).host] = mtu
    net.run_for(0.5)
    return net, a, b


def test_small_packets_are_never_probed_for() -> None:
    net, a, b = on_links(1500)
    tap = Tap(net)
    for _ in range(100):
        a.send(b, bytes(1000))
        net.run_for(0.01)
    assert {transmit.fragmentation for _, transmit in tap.seen} == {Fragmentation.ALLOWED}
    assert path(a, b).state is State.BASE


@pytest.mark.parametrize("routers_speak", [True, False])
@pytest.mark.parametrize("mtu", [1280, 1400, 1492, 1500])
def test_every_path_is_used_as_far_as_it_carries(mtu: int, routers_speak: bool) -> None:
    net, a, b = on_links(mtu, routers_speak=routers_speak)
    stream = Application(net, a, b, 1420)
    net.run_for(3)
    stream.stop()
    found = path(a, b)
    assert found.state is State.COMPLETE
    assert min(mtu, 1480) - 8 < found.size <= min(mtu, 1480)
    assert stream.size == min(found.inner_max, 1420)
    assert not stream.missing(), "what is too large is carried until its sender has heard"


def test_what_is_sealed_after_the_search_leaves_whole() -> None:
    net, a, b = on_links(1400)
    a.send(b, bytes(1380), df=True)
    net.run_for(3)
    tap = Tap(net)
    size = path(a, b).inner_max
    a.send(b, bytes(size - 20), df=True)
    transmit, *_ = tap.from_host(a)
    assert transmit.fragmentation is Fragmentation.AVOIDED
    assert len(transmit.payload) + 28 < path(a, b).size + 1


def test_too_large_for_long_is_answered_and_not_carried() -> None:
    net, a, b = on_links(1280)
    a.send(b, bytes(1380), df=True)
    net.run_for(3)
    a.send(b, bytes(1380), df=True)  # the first that is told of it
    assert list(told_mtus(a)) == [MTU_BASE - OVERHEAD]
    net.run_for(3)
    b.received.clear()
    a.send(b, bytes(1380), df=True)
    net.run_for(1)
    assert not b.received
    assert len(list(told_mtus(a))) == 2


def test_without_df_packets_are_fragmented_inside() -> None:
    net, a, b = on_links(1280)
    a.send(b, bytes(1380), df=True)
    net.run_for(3)
    b.received.clear()
    tap = Tap(net)
    a.send(b, bytes(range(256)) * 5)
    assert [transmit.fragmentation for transmit in tap.from_host(a)] == [Fragmentation.AVOIDED] * 2
    net.run_for(1)
    assert b"".join(b.received) == bytes(range(256)) * 5
    assert not a.icmp


@pytest.mark.parametrize("routers_speak", [True, False])
@pytest.mark.parametrize("interval_s", [0.001, 0.3, 2.5])
def test_a_move_to_a_narrower_network_loses_nothing(routers_speak: bool, interval_s: float) -> None:
    net, a, b = on_links(1500, routers_speak=routers_speak)
    there, back = Application(net, a, b, 1420), Application(net, b, a, 1420)
    net.run_for(2)
    narrow = net.new_address()
    net.narrow[narrow] = 1280
    a.move_to(narrow)
    net.run_for(3 + interval_s)
    there.stop()
    back.stop()
    assert (there.missing(), back.missing()) == (set(), set())
    assert path(a, b).size == path(b, a).size == MTU_BASE
    assert there.size == back.size == MTU_BASE - OVERHEAD


@pytest.mark.parametrize("routers_speak", [True, False])
def test_a_path_that_gets_narrower_by_itself_loses_nothing(routers_speak: bool) -> None:
    """A black hole: small datagrams arrive and full ones do not, and no end has moved."""
    net, a, b = on_links(1500, routers_speak=routers_speak)
    stream = Application(net, a, b, 1420)
    net.run_for(2.3)
    net.narrow[locator(a).host] = 1400
    net.run_for(5)
    stream.stop()
    assert not stream.missing()
    assert 1392 < path(a, b).size <= 1400


def test_moves_between_networks_of_all_sizes_lose_nothing() -> None:
    random = Random(5)
    net, a, b = on_links(1500, routers_speak=False)
    streams = Application(net, a, b, 1420), Application(net, b, a, 1420)
    for _ in range(8):
        net.run_for(random.uniform(0.3, 2.0))
        mover = random.choice((a, b))
        address = net.new_address()
        net.narrow[address] = random.choice((1280, 1350, 1420, 1500))
        mover.move_to(address)
    net.run_for(2)
    for stream in streams:
        stream.stop()
        assert not stream.missing()


def test_jumbo_frames_are_used_where_the_path_carries_them() -> None:
    net, a, b = on_links(9000)
    for host in (a, b):
        host.node.handle_tun_mtu(8920)
    stream = Application(net, a, b, 8920)
    net.run_for(2)
    stream.stop()
    assert path(a, b).inner_max == 8920
    assert not stream.missing()


def test_a_wider_tun0_starts_all_paths_anew() -> None:
    net, a, b = on_links(9000)
    a.send(b, bytes(1380), df=True)
    net.run_for(1)
    assert not path(a, b).narrow
    a.node.handle_tun_mtu(8920)
    a.send(b, bytes(8900), df=True)
    net.run_for(1)
    assert path(a, b).size == 8920 + OVERHEAD


@pytest.mark.parametrize(
    ("quoted", "heard"),
    [(b"", True), (b"index not ours", False), (None, True)],
    ids=["short", "false", "true"],
)
def test_who_quotes_another_datagram_is_not_heard(quoted: bytes | None, heard: bool) -> None:
    net, a, b = on_links(1500)
    a.send(b, bytes(1380), df=True)
    net.run_for(1)
    tap = Tap(net)
    if quoted is None:
        a.send(b, bytes(1380), df=True)
        quoted = bytes(tap.from_host(a)[-1].payload[:32])
    tap.seen.clear()
    a.handle_too_big(TooBig(Locator("203.0.113.9", 5847), 1300, quoted))
    assert not tap.seen, "nobody is there"
    a.handle_too_big(TooBig(locator(b), 1300, quoted))
    assert (path(a, b).state is State.SEARCHING) == heard
    net.run_for(3)
    assert path(a, b).size == 1480, "and nobody is believed"


def test_a_flood_of_reports_costs_little() -> None:
    net, a, b = on_links(1500)
    a.send(b, bytes(1380), df=True)
    net.run_for(1)
    tap = Tap(net)
    for number in range(10_000):
        a.handle_too_big(TooBig(locator(b), 1280 + number % 200))
    net.run_for(0.5)
    assert a.node.host.counters["too_big_ignored"] > 9_000
    assert len([one for one in tap.from_host(a) if _is_probe(one)]) < 40


def test_our_own_kernel_is_heard_in_a_flood_of_others_reports() -> None:
    net, a, b = on_links(1500)
    a.send(b, bytes(1380), df=True)
    net.run_for(1)
    for number in range(200):
        a.handle_too_big(TooBig(locator(b), 1280 + number))
    ignored = a.node.host.counters["too_big_ignored"]
    a.handle_too_big(TooBig(locator(b), 1300, local=True))
    assert a.node.host.counters["too_big_ignored"] == ignored


def _is_probe(transmit: Transmit) -> bool:
    return transmit.fragmentation is Fragmentation.FORBIDDEN
