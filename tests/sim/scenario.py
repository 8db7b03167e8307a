"""Two to five hosts and anything that can befall them: some things never happen, and peace brings
everyone together.

A seed reproduces a run: Scenario(17).run().
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, permutations
from random import Random

from tests.sim.network import Network, SimHost
from tests.sim.properties import QUIET_BOUND_S, Properties, body, is_right, watched_seals

_HAPPENS = {  # how often, relatively
    "talk": 5,
    "move": 2,
    "move_apart": 1,
    "second_address": 1,
    "hide": 1,
    "rebind": 1,
    "leave": 1,
    "come_back": 2,
    "sleep": 1,
    "wake": 2,
    "crash": 1,
    "lose_store": 1,
    "boot": 3,
    "cut": 1,
    "part": 1,
    "mend": 2,
    "weather": 2,
    "dns": 2,
    "pause": 2,
    "long_pause": 1,
    "rotate": 1,
}


class Scenario:
    """One seed's hosts, and what happens to them."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.net = Network(
            seed,
            latency_s=random.choice((0.001, 0.02, 0.15)),
            loss=random.choice((0.0, 0.05, 0.3)),
            duplication=random.choice((0.0, 0.1, 0.5)),
            jitter_s=random.choice((0.0, 0.01, 0.3)),
            dns_latency_s=random.choice((0.005, 0.05, 1.0)),
        )
        subnet = random.choice(("240.0.0.0/4", "10.66.0.0/28"))
        self.properties = Properties(self.net)
        self.hosts = [
            self.net.host(f"{letter}.example", subnet=subnet) for letter in "abcde"[: random.randint(2, 5)]
        ]
        self.net.dns_secure = random.random() < 0.5
        self._rotated: set[SimHost] = set()
        self.steps: list[str] = []
        self._serial = count()

    def run(self, steps: int = 25) -> float:
        """Let things happen, then peace come; return after how long everyone reached everyone, seconds."""
        try:
            with watched_seals():
                self.net.run_for(2)
                for _ in range(steps):
                    self._happen()
                return self._peace()
        except AssertionError as error:
            story = "\n".join(self.steps)
            raise AssertionError(
                f"seed {self.net.seed}: {error}\n{story}\n{self.net.diagram(120)}"
            ) from error

    # --- what happens

    def _happen(self) -> None:
        (name,) = self.random.choices(list(_HAPPENS), list(_HAPPENS.values()))
        action: Callable[[SimHost], None] = getattr(self, f"_{name}")
        host = self.random.choice(self.hosts)
        self.steps.append(f"{self.net.now:10.3f}  {name} {host.name}")
        action(host)
        self.net.run_for(self.random.choice((0.0, 0.003, 0.05, 0.5, 2.0)))

    def _talk(self, host: SimHost) -> None:
        """Packets to one partner, some of them in answer, while other things go on happening."""
        other = self.random.choice([other for other in self.hosts if other is not host])
        gap_s = self.random.choice((0.001, 0.05, 0.4))
        answers = self.random.choice((0.0, 0.5, 1.0))
        for number in range(self.random.randint(5, 40)):
            self.net.at(number * gap_s, lambda: self._send(host, other))
            if self.random.random() < answers:
                self.net.at(number * gap_s, lambda: self._send(other, host))

    def _send(self, host: SimHost, other: SimHost) -> None:
        if not host.awake:
            return
        if host.token_of(other) is None:
            host.resolve(other)
        else:
            host.send(other, body(host, other, next(self._serial)))

    def _move(self, host: SimHost) -> None:
        host.move_to(self.net.new_address())

    def _move_apart(self, host: SimHost) -> None:
        """Both ends of a pair at once, and DNS does not learn of one."""
        other = self.random.choice([other for other in self.hosts if other is not host])
        host.move_to(self.net.new_address())
        other.move_to(self.net.new_address(), publish=False)

    def _second_address(self, host: SimHost) -> None:
        """Make before break; or the old one breaks without a word."""
        if host.locator is None or host.nat is not None:
            return
        old, new = host.locator.host, self.net.new_address()
        host.move_to(old, new)
        if self.random.random() < 0.5:
            self.net.at(self.random.choice((0.01, 1.0)), lambda: self.net.dead.add(old))
        else:
            self.net.at(1.0, lambda: host.move_to(new) if host.locator and host.locator.host == old else None)

    def _hide(self, host: SimHost) -> None:
        """Behind a NAT, or out of it."""
        host.move_behind(None if host.nat is not None else self.net.new_address())
        host.move_to(self.net.new_address())

    def _rebind(self, host: SimHost) -> None:
        host.forgotten_by_nat()

    def _leave(self, host: SimHost) -> None:
        host.move_to(None)

    def _come_back(self, host: SimHost) -> None:
        if host.locator is None:
            host.move_to(self.net.new_address())

    def _sleep(self, host: SimHost) -> None:
        """For as long as the next `wake` of the host takes; at least this long."""
        host.sleep()
        self.net.run_for(self.random.choice((0.5, 5.0, 70.0, 200.0, 3600.0)))

    def _wake(self, host: SimHost) -> None:
        for sleeper in self.hosts:
            if sleeper.asleep:
                if self.random.random() < 0.5:
                    sleeper.move_to(self.net.new_address())
                sleeper.wake()

    def _crash(self, host: SimHost) -> None:
        host.crash()

    def _lose_store(self, host: SimHost) -> None:
        # Who was not told of a new key, and cannot ask for it by the old one, needs DNSSEC.
        if host not in self._rotated or self.net.dns_secure:
            host.lose_disk()

    def _rotate(self, host: SimHost) -> None:
        if host.awake:
            host.rotate()
            self._rotated.add(host)

    def _boot(self, host: SimHost) -> None:
        if not host.up:
            host.boot()

    def _cut(self, host: SimHost) -> None:
        for other in self.hosts:
            if host.locator and other.locator and other is not host and self.random.random() < 0.5:
                self.net.blocked.add(frozenset((host.locator.host, other.locator.host)))

    def _part(self, host: SimHost) -> None:
        for other in self.hosts:
            other.island = self.random.randint(0, 1)

    def _mend(self, host: SimHost) -> None:
        self.net.blocked.clear()
        for other in self.hosts:
            other.island = 0

    def _weather(self, host: SimHost) -> None:
        self.net.loss = self.random.choice((0.0, 0.1, 0.5))
        self.net.duplication = self.random.choice((0.0, 0.3))
        self.net.jitter_s = self.random.choice((0.0, 0.05, 0.5))

    def _dns(self, host: SimHost) -> None:
        self.net.dns_down = self.random.random() < 0.5
        self.net.dns_failing = self.random.choice((0.0, 0.3))
        self.net.dns_latency_s = self.random.choice((0.005, 0.2, 2.0))

    def _pause(self, host: SimHost) -> None:
        self.net.run_for(self.random.uniform(0.1, 5))

    def _long_pause(self, host: SimHost) -> None:
        """Leases, sessions and attempts run out: 60, 120, 180 and 90 s."""
        self.net.run_for(self.random.choice((20.0, 61.0, 125.0, 200.0)))

    # --- peace

    def _peace(self) -> float:
        net = self.net
        self.steps.append(f"{net.now:10.3f}  peace")
        net.loss = net.duplication = net.jitter_s = net.dns_failing = 0.0
        net.dns_down, net.dns_latency_s = False, 0.01
        self._mend(self.hosts[0])
        for host in self.hosts:
            if not host.up:
                host.boot()
            if host.nat is not None:
                host.move_behind(None)
            if host.asleep:
                host.wake()
            host.move_to(net.new_address())
        net.run_for(4)  # the last slow updates of DNS land
        for host in self.hosts:
            assert host.locator is not None
            net.publish(host.name, host.locator.host)
        net.run_for(0.1)
        return max(self._reach(host, other) for host, other in permutations(self.hosts, 2))

    def _reach(self, host: SimHost, other: SimHost) -> float:
        """Send a packet every 50 ms until one of them arrives; return the seconds."""
        first, begun_at = next(self._serial), self.net.now
        while self.properties.newest.get((host.name, other.name), -1) < first:
            waited_s = self.net.now - begun_at
            assert waited_s < QUIET_BOUND_S, f"{host.name} does not reach {other.name}"
            if host.token_of(other) is not None or host.failed or not waited_s:
                self._send(host, other)
            self.net.run_for(0.05)
        assert is_right(host, other), f"{host.name} has a wrong mapping for {other.name}"
        return self.net.now - begun_at
