"""Hundreds of hosts that talk in pairs while things happen to each of them, and to the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from random import Random

from msgspec import Struct
from tests.sim.network import Network, SimHost
from tests.sim.properties import Properties, body
from tests.sim.quiet import Quiet, Talk

from vipnet.policy import Policy

_PER_HOST = {  # times a minute, with `trouble` 1
    "flap": 0.03,
    "go_away": 0.1,
    "sleep": 0.05,
    "restart": 0.05,
    "second_address": 0.1,
    "forget": 0.3,  # only those behind a NAT
}
_PER_NETWORK = {"part": 0.6, "silence_dns": 0.3, "slow_dns": 0.3, "storm": 0.3}
_HIDDEN = 0.1  # of the hosts are behind a NAT
_TOGETHER = 0.1  # of the moves are made by a partner as well, in the same instant
_RECENT_LINES = 20_000


class Plan(Struct, frozen=True):
    """What a run is made of, beside its seed.

    partners  whom a host ever talks to
    moves     of a host, a minute
    trouble   how much of everything else; 1.0: sleeps of a host in 20 minutes, and so on
    """

    hosts: int = 100
    minutes: float = 5.0
    loss: float = 0.02
    latency_s: float = 0.02
    partners: int = 8
    moves: float = 0.5
    trouble: float = 1.0
    policy: Policy = Policy()


class Population:
    """A run. `happened` counts what befell the hosts."""

    def __init__(self, seed: int, plan: Plan) -> None:
        self.plan, self.random = plan, Random(seed)
        self.net = Network(
            seed,
            latency_s=plan.latency_s,
            loss=plan.loss,
            duplication=0.01,
            jitter_s=plan.latency_s / 4,
            dns_latency_s=0.015,
            publish_retry_s=1.0,
            trace_kept=_RECENT_LINES,
        )
        self.properties, self.quiet = Properties(self.net), Quiet(self.net)
        self.happened: Counter[str] = Counter()
        self.sent = 0
        self._busy: set[SimHost] = set()
        self._numbers = count()
        self._inside = count(1)
        self.hosts = [self.net.host(f"h{number}.example", policy=plan.policy) for number in range(plan.hosts)]
        self._hidden = set(self.hosts[: int(_HIDDEN * plan.hosts)])
        self._circle = {host: self._partners_of(host) for host in self.hosts}
        for host in self._hidden:
            self._settle(host)
        self._arrange()

    def run(self, progress: Callable[[float], None] = lambda _minutes: None) -> None:
        """Raise ViolationError as soon as a property does not hold."""
        end = self.net.now + 60 * self.plan.minutes
        start = self.net.now
        while self.net.now < end:
            self.net.run_for(min(10.0, end - self.net.now))
            progress((self.net.now - start) / 60)

    # --- who talks

    def _partners_of(self, host: SimHost) -> list[SimHost]:
        """Nobody can call a host behind a NAT: it calls, and others answer."""
        callable_ = [other for other in self.hosts if other is not host and other not in self._hidden]
        return self.random.sample(callable_, min(self.plan.partners, len(callable_)))

    def _arrange(self) -> None:
        for host in self.hosts:
            self._after(self.random.uniform(0, 10), lambda host=host: self._begin_talk(host))  # type: ignore[misc]
            self._often(self.plan.moves, "move", host)
            for name, rate in _PER_HOST.items():
                self._often(rate * self.plan.trouble, name, host)
        for name, rate in _PER_NETWORK.items():
            self._often(rate * self.plan.trouble, name, None)

    def _often(self, per_minute: float, name: str, host: SimHost | None) -> None:
        """Let NAME happen again and again, at random (a Poisson process)."""
        if per_minute <= 0:
            return

        def happen() -> None:
            self._happen(name, host)
            self._after(self.random.expovariate(per_minute / 60), happen)

        self._after(self.random.expovariate(per_minute / 60), happen)

    def _after(self, delay_s: float, action: Callable[[], None]) -> None:
        self.net.at(delay_s, action)

    def _begin_talk(self, host: SimHost) -> None:
        other = self.random.choice(self._circle[host])
        self._after(self.random.expovariate(1 / 30), lambda: self._begin_talk(host))
        if not host.awake or self.quiet.talk(host, other) is not None:
            return
        talk = Talk(host, other, self.net.now, answers=self.random.choice((0.0, 0.5, 1.0)))
        if host in self._hidden:
            talk.answers = 1.0
        lasts_s = self.random.choice((2.0, 20.0, 90.0))
        self.quiet.add(talk)
        self._go_on(talk, self.random.choice((0.1, 0.5, 1.0)), self.net.now + lasts_s)

    def _go_on(self, talk: Talk, gap_s: float, until: float) -> None:
        if self.net.now >= until:
            self.quiet.remove(talk)
            return
        self._send(talk.host, talk.other)
        if self.random.random() < talk.answers:
            self._send(talk.other, talk.host)
        self._after(gap_s * self.random.uniform(0.5, 1.5), lambda: self._go_on(talk, gap_s, until))

    def _send(self, host: SimHost, other: SimHost) -> None:
        if not host.awake:
            return
        if host.token_of(other) is not None:
            self.sent += 1
            host.send(other, body(host, other, next(self._numbers)))
        elif other not in self._hidden:
            host.resolve(other)

    # --- what happens to a host; one thing at a time

    def _happen(self, name: str, host: SimHost | None) -> None:
        act: Callable[..., Iterator[float] | None] = getattr(self, f"_{name}")
        if host is None:
            self.happened[name] += 1
            act()
        elif host not in self._busy and host.awake and not (name == "forget" and host.nat is None):
            self.happened[name] += 1
            self._busy.add(host)
            self._step(host, act(host) or iter(()))

    def _step(self, host: SimHost, story: Iterator[float]) -> None:
        """STORY goes on after as many seconds as it says."""
        self.quiet.disturb(host)
        pause_s = next(story, None)
        if pause_s is None:
            self._busy.discard(host)
        else:
            self._after(pause_s, lambda: self._step(host, story))

    def _settle(self, host: SimHost) -> None:
        """Join another network."""
        if host in self._hidden:
            host.move_behind(self.net.new_address())
            inside = next(self._inside)
            host.move_to(f"10.{inside >> 16 & 255}.{inside >> 8 & 255}.{inside & 255}")
        else:
            host.move_to(self.net.new_address())

    def _move(self, host: SimHost) -> Iterator[float]:
        others = [host]
        if self.random.random() < _TOGETHER:
            partners = [other for other in self._circle[host] if other not in self._busy and other.awake]
            others += partners[:1]
            self.happened["move together"] += len(partners[:1])
        pause_s = self.random.choice((0.0, 0.0, 0.3, 1.0, 3.0))
        for other in others:
            self.quiet.disturb(other)
            if pause_s:
                other.move_to(None)
        if pause_s:
            yield pause_s
        for other in others:
            self.quiet.disturb(other)
            if other.awake:
                self._settle(other)

    def _flap(self, host: SimHost) -> Iterator[float]:
        for _ in range(10):
            self._settle(host)
            yield 0.2

    def _go_away(self, host: SimHost) -> Iterator[float]:
        host.move_to(None)
        yield self.random.choice((0.1, 7.0, 30.0, 60.0))
        self._settle(host)

    def _sleep(self, host: SimHost) -> Iterator[float]:
        host.sleep()
        yield self.random.choice((2.0, 10.0, 65.0, 200.0, 3600.0))
        host.wake()
        if self.random.random() < 0.5:
            yield 0.05
            self._settle(host)

    def _restart(self, host: SimHost) -> Iterator[float]:
        self.quiet.finish(host)
        host.crash()
        yield self.random.choice((0.5, 5.0, 90.0))
        host.boot()
        if self.random.random() < 0.3:
            self._settle(host)

    def _second_address(self, host: SimHost) -> Iterator[float]:
        """Make before break; or the first one breaks and nobody says so."""
        if host.locator is None or host.nat is not None:
            return
        old, new = host.locator.host, self.net.new_address()
        host.move_to(old, new)
        yield 2.0
        self.net.dead.add(old)
        if self.random.random() < 0.5:
            yield 15.0
        host.move_to(new)

    def _forget(self, host: SimHost) -> None:
        host.forgotten_by_nat()

    # --- what happens to the network

    def _part(self) -> None:
        """Some hosts are on an island for a while."""
        cut_off = self.random.sample(self.hosts, max(1, len(self.hosts) // 10))
        for host in cut_off:
            host.island = 1

        def mend() -> None:
            for host in cut_off:
                host.island = 0
                self.quiet.disturb(host)

        self._after(self.random.choice((2.0, 8.0, 30.0)), mend)

    def _silence_dns(self) -> None:
        self.net.dns_down = True
        self._after(self.random.choice((3.0, 10.0)), lambda: setattr(self.net, "dns_down", False))

    def _slow_dns(self) -> None:
        self.net.dns_latency_s, self.net.dns_failing = 0.5, 0.1

        def mend() -> None:
            self.net.dns_latency_s, self.net.dns_failing = 0.015, 0.0

        self._after(10.0, mend)

    def _storm(self) -> None:
        self.net.loss = 0.3
        self._after(5.0, lambda: setattr(self.net, "loss", self.plan.loss))
