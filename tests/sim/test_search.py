"""Every life of two whole nodes up to a bound. The tool for more: `python -m tests.sim.search`."""

from __future__ import annotations

import pytest
from tests.sim.opencrypto import open_crypto
from tests.sim.sameness import digest
from tests.sim.search import Search
from tests.sim.twohosts import Budget, ViolationError, World

from vipnet.core.stash import Stash
from vipnet.crypto.replay import ReplayWindow

PEACE_MAX_S = 2.0  # from quiet to a packet each way: the receiver's own question comes after 1 s


def explore(budget: Budget, at_least: int) -> None:
    """`at_least`: a change that makes the search smaller by accident must not go unnoticed.

    Nor may it have no end.
    """
    most = 20 * at_least
    found = Search(budget).run(most)
    print(f"{found.states:,} states, {found.settled:,} of them quiet, {found.depth} deep: {budget}")
    assert found.states < most, "no two states are the same: see `_FOR_NOTHING` in tests/sim/sameness.py"
    assert found.states >= at_least
    assert found.settled
    assert found.peace_s <= PEACE_MAX_S


@pytest.mark.parametrize(
    ("budget", "at_least"),
    [
        (Budget(moves=1, losses=1), 1_000),
        (Budget(moves=1, lates=1), 100),
        (Budget(losses=1, overtakes=1), 200),
        (Budget(restarts=1, losses=1), 500),
    ],
)
def test_no_promise_is_broken(budget: Budget, at_least: int) -> None:
    explore(budget, at_least)


@pytest.mark.long
@pytest.mark.parametrize(
    ("budget", "at_least"),
    [
        (Budget(moves=2), 1_000),
        (Budget(moves=3), 5_000),
        (Budget(moves=2, losses=1), 15_000),
        (Budget(moves=2, lates=1, losses=1), 20_000),
        (Budget(moves=1, losses=1, restarts=1), 30_000),
        (Budget(losses=3), 1_000),
    ],
)
def test_no_promise_is_broken_in_longer_lives(budget: Budget, at_least: int) -> None:
    explore(budget, at_least)


def test_no_promise_is_broken_in_lives_at_random() -> None:
    walk(range(40))


@pytest.mark.long
@pytest.mark.parametrize("block", range(10))
def test_no_promise_is_broken_in_many_lives_at_random(block: int) -> None:
    walk(range(1000 + 200 * block, 1200 + 200 * block))


def walk(seeds: range) -> None:
    """Up to three moves, three losses and a restart, anywhere: all such lives are too many to see each."""
    search = Search(Budget(moves=3, losses=3, restarts=1))
    for seed in seeds:
        search.walk(seed)
    assert search.found.states > 10 * len(seeds)


def test_states_that_are_called_the_same_have_the_same_future() -> None:
    search = Search(Budget(moves=1, losses=1), check_equal=3)
    search.run()
    assert search.equal_futures > 10


def test_a_state_is_the_same_after_it_was_frozen() -> None:
    with open_crypto():
        world = World(Budget(moves=1), 2)
        twin = World.thaw(world.freeze())
        for one in (world, twin):
            for choice in (("go on", ""), ("move", "a"), ("deliver", "b"), ("deliver", "b")):
                one.do(choice)
        assert digest(world) == digest(twin)
        assert [flight.payload for flight in world.hosts["a"].inbound] == [
            flight.payload for flight in twin.hosts["a"].inbound
        ]


def test_the_search_would_notice_a_packet_that_is_delivered_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReplayWindow, "is_fresh", lambda self, counter: True)
    monkeypatch.setattr(Stash, "missing", lambda self, *_: list(self))
    with pytest.raises(ViolationError, match="twice"):
        Search(Budget(moves=1)).run()


def test_the_search_would_notice_a_packet_that_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stash, "missing", lambda self, *_: [])
    with pytest.raises(ViolationError, match=r"arrived(.|\n)*move"):
        Search(Budget(moves=1)).run()
