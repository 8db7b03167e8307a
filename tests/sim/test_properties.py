"""Random scenarios of 2 to 5 hosts: some things never happen, and peace brings everyone together.

A seed reproduces a run: `pytest tests/sim/test_properties.py -k "[17]"`, or Scenario(17).run().
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, permutations
from random import Random
from typing import ClassVar

import pytest
from tests.sim.network import Disk, Network, SimHost

from vipnet.core import session
from vipnet.crypto.transport import Cipher, SealingKey
from vipnet.types import Fqdn, Token

QUIET_LIMIT_S = 20.0  # virtual; the longest gap between attempts is 6.25 s, and each end may be in one
_HAPPENS = {  # how often, relatively
    "talk": 5,
    "move": 2,
    "move_apart": 1,
    "leave": 1,
    "come_back": 2,
    "crash": 1,
    "lose_store": 1,
    "boot": 3,
    "cut": 1,
    "mend": 1,
    "weather": 2,
    "dns": 2,
    "pause": 2,
    "long_pause": 1,
}


class CountedKey(SealingKey):
    """A sealing key that remembers its counters, in all nodes of the process."""

    __slots__ = ("_key",)
    used: ClassVar[set[tuple[bytes, int]]] = set()

    def __init__(self, key: bytes, cipher: Cipher) -> None:
        super().__init__(key, cipher)
        self._key = key

    def seal(self, receiver_index: int, counter: int, plaintext: bytes | memoryview) -> bytes:
        assert (self._key, counter) not in self.used, f"counter {counter} is sealed twice"
        self.used.add((self._key, counter))
        return super().seal(receiver_index, counter, plaintext)


@pytest.fixture(autouse=True)
def counted_keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(session, "SealingKey", CountedKey)
    CountedKey.used = set()
    yield
    CountedKey.used = set()


class Scenario:
    """One seed's hosts, what befalls them, and what must hold all the while."""

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
        self.hosts = [
            self.net.host(f"{letter}.example", subnet=subnet) for letter in "abcde"[: random.randint(2, 5)]
        ]
        self.steps: list[str] = []
        self._serial = count()
        self._delivered: set[bytes] = set()
        self._stood_for: dict[Fqdn, dict[Token, Fqdn]] = {host.name: {} for host in self.hosts}

    def run(self, steps: int = 25) -> float:
        """Let things happen, then peace come; return after how long everyone reached everyone, seconds."""
        try:
            self.net.run_for(2)
            for _ in range(steps):
                self._happen()
                self.check()
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
        if not host.up:
            return
        if host.token_of(other) is None:
            host.resolve(other)
        else:
            host.send(other, f"{host.name} {other.name} {next(self._serial)}".encode())

    def _move(self, host: SimHost) -> None:
        host.move_to(self.net.new_address())

    def _move_apart(self, host: SimHost) -> None:
        """Both ends of a pair at once, and DNS does not learn of one."""
        other = self.random.choice([other for other in self.hosts if other is not host])
        host.move_to(self.net.new_address())
        other.move_to(self.net.new_address(), publish=False)

    def _leave(self, host: SimHost) -> None:
        host.move_to(None)

    def _come_back(self, host: SimHost) -> None:
        if host.locator is None:
            host.move_to(self.net.new_address())

    def _crash(self, host: SimHost) -> None:
        host.crash()

    def _lose_store(self, host: SimHost) -> None:
        host.crash()
        host.disk = Disk()
        self._stood_for[host.name] = {}

    def _boot(self, host: SimHost) -> None:
        if not host.up:
            host.boot()

    def _cut(self, host: SimHost) -> None:
        for other in self.hosts:
            if host.locator and other.locator and other is not host and self.random.random() < 0.5:
                self.net.blocked.add(frozenset((host.locator.host, other.locator.host)))

    def _mend(self, host: SimHost) -> None:
        self.net.blocked.clear()

    def _weather(self, host: SimHost) -> None:
        self.net.loss = self.random.choice((0.0, 0.1, 0.5))
        self.net.duplication = self.random.choice((0.0, 0.3))
        self.net.jitter_s = self.random.choice((0.0, 0.05, 0.5))

    def _dns(self, host: SimHost) -> None:
        self.net.dns_down = self.random.random() < 0.5
        self.net.dns_latency_s = self.random.choice((0.005, 0.2, 2.0))

    def _pause(self, host: SimHost) -> None:
        self.net.run_for(self.random.uniform(0.1, 5))

    def _long_pause(self, host: SimHost) -> None:
        """Leases, sessions and attempts run out: 60, 120, 180 and 90 s."""
        self.net.run_for(self.random.choice((20.0, 61.0, 125.0, 200.0)))

    # --- what holds

    def check(self) -> None:
        up = [host for host in self.hosts if host.up]
        for host, other in permutations(up, 2):
            ours = host.node.peers[other.name].binding if other.name in host.node.peers else None
            theirs = other.node.peers[host.name].binding if host.name in other.node.peers else None
            if ours is not None and theirs is not None:
                assert (ours.local_token, ours.remote_token) == (theirs.remote_token, theirs.local_token), (
                    f"{host.name} and {other.name} call each other by different tokens"
                )
        for host in up:
            self._check_tokens(host)
        for host in self.hosts:
            self._check_delivered(host)

    def _check_tokens(self, host: SimHost) -> None:
        shown = [peer.binding for peer in host.node.peers.values() if peer.binding is not None]
        remotes = [binding.remote_token for binding in shown]
        assert len(set(remotes)) == len(remotes), f"{host.name}: a token stands for two names"
        assert not set(remotes) & {binding.local_token for binding in shown}, f"{host.name}: it is a peer"
        stood_for = self._stood_for[host.name]
        for binding in shown:
            before = stood_for.setdefault(binding.remote_token, binding.name)
            assert before == binding.name, f"{host.name}: {binding.remote_token} stood for {before}"

    def _check_delivered(self, host: SimHost) -> None:
        while host.received:
            body = host.received.popleft()
            assert body not in self._delivered, f"{body!r} is delivered twice"
            self._delivered.add(body)

    # --- peace

    def _peace(self) -> float:
        net = self.net
        self.steps.append(f"{net.now:10.3f}  peace")
        net.loss = net.duplication = net.jitter_s = 0.0
        net.dns_down, net.dns_latency_s = False, 0.01
        net.blocked.clear()
        for host in self.hosts:
            if not host.up:
                host.boot()
            host.move_to(net.new_address())
        net.run_for(4)  # the last slow updates of DNS land
        for host in self.hosts:
            assert host.locator is not None
            net.publish(host.name, host.locator.host)
        net.run_for(0.1)
        longest_s = 0.0
        for host, other in permutations(self.hosts, 2):
            longest_s = max(longest_s, self._reach(host, other))
            self.check()
        return longest_s

    def _reach(self, host: SimHost, other: SimHost) -> float:
        """Send a packet every 50 ms until one of them arrives; return the seconds."""
        first, begun_at = next(self._serial), self.net.now
        pair = f"{host.name} {other.name} ".encode()
        while not any(body.startswith(pair) and int(body.split()[2]) > first for body in other.received):
            waited_s = self.net.now - begun_at
            assert waited_s < QUIET_LIMIT_S, f"{host.name} does not reach {other.name}"
            if host.token_of(other) is not None or host.failed or not waited_s:
                self._send(host, other)
            self.net.run_for(0.05)
        return self.net.now - begun_at


@pytest.mark.parametrize("seed", range(40))
def test_nothing_breaks_and_peace_brings_everyone_together(seed: int) -> None:
    Scenario(seed).run(steps=30)


@pytest.mark.long
@pytest.mark.parametrize("block", range(40))
def test_nothing_breaks_in_many_more_scenarios(block: int) -> None:
    for seed in range(1000 + 25 * block, 1025 + 25 * block):
        Scenario(seed).run(steps=40)


def test_a_seed_reproduces_its_run() -> None:
    first, second = Scenario(3), Scenario(3)
    first.run()
    CountedKey.used.clear()
    second.run()
    assert first.steps == second.steps
    assert first.net.trace == second.net.trace
