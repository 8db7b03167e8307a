"""Many hosts for minutes of virtual time; and that the watchers see what they are there for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from msgspec import structs
from tests.sim.clock import Clock
from tests.sim.diagram import sequence
from tests.sim.network import Network, SimHost
from tests.sim.population import Plan, Population
from tests.sim.properties import QUIET_BOUND_S, Properties, ViolationError, body, watched_seals
from tests.sim.quiet import Quiet, Talk

from vipnet.core.outputs import StoreBinding
from vipnet.core.peer import Peer
from vipnet.core.session import Session
from vipnet.crypto.transport import Cipher
from vipnet.types import Instant, PublicKey, Token


def run(seed: int, plan: Plan) -> Population:
    with watched_seals():
        population = Population(seed, plan)
        population.run()
    return population


def test_sixty_hosts_for_a_minute() -> None:
    population = run(1, Plan(hosts=60, minutes=1, moves=2, trouble=3))
    assert {"move", "move together", "sleep", "go_away", "second_address"} <= set(population.happened)
    assert population.properties.delivered > population.sent / 2
    assert population.quiet.settled_s


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_three_hundred_hosts_for_five_minutes(seed: int) -> None:
    population = run(seed, Plan(hosts=300, minutes=5, loss=0.04))
    assert len(population.quiet.settled_s) > 10_000


@pytest.mark.long
def test_an_hour_of_forty_hosts() -> None:
    """Long enough for keys and leases to run out many times, and for an hour's sleep."""
    population = run(7, Plan(hosts=40, minutes=60, moves=0.2))
    assert population.happened["sleep"] > 40


# --- a seed is a run


def test_a_seed_is_the_same_run_in_any_process() -> None:
    """Nothing may depend on the order of a set, which differs from process to process."""
    command = [sys.executable, "-m", "tests.sim", "--hosts", "20", "--minutes", "0.5", "--trouble", "5"]
    printed = [
        subprocess.run(
            [*command, "--seed", seed],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for seed, hash_seed in (("3", "1"), ("3", "2"), ("4", "1"))
    ]
    assert "fingerprint" in printed[0]
    assert printed[0] == printed[1] != printed[2]


# --- the watchers


@pytest.fixture
def met() -> tuple[Network, SimHost, SimHost]:
    """Two hosts that have met, whose every step is watched."""
    net = Network(seed=1)
    Properties(net)
    a, b = net.host("a.example"), net.host("b.example")
    net.run_for(0.1)
    a.resolve(b)
    net.run_until(lambda: a.token_of(b) is not None and b.token_of(a) is not None)
    return net, a, b


Met = tuple[Network, SimHost, SimHost]


def test_a_second_delivery_is_seen(met: Met) -> None:
    net, a, b = met
    a.send(b, body(a, b, 1))
    net.run_for(1)
    a.send(b, body(a, b, 1))
    with pytest.raises(ViolationError, match=r"packet 1 of a\.example is delivered twice"):
        net.run_for(1)


def test_a_delivery_to_another_host_is_seen(met: Met) -> None:
    net, a, b = met
    a.send(b, body(b, a, 1))
    with pytest.raises(ViolationError, match=r"b\.example was given a packet for a\.example"):
        net.run_for(1)


@pytest.mark.parametrize(
    ("planted", "seen"),
    [
        (lambda a, b: (a.local_token, Token(b.remote_token + 1)), "call each other by different tokens"),
        (lambda a, b: (a.local_token, b.remote_token), "a token stands for two names"),
        (lambda a, b: (b.remote_token, a.remote_token), "one token is its own and a peer's"),
    ],
)
def test_a_wrong_binding_is_seen(
    planted: Callable[[StoreBinding, StoreBinding], tuple[Token, Token]],
    seen: str,
    met: Met,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Host a shows c by tokens that are not for it; PLANTED makes them of the bindings with c and b."""
    net, a, b = met
    c = net.host("c.example")
    net.run_for(0.1)
    a.resolve(c)
    net.run_until(lambda: a.token_of(c) is not None and c.token_of(a) is not None)
    with_c, with_b = a.node.peers[c.name].binding, a.node.peers[b.name].binding
    assert with_c is not None
    assert with_b is not None
    local, remote = planted(with_c, with_b)
    wrong = structs.replace(with_c, local_token=local, remote_token=remote)
    right = Peer.binding.fget  # type: ignore[attr-defined]
    shown = property(lambda peer: wrong if peer is a.node.peers[c.name] else right(peer))
    monkeypatch.setattr(Peer, "binding", shown)
    with pytest.raises(ViolationError, match=seen):
        show_again(net, a)


def test_a_token_that_stood_for_another_name_is_seen(met: Met, monkeypatch: pytest.MonkeyPatch) -> None:
    net, a, b = met
    c = net.host("c.example")
    binding = a.node.peers[b.name].binding
    assert binding is not None
    other = structs.replace(binding, name=c.name)
    monkeypatch.setattr(Peer, "binding", property(lambda peer: other))
    with pytest.raises(ViolationError, match=r"stood for b\.example before"):
        show_again(net, a)


def show_again(net: Network, host: SimHost) -> None:
    """One step, in which HOST does something."""
    net.touched = {host: None}
    net.at(0, lambda: None)
    net.run_for(0)


def test_a_counter_used_twice_is_seen() -> None:
    with watched_seals() as seals:
        session = Session(
            local_index=1, remote_index=2, keys=(bytes(32), bytes(32)), cipher=Cipher.CHACHA20_POLY1305,
            begun_at=Instant(0.0), begun_by_us=True, boot_id=bytes(8),
            own_key=PublicKey(bytes(32)), peer_key=PublicKey(bytes(32)),
        )  # fmt: skip
        session.seal(b"", 1)
        session.sent = 0
        with pytest.raises(ViolationError, match="counter 0 is sealed after 0"):
            session.seal(b"", 1)
    assert len(seals.last) == 1


@pytest.mark.parametrize("lost", [True, False])
def test_a_mapping_that_stays_wrong_is_seen(lost: bool, met: Met) -> None:
    """A host that went elsewhere, as the network cannot carry what would tell its partner."""
    net, a, b = met
    quiet = Quiet(net)
    quiet.add(Talk(a, b, net.now, answers=0))
    b.move_to(net.new_address(), publish=True)
    quiet.disturb(b)
    if lost:
        assert a.locator is not None
        assert b.locator is not None
        net.blocked.add(frozenset((a.locator.host, b.locator.host)))
    for number in range(int(20 * QUIET_BOUND_S) + 40):
        net.at(number * 0.05, lambda number=number: a.send(b, body(a, b, number)))  # type: ignore[misc]
    if lost:
        with pytest.raises(ViolationError, match=r"a\.example and b\.example talk, and after 20\.\d s"):
            net.run_for(QUIET_BOUND_S + 2)
    else:
        net.run_for(QUIET_BOUND_S + 2)
        assert quiet.settled_s


# --- its parts


def test_what_is_due_at_one_instant_happens_in_order_and_timers_first() -> None:
    clock, done = Clock(), list[str]()
    clock.at(1, lambda: done.append("first"))
    clock.at(1, lambda: done.append("second"))
    clock.timer(Instant(clock.now + 1), lambda: done.append("timer"))
    clock.at(2, lambda: done.append("too late"))
    clock.run_for(1.5)
    assert done == ["timer", "first", "second"]
    assert clock.now == 1001.5


def test_a_host_that_sleeps_does_nothing_and_wakes_where_it_is(met: Met) -> None:
    net, a, b = met
    a.send(b, body(a, b, 1))
    net.run_for(1)
    b.sleep()
    b.move_to(net.new_address())
    before = len(net.trace)
    net.run_for(59)
    assert not [line for line in net.trace[before:] if line[1] == b.name]
    b.wake()
    (*_, report) = b.moves.values()
    assert report.cause == "wake"
    a_knows = a.node.peers[b.name].mapping
    assert a_knows.current != b.locator
    net.run_for(0.1)
    assert a_knows.current == b.locator


def test_a_nat_lets_in_what_it_remembers(met: Met) -> None:
    net, a, b = met
    b.move_behind("203.0.113.1")
    b.move_to("10.0.0.1")
    b.send(a, body(b, a, 1))
    net.run_for(1)
    assert a.node.peers[b.name].mapping.current == b.reached_at[0]
    assert b.reached_at[0].host == "203.0.113.1"
    old = b.reached_at
    a.send(b, body(a, b, 1))
    net.run_for(0.5)
    b.forgotten_by_nat()
    a.send(b, body(a, b, 2))
    net.run_until(
        lambda: b.reached_at not in ((), old) and a.node.peers[b.name].mapping.current in b.reached_at
    )


def test_a_diagram_has_a_column_for_each_host(met: Met) -> None:
    net, a, b = met
    drawn = sequence(net.trace, [a.name, b.name], last=2).splitlines()
    assert drawn[0].split() == ["seconds", a.name, b.name]
    there, back = [line for line in sequence(net.trace, [a.name, b.name]).splitlines() if "handshake" in line]
    assert there.endswith(">|")
    assert "handshake 1" in there
    assert "|<-" in back
    assert len({line.rindex("|") for line in drawn[1:]}) == 1
