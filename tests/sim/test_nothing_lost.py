"""A datagram every millisecond, either way, over changes of place: each arrives, and once.

Links have jitter but lose nothing by themselves. A seed is a run: `pytest -k "[one-17]"`.
"""

from __future__ import annotations

from random import Random

import pytest
from tests.core.pairs import pair
from tests.sim.network import Network, SimHost

INTERVAL_S = 0.001
STASH_S = 2.0  # what is longer away than this is beyond the promise


class Stream:
    """Numbered packets from each of two hosts to the other."""

    def __init__(self, net: Network, a: SimHost, b: SimHost) -> None:
        self.net, self.ends, self.sent, self.stopped = net, ((a, b), (b, a)), 0, False
        a.received.clear()
        b.received.clear()
        self._send()

    def _send(self) -> None:
        if self.stopped:
            return
        for sender, receiver in self.ends:
            sender.send(receiver, b"n%d" % self.sent)
        self.sent += 1
        self.net.at(INTERVAL_S, self._send)

    def stop(self) -> None:
        """Let everything arrive."""
        self.net.run_for(2.5)
        self.stopped = True
        self.net.run_for(2)

    def lost(self) -> list[list[int]]:
        """For each end what did not arrive; AssertionError where something arrived twice."""
        result = []
        for _, receiver in self.ends:
            numbers = [int(body[1:]) for body in receiver.received if body[:1] == b"n"]
            assert len(numbers) == len(set(numbers)), f"twice (seed {self.net.seed})"
            result.append(sorted(set(range(self.sent)) - set(numbers)))
        return result


def started(seed: int, jitter_s: float = 0.0) -> tuple[Network, SimHost, SimHost, Stream]:
    net = Network(seed, latency_s=0.02, jitter_s=jitter_s)
    a, b = pair(net)
    net.run_for(0.5)
    return net, a, b, Stream(net, a, b)


def many_moves(kind: str, seed: int) -> None:
    random = Random(seed)
    net, a, b, stream = started(seed, random.choice((0.0, 0.01, 0.03)))
    for _ in range(6):
        net.run_for(random.uniform(0.05, 0.5) if kind == "one" else random.uniform(0.6, 1.0))
        movers = [random.choice((a, b))] if kind == "one" else [a, b]
        away_s = random.choice((0.0, random.uniform(0, 0.1), random.uniform(0, 1.3)))
        if away_s:
            for host in movers:
                host.move_to(None)
            net.run_for(away_s)
        for host in movers:
            host.move_to(net.new_address())
        if away_s > 0.1:
            net.run_for(0.6)  # until they have found each other: two outages add up
    stream.stop()
    assert stream.lost() == [[], []], f"seed {seed}"


@pytest.mark.parametrize("kind", ["one", "both"])
@pytest.mark.parametrize("seed", range(12))
def test_moves_lose_nothing(kind: str, seed: int) -> None:
    many_moves(kind, seed)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["one", "both"])
@pytest.mark.parametrize("seed", range(12, 500))
def test_many_more_moves_lose_nothing(kind: str, seed: int) -> None:
    many_moves(kind, seed)


@pytest.mark.parametrize(
    ("back", "away_s"),
    [
        *(("same", away_s) for away_s in (0.3, 1.0, 1.18, 1.5, 4.0)),
        *(("another", away_s) for away_s in (0.3, 1.0, 1.5, 4.0)),
    ],
)
def test_a_peer_that_vanishes_without_a_word_loses_nothing(back: str, away_s: float) -> None:
    """Its link is cut; no end is told. It comes back where it was, or elsewhere."""
    net, a, b, stream = started(1)
    net.run_for(0.5)
    assert a.locator is not None
    assert b.locator is not None
    cut = frozenset((a.locator.host, b.locator.host))
    net.blocked.add(cut)
    net.run_for(away_s)
    if back == "same":
        net.blocked.discard(cut)
    else:
        b.move_to(net.new_address())
    stream.stop()
    assert stream.lost() == [[], []]


@pytest.mark.parametrize("away_s", [3.0, 15.0])
def test_a_long_outage_loses_nothing_that_there_is_room_for(away_s: float) -> None:
    net, _, b, stream = started(2)
    net.run_for(0.5)
    b.move_to(None)
    net.run_for(away_s)
    b.move_to(net.new_address())
    stream.stop()
    assert stream.lost() == [[], []]


def test_of_an_outage_without_room_only_what_the_bounds_say_is_lost() -> None:
    """16,384 packets wait, each a millisecond; what came later is refused, and counted."""
    net, _, b, stream = started(2)
    net.run_for(0.5)
    b.move_to(None)
    net.run_for(20)
    b.move_to(net.new_address())
    stream.stop()
    for (sender, receiver), lost in zip(stream.ends, stream.lost(), strict=True):
        assert lost == list(range(lost[0], lost[-1] + 1))
        assert len(lost) == sender.node.peers[receiver.name].backlog.refused
    (line,) = b.moves[max(b.moves)].partners
    assert line.dropped == len(stream.lost()[1]) > 0
