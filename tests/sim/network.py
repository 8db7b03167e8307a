"""A network of whole nodes in one process: virtual clock, seeded randomness, hostile links.

    net = Network(seed=1, latency_s=0.02)
    a, b = net.host("a.example"), net.host("b.example")
    net.run_until(lambda: a.can_reach(b))
    a.move_to("198.51.100.7")

A seed reproduces a run exactly. Nothing here sleeps, opens a socket or reads a clock.
`net.trace` keeps what happened; `net.diagram()` draws it.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from itertools import count
from random import Random

from tests.sim.clock import Clock
from tests.sim.disk import Disk
from tests.sim.host import PROTOCOL, SimHost, ipv4

from vipnet.core.outputs import Fragmentation, LookupResult, LookupWanted, TooBig, Transmit
from vipnet.policy import DEFAULT_PORT
from vipnet.types import Fqdn, Locator, parse_name
from vipnet.wire.datagram import is_handshake

__all__ = ["PROTOCOL", "Disk", "Network", "SimHost", "ipv4"]

_FIRST_ADDRESS = int(IPv4Address("192.0.2.1"))
_HEADERS = 28  # bytes, of IPv4 and UDP
_NO_ANSWER_S = 0.3  # a look-up that fails takes so long


class Network(Clock):
    """Links with delay, loss, reordering and duplication; a DNS with delay.

    blocked          pairs of IP addresses between which nothing passes
    dead             IP addresses from and to which nothing passes
    narrow           the MTU of the link of an IP address, where it matters
    routers_speak    whether who sends too much into such a link hears of it
    dns_down         no look-up is answered, no update arrives
    dns_failing      probability that a look-up fails, or an update
    publish_retry_s  a failed update is made again after this, doubling; None: it is given up
    touched          hosts that did something since somebody cleared it
    trace_kept       lines of trace that are kept at least, None: all
    """

    def __init__(
        self,
        seed: int,
        *,
        latency_s: float = 0.02,
        loss: float = 0.0,
        duplication: float = 0.0,
        jitter_s: float = 0.0,
        dns_latency_s: float = 0.01,
        dns_failing: float = 0.0,
        publish_retry_s: float | None = None,
        trace_kept: int | None = None,
    ) -> None:
        super().__init__()
        self.seed, self.random = seed, Random(seed)
        self.latency_s, self.loss, self.duplication, self.jitter_s = latency_s, loss, duplication, jitter_s
        self.dns_latency_s, self.dns_failing, self.dns_down = dns_latency_s, dns_failing, False
        self.publish_retry_s = publish_retry_s
        self.dns_secure = False  # DNSSEC vouches for every answer
        self.blocked: set[frozenset[str]] = set()
        self.dead: set[str] = set()
        self.narrow: dict[str, int] = {}
        self.routers_speak = True
        self.hosts: dict[str, SimHost] = {}
        self.touched: dict[SimHost, None] = {}
        self.zone: dict[Fqdn, str] = {}
        self.trace: list[tuple[float, str, str, str]] = []
        self.trace_kept = trace_kept
        self.datagrams = self.datagram_bytes = self.lost = self.updates = 0
        self._at: dict[Locator, list[SimHost]] = {}
        self._landed: dict[Fqdn, int] = {}
        self._addresses = count(_FIRST_ADDRESS)

    def host(self, name: str, **options: object) -> SimHost:
        host = SimHost(self, parse_name(name), **options)  # type: ignore[arg-type]
        self.hosts[name] = host
        host.boot()
        host.move_to(self.new_address(), cause="start")
        return host

    def new_address(self) -> str:
        return str(IPv4Address(next(self._addresses)))

    def _before_run(self) -> None:
        for host in self.hosts.values():
            host.watch_timer()  # tests touch nodes directly

    # --- who is where

    def place(self, host: SimHost, locator: Locator) -> None:
        """Datagrams to LOCATOR reach HOST from now on, beside whoever is there."""
        self._at.setdefault(locator, []).append(host)

    def displace(self, host: SimHost, locator: Locator) -> None:
        there = self._at[locator]
        there.remove(host)
        if not there:
            del self._at[locator]

    # --- datagrams

    def send(self, sender: SimHost, transmit: Transmit) -> None:
        source, target = sender.seems_at(transmit.source), transmit.destination
        if source is None:
            return
        payload = bytes(transmit.payload)
        self.datagrams += 1
        self.datagram_bytes += len(payload)
        receiver = next(iter(self._at.get(target, ())), None)
        name = receiver.name if receiver is not None else str(target)
        label = f"handshake {payload[5]}" if is_handshake(payload) else f"{len(payload)} bytes"
        lost = (
            self.random.random() < self.loss
            or frozenset((source.host, target.host)) in self.blocked
            or (receiver is not None and receiver.island != sender.island)
            or (bool(self.dead) and (source.host in self.dead or target.host in self.dead))
        )
        self.note(sender.name, name, label + (" LOST" if lost else ""))
        if lost:
            self.lost += 1
            return
        if self.narrow and self._is_too_big(sender, transmit, source):
            return
        copies = 2 if self.random.random() < self.duplication else 1
        for _ in range(copies):
            delay_s = self.latency_s + self.random.random() * self.jitter_s
            self.at(delay_s, lambda: self._arrive(payload, source, target))

    def _is_too_big(self, sender: SimHost, transmit: Transmit, source: Locator) -> bool:
        target, payload = transmit.destination, bytes(transmit.payload)
        mtu = min(self.narrow.get(host, 65_535) for host in (source.host, target.host))
        if len(payload) + _HEADERS <= mtu or transmit.fragmentation is Fragmentation.ALLOWED:
            return False
        self.note(sender.name, str(target), f"{len(payload)} bytes TOO BIG")
        if self.routers_speak:
            report = TooBig(target, mtu, payload[:64])
            self.at(self.latency_s, lambda: sender.handle_too_big(report))
        return True

    def _arrive(self, payload: bytes, source: Locator, target: Locator) -> None:
        for host in tuple(self._at.get(target, ())):
            if host.awake:
                host.handle_datagram(payload, source)

    # --- DNS

    def publish(self, name: Fqdn, address: str) -> None:
        """One update; what a newer one said is not taken back (the marker of protocol-names.md)."""
        self.updates += 1
        if not self._dns_fails():
            number = self.updates
            self.at(self.dns_latency_s, lambda: self._land(name, address, number))
        elif self.publish_retry_s is not None:
            self._publish_later(name, address, self.publish_retry_s)

    def _publish_later(self, name: Fqdn, address: str, pause_s: float) -> None:
        def again() -> None:
            host = self.hosts[name]
            if not host.awake or host.locator is None or host.locator.host != address:
                return
            if self._dns_fails():
                self._publish_later(name, address, min(2 * pause_s, 60.0))
            else:
                self.publish(name, address)

        self.at(pause_s, again)

    def _land(self, name: Fqdn, address: str, number: int) -> None:
        if number > self._landed.get(name, 0):
            self._landed[name] = number
            self.zone[name] = address

    def _dns_fails(self) -> bool:
        return self.dns_down or (self.dns_failing > 0 and self.random.random() < self.dns_failing)

    def lookup(self, host: SimHost, wanted: LookupWanted) -> None:
        host.lookups.append(wanted)
        self.note(host.name, "DNS", f"{wanted.name}: {wanted.reason}")
        # The answer is what the server has when the question arrives.
        failed = host.locator is None or self._dns_fails()
        self.at(self.dns_latency_s / 2, lambda: self._answer(host, wanted, failed))

    def _answer(self, host: SimHost, wanted: LookupWanted, failed: bool) -> None:
        result = LookupResult(wanted.name, failed=True) if failed else self.result(wanted.name)
        delay_s = _NO_ANSWER_S if failed else self.dns_latency_s / 2
        self.at(delay_s, lambda: host.handle_lookup(result))

    def result(self, name: Fqdn) -> LookupResult:
        target = self.hosts.get(name)
        addresses = (self.zone[name],) if name in self.zone else ()
        if target is None or not target.in_dns:
            return LookupResult(name, addresses)
        return LookupResult(name, addresses, target.public_key, DEFAULT_PORT, secure=self.dns_secure)

    # --- for people

    def note(self, source: str, target: str, text: str) -> None:
        self.trace.append((self.now, source, target, text))
        if self.trace_kept is not None and len(self.trace) > 2 * self.trace_kept:
            del self.trace[: -self.trace_kept]

    def story(self) -> str:
        return f"(seed {self.seed})\n{self.diagram()}"

    def diagram(self, last: int = 40) -> str:
        return "\n".join(
            f"{at:10.4f}  {source} -> {to}: {text}" for at, source, to, text in self.trace[-last:]
        )
