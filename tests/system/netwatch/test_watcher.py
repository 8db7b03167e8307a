from __future__ import annotations

import math
import socket
from collections.abc import Awaitable, Callable

import pytest
import trio
from tests.netns import Namespace, namespace, veth

from vipnet.system.netwatch import Underlay, watch, watcher
from vipnet.system.netwatch.messages import Message, Route

BOUND_S = 10.0
LAN_1 = "link set eth0 up\naddr add 10.1.0.10/24 dev eth0\nroute add default via 10.1.0.1\n"
LAN_2 = "link set eth1 up\naddr add 10.2.0.10/24 dev eth1\nroute add default via 10.2.0.1\n"

Updates = trio.MemoryReceiveChannel[Underlay]
Scenario = Callable[[Namespace, Updates], Awaitable[None]]


def play(scenario: Scenario, *, setup: str = LAN_1, only: tuple[str, ...] = ()) -> None:
    """Run SCENARIO in a host with eth0 and eth1, while `watch` is listening."""

    async def main(space: Namespace) -> None:
        sender, updates = trio.open_memory_channel[Underlay](math.inf)
        with trio.fail_after(BOUND_S):
            async with trio.open_nursery() as nursery:
                await nursery.start(watch, sender, frozenset({"tun0"}), only)
                await scenario(space, updates)
                nursery.cancel_scope.cancel()
        assert sender.statistics().open_send_channels == 0, "closed, so that nobody waits for more"

    with namespace() as space, namespace() as lans:
        for i in (0, 1):
            veth(space, f"eth{i}", lans, f"eth{i}")
            space.ip(f"link set eth{i} addrgenmode none")
            lans.ip(f"link set eth{i} up")
        space.ip(setup)
        space.call(lambda: trio.run(main, space))


async def ip(space: Namespace, lines: str) -> None:
    await trio.to_thread.run_sync(space.ip, lines)


async def heard(updates: Updates, *hosts: str) -> Underlay:
    """The first value from now on with exactly HOSTS."""
    while True:
        update = await updates.receive()
        if hosts == tuple(address.host for address in update.addresses):
            return update


def test_what_is_there_is_told_first() -> None:
    async def scenario(_: Namespace, updates: Updates) -> None:
        first = await updates.receive()
        assert first.cause == "start"
        ((host, interface, index),) = [(a.host, a.interface, a.index) for a in first.addresses]
        assert (host, interface, index) == ("10.1.0.10", "eth0", socket.if_nametoindex("eth0"))

    play(scenario)


def test_nothing_at_all_is_told_too() -> None:
    async def scenario(_: Namespace, updates: Updates) -> None:
        assert await updates.receive() == Underlay((), "start")

    play(scenario, setup="")


def test_a_switch_ends_with_one_value_that_is_whole() -> None:
    async def scenario(space: Namespace, updates: Updates) -> None:
        await heard(updates, "10.1.0.10")
        await ip(space, "link set eth0 down\n" + LAN_2)
        assert (await heard(updates, "10.2.0.10")).cause == "link"
        await ip(space, "link set eth1 down\n" + LAN_1.replace("addr add", "addr replace"))
        assert (await heard(updates, "10.1.0.10")).cause == "link"

    play(scenario)


def test_another_address_of_the_same_network() -> None:
    async def scenario(space: Namespace, updates: Updates) -> None:
        await heard(updates, "10.1.0.10")
        await ip(space, "addr add 10.1.0.11/24 dev eth0\naddr del 10.1.0.10/24 dev eth0\n")
        await ip(space, "addr replace 10.1.0.11/24 dev eth0\nroute replace default via 10.1.0.1\n")
        assert (await heard(updates, "10.1.0.11")).cause == "address"

    play(scenario)


def test_a_link_that_goes_down_takes_its_address_along() -> None:
    async def scenario(space: Namespace, updates: Updates) -> None:
        await heard(updates, "10.1.0.10")
        await ip(space, "link set eth0 down\n")
        assert (await heard(updates)).cause == "link"
        assert "10.1.0.10" in space.run("ip", "addr", "show", "eth0"), "the kernel keeps it"

    play(scenario)


def test_and_so_does_a_lost_carrier() -> None:
    async def main() -> None:
        sender, updates = trio.open_memory_channel[Underlay](math.inf)
        with trio.fail_after(BOUND_S):
            async with trio.open_nursery() as nursery:
                await nursery.start(watch, sender, frozenset(), ())
                await heard(updates, "10.1.0.10")
                await ip(lan, "link set eth0 down\n")
                await heard(updates)
                await ip(lan, "link set eth0 up\n")
                await heard(updates, "10.1.0.10")
                nursery.cancel_scope.cancel()

    with namespace() as space, namespace() as lan:
        veth(space, "eth0", lan, "eth0")
        lan.ip("link set eth0 up")
        space.ip("link set eth0 addrgenmode none\n" + LAN_1)
        space.call(lambda: trio.run(main))


def test_a_gateway_that_comes_later_is_told_though_the_address_is_known() -> None:
    async def scenario(space: Namespace, updates: Updates) -> None:
        await heard(updates, "10.1.0.10")
        await ip(space, "route add default via 10.1.0.1\n")
        assert (await heard(updates, "10.1.0.10")).cause == "route"

    play(scenario, setup=LAN_1.replace("route add", "#"))


def test_the_metric_decides_who_is_first() -> None:
    async def scenario(space: Namespace, updates: Updates) -> None:
        await heard(updates, "10.1.0.10")
        await ip(space, LAN_2.replace("10.2.0.1\n", "10.2.0.1 metric 50\n"))
        await heard(updates, "10.1.0.10", "10.2.0.10")
        await ip(space, "route del default via 10.1.0.1\nroute add default via 10.1.0.1 metric 60\n")
        assert (await heard(updates, "10.2.0.10", "10.1.0.10")).cause == "route"

    play(scenario)


def test_ipv6() -> None:
    async def scenario(space: Namespace, updates: Updates) -> None:
        await heard(updates, "10.1.0.10")
        await ip(space, "addr add 2001:db8::10/64 dev eth0 nodad\nroute add default via 2001:db8::1\n")
        await heard(updates, "10.1.0.10", "2001:db8::10")
        await ip(space, "addr del 10.1.0.10/24 dev eth0\n")
        await heard(updates, "2001:db8::10")

    play(scenario)


def test_interfaces_that_do_not_count() -> None:
    async def scenario(space: Namespace, updates: Updates) -> None:
        await heard(updates, "10.1.0.10")
        await ip(
            space,
            "tuntap add tun0 mode tun\nlink set tun0 up\naddr add 240.0.0.1/32 dev tun0\n"
            "link add br0 type bridge\nlink set br0 up\naddr add 172.17.0.1/16 dev br0\n"
            "addr add 169.254.1.1/16 dev eth0\naddr add 10.1.0.99/24 dev eth0\n",
        )
        await heard(updates, "10.1.0.10", "10.1.0.99")

    play(scenario)


def test_only_the_interfaces_asked_for() -> None:
    async def scenario(space: Namespace, updates: Updates) -> None:
        assert (await updates.receive()).addresses == ()
        await ip(space, LAN_2.replace("via", "metric 9 via"))
        await heard(updates, "10.2.0.10")

    play(scenario, only=("eth1",))


def test_events_that_were_lost_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "_BUFFER_BYTES", 4096)
    overrun = []
    dump = watcher._Watcher.dump

    async def noted(self: watcher._Watcher, cause: str) -> None:
        overrun.append(self._overrun)
        await dump(self, cause)  # type: ignore[arg-type]

    monkeypatch.setattr(watcher._Watcher, "dump", noted)

    async def scenario(space: Namespace, updates: Updates) -> None:
        await heard(updates, "10.1.0.10")
        # Called, not awaited: nobody listens meanwhile.
        space.ip("".join(f"addr add 10.1.1.{i}/24 dev eth0\n" for i in range(1, 200)))
        space.ip("addr flush dev eth0\naddr add 10.1.0.77/24 dev eth0\n")
        await heard(updates, "10.1.0.77")
        assert any(overrun)

    play(scenario)


def test_what_the_kernel_does_in_silence_is_found_when_it_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "_SETTLE_S", 0.1)
    take = watcher._Watcher._take

    def without_lost_routes(self: watcher._Watcher, message: Message) -> bool:
        return not (message.gone and isinstance(message.fact, Route)) and take(self, message)

    monkeypatch.setattr(watcher._Watcher, "_take", without_lost_routes)

    async def scenario(space: Namespace, updates: Updates) -> None:
        await heard(updates, "10.1.0.10")
        await ip(space, "addr add 10.1.0.11/24 dev eth0\nroute del default\n")
        assert (await heard(updates, "10.1.0.10", "10.1.0.11")).cause == "address"
        assert (await heard(updates, "10.1.0.10", "10.1.0.11")).cause == "route"

    play(scenario)


def test_waking_up_is_told_though_nothing_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "_WAKE_CHECK_S", 0.01)
    slept_s = [0.0]
    monkeypatch.setattr(watcher, "_slept_s", lambda: slept_s[0])

    async def scenario(_: Namespace, updates: Updates) -> None:
        await heard(updates, "10.1.0.10")
        slept_s[0] = 3600.0
        assert (await heard(updates, "10.1.0.10")).cause == "wake"

    play(scenario)


def test_only_the_kernel_is_believed() -> None:
    def inside() -> None:
        with watcher._open(0) as ours, watcher._open(0) as stranger:
            ours.settimeout(BOUND_S)
            stranger.sendto(b"link is down", (ours.getsockname()[0], 0))
            assert watcher._receive(ours, 0) == b""

    with namespace() as space:
        space.call(inside)
