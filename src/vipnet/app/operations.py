"""What the command line can ask a running daemon: the operations of the control socket."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import trio
from msgspec import to_builtins

from vipnet import __version__
from vipnet.app import logs, report
from vipnet.app.capturing import Capturing
from vipnet.app.config import Config
from vipnet.app.control import Feed, Handler, text
from vipnet.app.engine import Engine, now
from vipnet.app.hook import Hook
from vipnet.app.keylog import KeyLog
from vipnet.app.metrics.collect import Metrics
from vipnet.app.nameservice import NameService
from vipnet.app.publishing import PublishLoop
from vipnet.app.reloading import Reloading
from vipnet.app.resolving import Resolving
from vipnet.app.trusting import TrustOperations
from vipnet.core.outputs import MoveReport
from vipnet.errors import ConfigError, HostError, PublishError
from vipnet.system.lookup import Lookup
from vipnet.system.resolver import Resolver

_UNPUBLISH_S: Final = 3.0


class Operations:
    """Each takes a request's parameters and returns what JSON can say.

    state     of the daemon, as in `status`
    offloads  what the kernel does for tun0, for sending and for receiving
    dns_ms    by move: how long until DNS had the new address
    reloading  takes over a changed configuration
    metrics   for Prometheus
    stop      ends the daemon, after the answer has left
    """

    def __init__(
        self,
        config: Config,
        *,
        engine: Engine,
        names: NameService,
        resolving: Resolving,
        resolver: Resolver,
        hook: Hook,
        publishing: PublishLoop,
        lookup: Lookup,
        state: Callable[[], str],
        offloads: Callable[[], dict[str, bool]],
        dns_ms: Mapping[int, float],
        reloading: Reloading,
        metrics: Metrics,
        stop: Callable[[], None],
    ) -> None:
        self._reloading = reloading
        self._config, self._engine, self._names, self._resolving = config, engine, names, resolving
        self._resolver, self._publishing, self._hook = resolver, publishing, hook
        self._state, self._offloads, self._dns_ms, self._stop = state, offloads, dns_ms, stop
        self._capturing = Capturing(config, engine)
        self._key_log = KeyLog(config.name, engine)
        self._metrics, self._started_at = metrics, now()
        self._trust = TrustOperations(config, engine=engine, lookup=lookup, publishing=publishing)

    def use(self, config: Config) -> None:
        """The configuration has changed."""
        self._config = config
        self._trust.use(config)

    @property
    def handlers(self) -> Mapping[str, Handler]:
        return {
            "status": self._status,
            "peers": self._peers,
            "moves": self._moves,
            "metrics": self._metrics_text,
            "resolve": self._resolve,
            "ping": self._ping,
            **self._trust.handlers,
            "reload": self._reload,
            "down": self._down,
        }

    @property
    def feeds(self) -> Mapping[str, Feed]:
        return {"capture": self._capturing.feed, "key_log": self._key_log.feed}

    async def _status(self, _params: dict[str, Any]) -> object:
        config, node = self._config, self._engine.node
        own = node.host.space.own_token
        return {
            "name": config.name,
            "state": self._state(),
            "version": __version__,
            "uptime_s": now() - self._started_at,
            "tun": {
                "interface": config.tun.interface,
                "token": None if own is None else str(own),
                "subnet": str(config.tun.subnet),
                "mtu": node.host.tun_mtu,
            },
            "offloads": self._offloads(),
            "wants_restart": list(self._reloading.wants_restart),
            "locators": [str(locator) for locator in node.host.locators],
            "dns": {
                "listen": str(config.dns.listen),
                "hook": self._hook.kind,
                "note": self._hook.note,
            },
            "publish": self._publishing.status(),
            "last_move": self._last_move(),
            "peers": self._peer_list(),
            "counters": report.counters(
                node, self._engine.counters, self._names.counters, self._resolver.counters
            ),
        }

    def _last_move(self) -> dict[str, Any] | None:
        """Without its partners, of which there may be thousands: `moves` has them."""
        last = self._engine.moves.last
        if last is None:
            return None
        told = sum(line.outcome in ("acked", "dns") for line in last.partners)
        counts = {"ago_s": now() - last.at, "partner_count": len(last.partners), "told_count": told}
        return {key: value for key, value in self._move(last).items() if key != "partners"} | counts

    async def _peers(self, _params: dict[str, Any]) -> object:
        return {"peers": self._peer_list()}

    def _peer_list(self) -> list[dict[str, Any]]:
        return report.peers_status(self._engine.node, self._engine.moves.last, now())

    async def _moves(self, _params: dict[str, Any]) -> object:
        return {"moves": [self._move(move) for move in self._engine.moves]}

    def _move(self, move: MoveReport) -> dict[str, Any]:
        return report.move_status(move, self._dns_ms.get(move.id), time.time() - now())

    async def _metrics_text(self, _params: dict[str, Any]) -> object:
        return {"text": self._metrics.text()}

    async def _resolve(self, params: dict[str, Any]) -> object:
        return (await self._resolving.trace(text(params, "name"))).json()

    async def _ping(self, params: dict[str, Any]) -> object:
        trace = await self._resolving.trace(text(params, "name"))
        if self._engine.contact(trace.name) is None:
            raise ConfigError(f"{trace.name} is not a vipnet host: `vipnet resolve {trace.name}` says why")
        return {
            "name": trace.name,
            "steps": to_builtins(trace.steps),
            "token": trace.address,
            "locator": None if trace.locator is None else str(trace.locator),
            "rtt_ms": None if trace.rtt_s is None else trace.rtt_s * 1000,
            "problem": trace.problem,
        }

    async def _reload(self, params: dict[str, Any]) -> object:
        """Also `log_level`: another one until the next start."""
        done = self._reloading.reload()
        if params.get("log_level") is not None:
            logs.set_level(text(params, "log_level"))
            done["taken"].append("log level")
        return done

    async def _down(self, params: dict[str, Any]) -> object:
        if params.get("unpublish"):
            with trio.move_on_after(_UNPUBLISH_S) as taken:
                try:
                    await self._publishing.withdraw()
                except PublishError as error:
                    raise HostError(
                        f"still running, and still in DNS: {error} (`vipnet down` leaves it there)"
                    ) from None
            if taken.cancelled_caught:
                raise HostError(
                    "the daemon still runs: its provider does not answer; try again, or `vipnet down` alone"
                )
        self._stop()
        return {"stopping": True}
