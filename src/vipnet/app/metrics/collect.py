"""The daemon's numbers as Prometheus' families: read when they are asked for, and only then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import trio

from vipnet import __version__
from vipnet.app import report
from vipnet.app.engine import Engine, now
from vipnet.app.metrics.families import FAMILIES, PEER_STATES, PUBLISH_STATES, STATES
from vipnet.app.movehistory import BOUNDS_S, Histogram
from vipnet.app.nameservice import NameService
from vipnet.app.publishing import PublishLoop
from vipnet.core.peer import Peer
from vipnet.system.resolver import Resolver
from vipnet.types import Instant

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

Samples = Iterable[tuple[tuple[str, ...], float]]  # values of the labels in their order, and the sample's


class Metrics:
    """One collector of prometheus_client's, in a registry of its own.

    state       of the daemon, as in `status`
    offloads    what the kernel does for tun0, for sending and for receiving
    suppressed  lines that the log's pace has kept out
    """

    def __init__(
        self,
        *,
        engine: Engine,
        names: NameService,
        resolver: Resolver,
        publishing: PublishLoop,
        state: Callable[[], str],
        offloads: Callable[[], Mapping[str, bool]],
        suppressed: Callable[[], int] = lambda: 0,
        now: Callable[[], Instant] = now,
    ) -> None:
        self._engine, self._names, self._resolver = engine, names, resolver
        self._publishing, self._state, self._offloads = publishing, state, offloads
        self._suppressed, self._now = suppressed, now
        self._registry: CollectorRegistry | None = None

    @property
    def registry(self) -> CollectorRegistry:
        """With what the kernel knows of this process beside our own."""
        if self._registry is None:
            from prometheus_client import CollectorRegistry, ProcessCollector

            self._registry = CollectorRegistry(auto_describe=False)
            ProcessCollector(registry=self._registry)
            self._registry.register(self)
        return self._registry

    def text(self) -> str:
        """The text format, version 0.0.4, that every Prometheus reads."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry).decode()

    def describe(self) -> list[Metric]:
        return []  # a registry asks who might clash; ours has nobody else

    def collect(self) -> Iterator[Metric]:
        """All families, whether they have samples or not."""
        yield _metric("vipnet_build", [((__version__,), 1)])
        yield _one_of("vipnet_state", STATES, self._state())
        host = self._engine.node.host
        yield _metric("vipnet_locators", [((), len(host.locators))])
        yield _metric("vipnet_tun_mtu_bytes", [((), host.tun_mtu)])
        yield _metric("vipnet_offload", _by_label(self._offloads()))
        yield from self._peers()
        yield _metric("vipnet_sessions", _by_label(self._engine.sessions_begun))
        yield from self._moves()
        yield from self._dns()
        yield from self._trouble()
        held = host.policy.stash_total_bytes - host.stash_room.free_bytes
        yield _metric("vipnet_stash_bytes", [((), held)])
        yield _metric("vipnet_log_suppressed_lines", [((), self._suppressed())])

    def _peers(self) -> Iterator[Metric]:
        at = self._now()
        boot_s = time.time() - at
        peers = list(self._engine.node.peers.values())
        states = dict.fromkeys(PEER_STATES, 0)
        for peer in peers:
            states[report.state_of(peer, at)] += 1
        yield _metric("vipnet_peers", _by_label(states))
        yield _metric(
            "vipnet_peer_connected", _of_each(peers, lambda peer: peer.sessions.sending(at) is not None)
        )
        # Of a peer that has not been heard since the start nothing else is known.
        heard = [peer for peer in peers if peer.mapping.last_heard is not None]
        yield _metric("vipnet_peer_receive_bytes", _of_each(heard, lambda peer: peer.rx_bytes))
        yield _metric("vipnet_peer_transmit_bytes", _of_each(heard, lambda peer: peer.tx_bytes))
        yield _metric("vipnet_peer_rtt_seconds", _of_each(heard, lambda peer: peer.rtt.srtt_s))
        yield _metric("vipnet_peer_path_mtu_bytes", _of_each(heard, lambda peer: peer.path_mtu))
        yield _metric(
            "vipnet_peer_last_heard_timestamp_seconds",
            _of_each(heard, lambda peer: boot_s + (peer.mapping.last_heard or 0)),
        )
        refused = _of_each(peers, lambda peer: peer.offered_key is not None or None)
        yield _metric("vipnet_peer_key_refused", refused)
        yield _metric("vipnet_peer_key_cloned", _of_each(peers, lambda peer: _two(peer, at)))

    def _moves(self) -> Iterator[Metric]:
        totals = self._engine.moves.totals
        yield _metric("vipnet_moves", _by_label(totals.causes))
        outcomes = {outcome: totals.outcomes[outcome] for outcome in ("acked", "dns", "timeout")}
        yield _metric("vipnet_move_partners", _by_label(outcomes))
        yield _histogram("vipnet_move_ack_seconds", totals.acknowledged)
        yield _histogram("vipnet_move_silence_seconds", totals.silences)
        yield _metric("vipnet_move_replayed_datagrams", [((), totals.replayed)])
        yield _metric("vipnet_move_replayed_bytes", [((), totals.replayed_bytes)])
        yield _metric("vipnet_move_dropped_datagrams", [((), totals.dropped)])

    def _dns(self) -> Iterator[Metric]:
        yield _metric("vipnet_dns_answers", _by_label(self._names.answers))
        publishing = self._publishing
        yield _one_of("vipnet_publish_state", PUBLISH_STATES, publishing.state)
        yield _metric("vipnet_publish_updates", _by_label(publishing.updates))
        succeeded_at, name = publishing.succeeded_at, "vipnet_publish_last_success_timestamp_seconds"
        ago_s = None if succeeded_at is None else trio.current_time() - succeeded_at
        yield _metric(name, [] if ago_s is None else [((), time.time() - ago_s)])

    def _trouble(self) -> Iterator[Metric]:
        """`counters` of the status JSON: two kinds of them have a family of their own."""
        engine = self._engine
        others = (engine.counters, self._names.counters, self._resolver.counters)
        events = report.counters(engine.node, *others)
        for name, prefix in (("vipnet_datagrams_dropped", "dropped_"), ("vipnet_send_errors", "send_")):
            mine = {event for event in events if event.startswith(prefix)}
            counts = {event.removeprefix(prefix): events.pop(event) for event in sorted(mine)}
            yield _metric(name, _by_label(counts))
        yield _metric("vipnet_events", _by_label(events))


# --- families


def _metric(name: str, samples: Samples) -> Metric:
    from prometheus_client import Metric

    family = FAMILIES[name]
    metric = Metric(name, family.help, family.kind)
    for labels, value in samples:
        metric.add_sample(family.sample, dict(zip(family.labels, labels, strict=True)), value)
    return metric


def _histogram(name: str, histogram: Histogram) -> Metric:
    from prometheus_client import Metric

    metric, below = Metric(name, FAMILIES[name].help, "histogram"), 0
    for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), histogram.counts, strict=True):
        below += count
        metric.add_sample(f"{name}_bucket", {"le": bound}, below)
    metric.add_sample(f"{name}_count", {}, below)
    metric.add_sample(f"{name}_sum", {}, histogram.sum_s)
    return metric


def _one_of(name: str, values: Iterable[str], now_is: str) -> Metric:
    return _metric(name, [((value,), value == now_is) for value in values])


def _by_label(values: Mapping[str, float]) -> Samples:
    return [((label,), value) for label, value in values.items()]


def _of_each(peers: Iterable[Peer], value: Callable[[Peer], float | None]) -> Samples:
    """A sample for each of PEERS of which it is known."""
    return [((peer.name,), known) for peer in peers if (known := value(peer)) is not None]


def _two(peer: Peer, at: Instant) -> bool | None:
    return peer.runs.are_two(at) or None
