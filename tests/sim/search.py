"""Every life that two hosts can have, up to a bound: no promise is broken.

    python -m tests.sim.search --moves 2 --losses 1 --restarts 1
    python -m tests.sim.search --moves 3 --losses 3 --restarts 1 --walks 1000 --seed 1

The second takes so many lives at random, of those that are too many to see each. It
says how many states there are, and draws the way to the first that is wrong. What
may happen stands in `twohosts`, when two states are the same in `sameness`.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, fields, replace
from random import Random
from typing import Final

from tests.sim.opencrypto import open_crypto
from tests.sim.reading import read_datagram
from tests.sim.sameness import digest
from tests.sim.twohosts import Budget, Choice, ViolationError, World

from vipnet.wire.handshake import HandshakeDatagram

Trace = tuple["Trace", Choice] | None
Left = tuple[int, ...]


# Of a walk: what is spent soon is not spent where it would do harm.
_WEIGHTS: Final = {"move": 0.1, "restart": 0.05, "lose": 0.2}


@dataclass
class Found:
    """states    different ones; those with a smaller budget than another count once
    settled      of these, where all was quiet
    depth        choices on the longest way
    peace_s      the longest time from quiet until a packet each way arrived, virtual
    complete     False: the limit of states was reached
    """

    states: int = 1
    settled: int = 0
    depth: int = 0
    peace_s: float = 0.0
    complete: bool = True


class Search:
    """Through all states, those with the largest budget first: others may then be no news."""

    def __init__(self, budget: Budget, *, packets: int = 2, calm: bool = False, check_equal: int = 0) -> None:
        """CHECK_EQUAL: of each so many states that were met before, see that one has the same future."""
        self.budget, self.packets, self.calm = budget, packets, calm
        self.found = Found()
        self.equal_futures = 0
        self._check_equal = check_equal
        self._seen: dict[bytes, list[Left]] = {}
        self._futures: dict[tuple[bytes, Left], list[bytes]] = {}
        self._met_again = 0
        self._waiting: list[list[tuple[bytes, Trace, int]]] = [[] for _ in range(sum(budget.as_tuple()) + 1)]

    def _start(self) -> World:
        return World(replace(self.budget), self.packets, calm=self.calm)

    def run(self, most: int = sys.maxsize) -> Found:
        """Raise ViolationError, with a diagram, when a property does not hold."""
        with open_crypto():
            start = self._start()
            self._seen[digest(start)] = [start.left.as_tuple()]
            self._waiting[0].append((start.freeze(), None, 0))
            while (waiting := next((level for level in self._waiting if level), None)) is not None:
                if self.found.states >= most:
                    self.found.complete = False
                    break
                self._expand(*waiting.pop())
        return self.found

    def walk(self, seed: int) -> None:
        """One life at random, where all of them are too many. Raise ViolationError like run()."""
        random = Random(seed)
        with open_crypto():
            trace: Trace = None
            world, depth = self._start(), 0
            while choices := world.choices():
                if world.is_settled():
                    self.found.settled += 1
                    frozen = world.freeze()
                    self._attempt(trace, lambda: self._make_peace(World.thaw(frozen)))  # noqa: B023
                choice = random.choices(choices, [_WEIGHTS.get(what, 1.0) for what, _ in choices])[0]
                trace, depth = (trace, choice), depth + 1
                self._attempt(trace, lambda: self._step(world, choice))  # noqa: B023
                self.found.states += self._is_news(digest(world), world.left.as_tuple())
            self.found.depth = max(self.found.depth, depth)
            self.found.settled += 1
            self._attempt(trace, lambda: self._make_peace(world))

    def _expand(self, frozen: bytes, trace: Trace, depth: int) -> None:
        world = World.thaw(frozen)
        self.found.depth = max(self.found.depth, depth)
        if world.is_settled():
            self.found.settled += 1
            self._attempt(trace, lambda: self._make_peace(World.thaw(frozen)))
        for choice in world.choices():
            after = World.thaw(frozen)
            way: Trace = (trace, choice)
            self._attempt(way, lambda: self._step(after, choice))  # noqa: B023 - called at once
            name, left = digest(after), after.left.as_tuple()
            if self._check_equal:
                self._futures.setdefault((digest(world), world.left.as_tuple()), []).append(name)
            if self._is_news(name, left):
                self.found.states += 1
                self._waiting[sum(self.budget.as_tuple()) - sum(left)].append(
                    (after.freeze(), way, depth + 1)
                )
            elif self._check_equal:
                self._compare_future(after, name, left)

    def _step(self, world: World, choice: Choice) -> None:
        world.do(choice)
        world.check()

    def _make_peace(self, world: World) -> None:
        self.found.peace_s = max(self.found.peace_s, world.check_settled())

    def _is_news(self, name: bytes, left: Left) -> bool:
        """Whether no state with this future was met with as much budget left."""
        known = self._seen.setdefault(name, [])
        if any(all(one >= other for one, other in zip(before, left, strict=True)) for before in known):
            return False
        known.append(left)
        return True

    def _compare_future(self, world: World, name: bytes, left: Left) -> None:
        """Met again: what can happen next leads to the same states as when it was met first."""
        self._met_again += 1
        first = self._futures.get((name, left))
        if self._met_again % self._check_equal or first is None:
            return
        frozen = world.freeze()
        futures = []
        for choice in world.choices():
            after = World.thaw(frozen)
            after.do(choice)
            futures.append(digest(after))
        if len(first) == len(futures):
            assert first == futures, "two states are called the same and have different futures"
            self.equal_futures += 1

    def _attempt(self, trace: Trace, action: object) -> None:
        try:
            action()  # type: ignore[operator]
        except AssertionError as error:
            story = diagram(self._start(), trace)
            raise ViolationError(f"{error}\n{story}") from error


def diagram(world: World, trace: Trace) -> str:
    """What happened on the way, and what was sent, line by line."""
    choices: list[Choice] = []
    while trace is not None:
        trace, choice = trace
        choices.append(choice)
    lines: list[str] = []
    world.watch = lambda now, source, to, data: lines.append(
        f"{now - world.born:9.3f}  {source} -> {to}: {describe(data)}"
    )
    try:
        for what, letter in reversed(choices):
            lines.append(f"{what} {letter}".rstrip())
            world.do((what, letter))
    except AssertionError as error:
        lines.append(f"broken: {error}")
    return "\n".join(lines)


def describe(data: bytes) -> str:
    parts = read_datagram(data)
    if isinstance(parts.content, HandshakeDatagram):
        return f"{type(parts.payload).__name__} {parts.index:x}"
    content = parts.content.decode() if isinstance(parts.content, bytes) else type(parts.content).__name__
    return f"{content}, number {parts.counter} of {parts.index:x}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for field in fields(Budget):
        parser.add_argument(f"--{field.name}", type=int, default=0)
    parser.add_argument("--packets", type=int, default=2, help="of each application, between two rests")
    parser.add_argument("--calm", action="store_true", help="no move or restart while anything is in flight")
    parser.add_argument("--most", type=int, default=sys.maxsize, help="stop after so many states")
    parser.add_argument("--walks", type=int, help="so many lives at random instead of all")
    parser.add_argument("--seed", type=int, default=0, help="of the first walk; the next has the next")
    options = vars(parser.parse_args())
    names = ("packets", "calm", "most", "walks", "seed")
    packets, calm, most, walks, seed = (options.pop(name) for name in names)
    begun_at = time.perf_counter()
    search = Search(Budget(**options), packets=packets, calm=calm)
    try:
        if walks is None:
            search.run(most)
        for number in range(walks or 0):
            search.walk(seed + number)
    except ViolationError as error:
        sys.exit(f"VIOLATION: {error}")
    found = search.found
    print(
        f"{found.states:,} states, {found.settled:,} of them quiet, up to {found.depth} choices deep, "
        f"in {time.perf_counter() - begun_at:.0f} s; no violation"
    )
    print(f"from quiet to a packet each way: {found.peace_s:.3f} s at most")
    if not found.complete:
        print(f"not complete: stopped after {most:,} states")


if __name__ == "__main__":
    main()
