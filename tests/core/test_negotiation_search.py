"""Every order of events that two hosts can live through, up to a bound: no promise is broken."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import pytest
from msgspec import Struct, structs
from tests.core.two_hosts import CHOOSER, OTHER, POLICY, BrokenPromiseError, Sealed, World, stores_where

from vipnet.core.negotiation import Step
from vipnet.core.outputs import StoreBinding
from vipnet.types import Token


class Budget(Struct, frozen=True):
    """How often something may still happen on the way."""

    inits: int
    crashes: int = 0
    losses: int = 0
    waits: int = 0
    duplicates: int = 0

    def less(self, what: str) -> Budget:
        return structs.replace(self, **{what: getattr(self, what) - 1})


Node = tuple[World, Budget]


def check(world: World) -> None:
    """What has to hold in every state."""
    chooser, other = (world.hosts[name] for name in (CHOOSER, OTHER))
    if chooser.shown is not None and other.shown is not None and chooser.shown != other.shown:
        raise BrokenPromiseError(f"one shows {chooser.shown}, the other {other.shown}")
    for host in (chooser, other):
        check_ledger(host.space.bindings())


def check_ledger(bindings: tuple[StoreBinding, ...]) -> None:
    """No token stands for two names, nor for a peer and for the host itself."""
    remotes = [binding.remote_token for binding in bindings]
    if len(set(remotes)) != len(remotes):
        raise BrokenPromiseError(f"one token for two names: {bindings}")
    if set(remotes) & {binding.local_token for binding in bindings}:
        raise BrokenPromiseError(f"a peer has a token of ours: {bindings}")


def successors(world: World, budget: Budget) -> Iterator[Node]:
    for datagram in world.network:
        yield world.deliver(datagram), budget
        if budget.duplicates and isinstance(datagram, Sealed):
            yield world.deliver(datagram, once=False), budget.less("duplicates")
    for name, host in world.hosts.items():
        if host.open and host.negotiation.next_timeout() is not None:
            yield world.time_out(name), budget
        if budget.inits:
            yield world.initiate(name), budget.less("inits")
        if budget.crashes:
            yield world.crash(name), budget.less("crashes")
        if budget.losses:
            yield world.crash(name, lose_store=True), budget.less("losses")
            yield world.crash(name, lose_store=True, given_away=True), budget.less("losses")
    if budget.waits:
        yield world.wait(POLICY.reservation_s), budget.less("waits")


def search(start: World, budget: Budget, *, settle_every: int, most: int) -> int:
    """Breadth first through all states; return how many there are."""
    numbers: dict[tuple[object, ...], int] = {}
    seen = {(start.identity(numbers), budget)}
    queue: deque[Node] = deque([(start, budget)])
    while queue:
        world, budget = queue.popleft()
        for after, rest in successors(world, budget):
            identity = (after.identity(numbers), rest)
            if identity in seen:
                continue
            seen.add(identity)
            check(after)
            if len(seen) % settle_every == 0:
                check_settled(after)
            queue.append((after, rest))
        assert len(seen) <= most, "the search does not end"
    return len(seen)


def check_settled(world: World) -> None:
    """Once the network is quiet the two hosts agree."""
    settled = world.settle()
    check(settled)
    if settled.hosts[CHOOSER].shown is None or settled.hosts[OTHER].shown is None:
        raise BrokenPromiseError(f"no agreement: {[host.shown for host in settled.hosts.values()]}")


def explore(third: tuple[bool, bool], budget: Budget, *, settle_every: int = 100) -> int:
    states = search(World(stores_where(*third)), budget, settle_every=settle_every, most=2_000_000)
    print(f"{states:,} states, third host at (chooser, other) = {third}, {budget}")
    return states


@pytest.mark.parametrize(
    ("third", "budget", "at_least"),
    [
        ((False, False), Budget(inits=2, crashes=1), 5_000),
        ((False, False), Budget(inits=2, duplicates=1, waits=1), 10_000),
        ((True, True), Budget(inits=2), 7_000),
        ((False, False), Budget(inits=2, losses=1), 30_000),
        ((True, True), Budget(inits=1, crashes=1, losses=1, duplicates=1, waits=1), 4_000),
    ],
)
def test_no_promise_is_broken(third: tuple[bool, bool], budget: Budget, at_least: int) -> None:
    """`at_least`: a change that makes the search smaller by accident must not go unnoticed."""
    assert explore(third, budget) >= at_least


@pytest.mark.long
@pytest.mark.parametrize(
    ("third", "budget", "at_least"),
    [
        ((False, True), Budget(inits=2, losses=1), 300_000),
        ((True, True), Budget(inits=2, crashes=1, duplicates=1), 50_000),
        ((True, True), Budget(inits=2, waits=1), 29_000),
        ((False, False), Budget(inits=3), 40_000),
        ((False, False), Budget(inits=2, crashes=1, losses=1), 100_000),
    ],
)
def test_no_promise_is_broken_in_longer_lives(
    third: tuple[bool, bool], budget: Budget, at_least: int
) -> None:
    assert explore(third, budget, settle_every=200) >= at_least


def test_the_search_would_notice() -> None:
    """A host that shows what it only reserved is caught: the checks are no decoration."""
    world = World(stores_where(third_at_chooser=False, third_at_other=True)).initiate(CHOOSER)
    host = world.hosts[CHOOSER]
    entry = host.space.binding(OTHER)
    assert entry is not None
    forged = structs.replace(entry, accepted=True)
    host.space.bind(forged)
    with pytest.raises(BrokenPromiseError, match="on disk"):
        host.follow(Step())
    host.store = host.store.apply((forged,))
    with pytest.raises(BrokenPromiseError, match="ready"):
        host.follow(Step())
    peer = world.hosts[OTHER]
    peer.space.bind(StoreBinding(CHOOSER, forged.remote_token, Token(forged.local_token + 1), 1, True, 1e9))
    with pytest.raises(BrokenPromiseError, match="one shows"):
        check(world)
