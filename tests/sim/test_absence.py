"""An address that is gone for a while, and hosts that sleep: both find each other again, as they were."""

from __future__ import annotations

from itertools import count

import pytest
from tests.sim.network import Network, SimHost

HOUR_S = 3600.0
AGAIN_S = 5.0  # after which a sender that is not heard says it again, as TCP does


def pair(seed: int) -> tuple[Network, SimHost, SimHost]:
    net = Network(seed=seed, latency_s=0.02)
    a, b = net.host("a.example"), net.host("b.example")
    net.run_for(0.1)
    net.run_until(lambda: a.can_reach(b))
    net.run_until(lambda: b.can_reach(a))
    net.run_for(0.1)
    for host in (a, b):
        host.received.clear()  # from now on every body is sent once
    return net, a, b


def say(net: Network, sender: SimHost, receiver: SimHost, body: bytes, seconds: float) -> None:
    """Say BODY again and again for so long, whoever hears it: a connection that does not give up."""
    for number in count():
        if number * AGAIN_S >= seconds:
            return
        sender.send(receiver, body + b" %d" % number)
        net.run_for(min(AGAIN_S, seconds - number * AGAIN_S))


@pytest.mark.parametrize("seconds", [0.1, 1.0, 10.0, 60.0, HOUR_S])
@pytest.mark.parametrize("returns_elsewhere", [False, True])
def test_an_address_that_is_gone_for_a_while(seconds: float, returns_elsewhere: bool) -> None:
    """After an hour leases and sessions are over; tokens are not."""
    net, a, b = pair(seed=7)
    tokens = a.token_of(b), b.token_of(a)
    assert a.locator is not None
    home = a.locator.host
    a.move_to(None, cause="link")
    say(net, b, a, b"to who is away", seconds / 2)
    say(net, a, b, b"from who is away", seconds / 2)
    a.move_to(net.new_address() if returns_elsewhere else home)
    a.send(b, b"first after the return")
    b.send(a, b"first to who has returned")
    net.run_until(lambda: b"first after the return" in b.received, limit_s=2 * AGAIN_S)
    net.run_until(lambda: b"first to who has returned" in a.received, limit_s=2 * AGAIN_S)
    assert (a.token_of(b), b.token_of(a)) == tokens
    for host in (a, b):
        assert len(set(host.received)) == len(host.received), "nothing is delivered twice"


@pytest.mark.parametrize("sleepers", [("a",), ("b",), ("a", "b")])
@pytest.mark.parametrize("hours", [0.1, 3.0, 24.0])
def test_sleep_and_wake(sleepers: tuple[str, ...], hours: float) -> None:
    """While they sleep no timer runs; then the clock has jumped, and the address may be the same."""
    net, a, b = pair(seed=11)
    tokens = a.token_of(b), b.token_of(a)
    asleep = [host for host, label in ((a, "a"), (b, "b")) if label in sleepers]
    for host in asleep:
        host.up = False  # but not booted anew: its node is what it was
    net.run_for(hours * HOUR_S)
    for host in asleep:
        assert host.locator is not None
        host.up = True
        before = len(host.moves)
        host.move_to(host.locator.host, cause="wake")
        assert len(host.moves) == before + 1
        assert max(host.moves.items())[1].cause == "wake"
    a.send(b, b"first of a")
    b.send(a, b"first of b")
    net.run_until(lambda: b"first of a" in b.received, limit_s=AGAIN_S)
    net.run_until(lambda: b"first of b" in a.received, limit_s=AGAIN_S)
    assert (a.token_of(b), b.token_of(a)) == tokens
    net.run_for(10.0)
    for host in (a, b):
        assert len(set(host.received)) == len(host.received), "nothing is delivered twice"


def test_a_short_sleep_is_told_at_once_though_the_address_is_the_same() -> None:
    net, a, b = pair(seed=3)
    a.up = False
    net.run_for(10.0)  # within the lease
    a.up = True
    assert a.locator is not None
    a.move_to(a.locator.host, cause="wake")
    net.run_for(3 * net.latency_s)
    (told,) = max(a.moves.items())[1].partners
    assert (told.name, told.outcome) == (b.name, "acked")
    assert not a.lookups[1:], "who wakes within the lease needs no DNS"
