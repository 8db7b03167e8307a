"""The daemon: what it holds, in the order it is taken, and the one nursery tree.

    run_daemon
     |- engine      tun0 <-> node <-> UDP, timers, look-ups
     |- netwatch -> _follow_network -> publishing first, then hints
     |- records     addresses into DNS
     |- portal      is the network captive?
     |- resolver    for the applications of this host
     |- control     for the command line
     `- signals, and what systemd hears of us

A part that fails ends the tree, and with it the daemon, with its reason. Whatever
was taken is given back on the way out, in reverse.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv4Network, ip_address
from pathlib import Path
from typing import Final

import trio
from msgspec import structs

from vipnet.app import reloading
from vipnet.app.assembly import make_node
from vipnet.app.clock import Clock
from vipnet.app.clonewatch import CloneWatch
from vipnet.app.config import Config, PeerConfig
from vipnet.app.control import SOCKET_NAME, serve_control
from vipnet.app.engine import Engine, now
from vipnet.app.hook import Hook
from vipnet.app.keys import load_key
from vipnet.app.metrics.collect import Metrics
from vipnet.app.nameservice import NameService
from vipnet.app.operations import Operations
from vipnet.app.ownrecords import OwnRecords
from vipnet.app.portal import PortalWatch
from vipnet.app.reloading import Fresh, Reloading, changed_peers
from vipnet.app.resolving import Resolving
from vipnet.app.texts import is_address
from vipnet.core.outputs import LookupResult
from vipnet.errors import HostError, LookupFailedError
from vipnet.names.desired import Desired
from vipnet.names.records import CapabilityRecord
from vipnet.policy import TUN_MTU_MAX, TUN_OVERHEAD
from vipnet.publish import Publisher
from vipnet.system import netwatch, routes
from vipnet.system.lookup import Lookup
from vipnet.system.resolver import Resolver
from vipnet.system.store import Store
from vipnet.system.supervisor import Supervisor
from vipnet.system.tun import TunDevice
from vipnet.system.udp import UdpSockets
from vipnet.types import Fqdn, Locator, Token, parse_name

_STORE_NAME: Final = "state.db"
_FAREWELL_S: Final = 0.05  # for the answer to `down` to leave

log = logging.getLogger(__name__)


async def run_daemon(config: Config, path: Path, suppressed: Callable[[], int] = lambda: 0) -> None:
    """Run until SIGTERM, SIGINT or `down`. Raise VipnetError when a part cannot start or fails.

    path        the file that CONFIG is from, to be read again on SIGHUP or `reload`
    suppressed  lines that the log's pace has kept out, for metrics
    """
    with contextlib.ExitStack() as held:
        await Daemon(config, path, held, suppressed).run()


class Daemon:
    """Everything is taken in the constructor: what cannot be had is an error before anything runs."""

    def __init__(
        self, config: Config, path: Path, held: contextlib.ExitStack, suppressed: Callable[[], int]
    ) -> None:
        self.config = config
        private_key = load_key(config.key_file)
        self.clock = Clock()
        fresh = reloading.read(config, self.clock.tell)
        self._reloading = Reloading(path, fresh, self._take_over, self.clock.tell)
        blocked = routes.overlapping_route(config.tun.subnet, {config.tun.interface})
        if blocked is not None:
            raise HostError(
                f"[tun] subnet = {config.tun.subnet} overlaps the route {blocked}: "
                "set another subnet, the same on all your devices"
            )
        self.hook = Hook(config, known=lambda: self.node.peers)
        # What a crash has left, and however this run ends.
        self.hook.restore()
        held.callback(self.hook.restore)
        self._store = held.enter_context(contextlib.closing(Store(config.state_dir / _STORE_NAME)))
        udp = config.transport
        sockets = UdpSockets(udp.port, dscp=udp.dscp, offloads=udp.offloads)
        self._sockets = held.enter_context(contextlib.closing(sockets))
        # Before tun0: without it a packet to a token would leave in clear while there is no tun0.
        routes.install_unreachable(config.tun.subnet)
        self._started = self._stopping = False
        held.callback(self._remove_unreachable)
        tun = TunDevice(config.tun.interface, config.tun.first_mtu, offloads=config.tun.offloads)
        self._tun = held.enter_context(contextlib.closing(tun))

        self.node = make_node(config, private_key, fresh.listed, self._store)
        own = self.own_token()
        routes.configure_tun(tun.name, own, config.tun.subnet, config.tun.first_mtu)
        self.lookup = Lookup(
            lambda: self.config.dns.upstreams or [Locator(host, 53) for host in self.hook.upstreams()],
            own=config.dns.listen,
            dnssec=config.dns.dnssec,
            anchors=fresh.anchors,
            told_time=self.clock.tell_window,
        )
        self.engine = Engine(
            self.node,
            tun=tun,
            sockets=sockets,
            store=self._store,
            lookup=self.lookup,
            use_local_token=lambda local, remote: routes.use_local_token(tun.name, local, remote),
            cloned=self._handle_cloned,
            seen_at=self._handle_seen_at,
        )
        self.names = NameService(
            own_name=config.name,
            own_token=self.own_token,
            lookup=self.lookup,
            known=self._known,
            stored=lambda name: name in self.node.peers,
            name_of=self._name_of,
            bind=self.engine.bind,
            dns=config.dns,
            hooked=lambda: self.hook.active,
            expect=self.engine.expect,
            captive=lambda: self.portal.captive,
        )
        self.portal = PortalWatch(partial(self.lookup.exchange, tcp=False), self._handle_portal)
        self._resolving = Resolving(
            own_name=config.name,
            own_token=self.own_token,
            lookup=self.lookup,
            kinds=self.names.kinds,
            known=self._known,
            name_of=self._name_of,
            contact=self.engine.contact,
            reach=self.engine.ping,
        )
        self._resolver = Resolver(config.dns.listen, self.names.answer)
        ask_zone = partial(self.lookup.lookup, config.name, authoritative=True)
        self.records = OwnRecords(
            config.publish,
            self._publisher(fresh),
            self._desired,
            ask=ask_zone,
            key=lambda: self.node.host.public_key,
            published=self._handle_published,
            failed=self.portal.suspect,
        )
        self.publishing = self.records.loop
        self.metrics = Metrics(
            engine=self.engine,
            names=self.names,
            resolver=self._resolver,
            publishing=self.publishing,
            state=lambda: self.state,
            offloads=self._offloads,
            suppressed=suppressed,
        )
        self._clones = CloneWatch(
            self.publishing,
            ask=ask_zone,
            cloned=self._is_cloned,
        )
        self._resolver_up = self._was_ready = False
        self._dns_ms: dict[int, float] = {}
        self._nursery: trio.Nursery | None = None
        self._watching = trio.CancelScope()
        self._operations: Operations | None = None

    # --- parts

    def _publisher(self, fresh: Fresh) -> Publisher | None:
        return None if fresh.make_publisher is None else fresh.make_publisher(self.lookup)

    def _desired(self, addresses: tuple[str, ...]) -> Desired:
        record = CapabilityRecord(self.node.host.public_key, self.config.transport.port)
        return Desired(self.config.name, addresses, record, self.config.publish.ttl)

    # --- the tree

    async def run(self) -> None:
        supervisor = Supervisor(os.environ)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._serve_signals, nursery.cancel_scope)
            await nursery.start(self.engine.run)
            try:
                await self._start_parts(nursery)
                log.info("daemon.started", extra={"host": self.config.name, "token": str(self.own_token())})
                await supervisor.attend(lambda: f"{self.config.name} is {self.state}")
            finally:
                log.info("daemon.stopping")
                supervisor.tell("STOPPING=1")
                self.engine.close()

    async def _start_parts(self, nursery: trio.Nursery) -> None:
        await nursery.start(self._resolver.run)
        self._resolver_up = True
        await self.hook.take()
        nursery.start_soon(self.hook.watch)
        updates, news = trio.open_memory_channel[netwatch.Underlay](16)
        await nursery.start(self._watch_network, updates)
        nursery.start_soon(self._follow_network, news)
        nursery.start_soon(self.records.run)
        nursery.start_soon(self._clones.run)
        nursery.start_soon(self.portal.run)
        await self._serve_metrics(nursery)
        for peer in self.config.peers:
            nursery.start_soon(self._look_up_listed, peer)
        self._operations = operations = Operations(
            self.config,
            engine=self.engine,
            names=self.names,
            resolving=self._resolving,
            resolver=self._resolver,
            hook=self.hook,
            publishing=self.publishing,
            lookup=self.lookup,
            state=lambda: self.state,
            offloads=self._offloads,
            dns_ms=self._dns_ms,
            reloading=self._reloading,
            metrics=self.metrics,
            stop=self._stop,
        )
        path = self.config.run_dir / SOCKET_NAME
        await nursery.start(serve_control, path, operations.handlers, operations.feeds)
        self._started = True

    async def _watch_network(
        self,
        updates: trio.MemorySendChannel[netwatch.Underlay],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Watch; anew, with the interfaces that count by then, when the scope is cancelled."""
        ignore = frozenset({self.config.tun.interface})
        while True:
            with trio.CancelScope() as self._watching:
                interfaces = self.config.transport.interfaces
                await netwatch.watch(updates.clone(), ignore, interfaces, task_status=task_status)
            task_status = trio.TASK_STATUS_IGNORED

    async def _serve_metrics(self, nursery: trio.Nursery) -> None:
        """For who wants a port: 3 MB of memory that others do not spend."""
        where = self.config.metrics
        if where.port is not None:
            from vipnet.app.metrics.serve import serve_metrics

            registry = self.metrics.registry
            await nursery.start(serve_metrics, where.address, where.port, registry, self.config.name)

    def _widen_tun(self, underlay: netwatch.Underlay) -> None:
        """Let tun0 make as large packets as our widest network carries; never smaller ones again.

        What a path does not carry is cut smaller in any case, and connections go on.
        """
        mtus = [mtu for one in underlay.addresses if (mtu := routes.link_mtu(one.index)) is not None]
        mtu = min(max(mtus, default=0) - TUN_OVERHEAD, TUN_MTU_MAX)
        if self.config.tun.mtu == "auto" and mtu > self.node.host.tun_mtu:
            routes.set_mtu(self._tun.name, mtu)
            self.node.handle_tun_mtu(mtu)

    async def _follow_network(self, news: trio.MemoryReceiveChannel[netwatch.Underlay]) -> None:
        async for underlay in news:
            subnet = self.config.tun.subnet
            addresses = [(one, ip_address(one.host)) for one in underlay.addresses]
            inside = [ip for _, ip in addresses if isinstance(ip, IPv4Address) and ip in subnet]
            outside = tuple(one for one, ip in addresses if ip not in inside)
            self.portal.handle_network()
            self.names.kinds.forget_legacy()
            # The update leaves before the first hint: both may be needed, and DNS takes longer.
            self.records.handle_network([one.host for one in outside])
            await trio.lowlevel.checkpoint()
            self._widen_tun(underlay)
            self.engine.handle_underlay(structs.replace(underlay, addresses=outside))
            self.engine.handle_host_networks(tuple(IPv4Network(ip) for ip in inside))
            if self._nursery is not None:  # D-Bus may be slow, the next move must not wait for it
                self._nursery.start_soon(self.hook.handle_network)
                self._nursery.start_soon(self.lookup.prepare)

    async def _look_up_listed(self, peer: PeerConfig) -> None:
        """A peer's address may be given as a name, of a router with a forwarded port."""
        if peer.address is None or is_address(peer.address.host):
            return
        with contextlib.suppress(LookupFailedError):
            addresses = await self.lookup.addresses(parse_name(peer.address.host))
            self.engine.tell(LookupResult(peer.name, addresses, port=peer.address.port))

    async def _serve_signals(self, scope: trio.CancelScope) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async for number in signals:
                if number == signal.SIGHUP:
                    self._reloading.reload_by_signal()
                    continue
                self._stopping = True
                scope.cancel()
                return

    def _take_over(self, before: Fresh, fresh: Fresh) -> None:
        """Another configuration is in force: sessions go on, and whatever has changed is changed."""
        old, self.config = before.config, fresh.config
        self.engine.reconfigure(fresh.accept, fresh.listed)
        self.names.kinds.use(self.config.dns)
        self.lookup.validate(self.config.dns.dnssec, fresh.anchors)
        self.hook.use(self.config)
        if self._operations is not None:
            self._operations.use(self.config)
        if before.publish_stamp != fresh.publish_stamp:
            self.records.use(self.config.publish, self._publisher(fresh))
        if old.transport.interfaces != self.config.transport.interfaces:
            self._watching.cancel()
        if self._nursery is not None:
            self._nursery.start_soon(self.hook.handle_network)
            self._nursery.start_soon(self.lookup.prepare)
            changed = changed_peers(old.peers, self.config.peers)
            for peer in self.config.peers:
                if peer.name in changed:
                    self._nursery.start_soon(self._look_up_listed, peer)

    def _is_cloned(self) -> bool:
        return self.node.host.is_cloned(now())

    def _handle_cloned(self) -> None:
        self._clones.handle_notice()

    def _handle_portal(self, captive: bool) -> None:
        """Whatever was asked of a portal, the answers are worth nothing."""
        if captive:
            self.publishing.pause("the network wants a log-in first (captive portal): waiting until it opens")
            return
        self.names.kinds.forget_legacy()
        self.lookup.forget_zones()
        self.publishing.resume()

    # --- publishing

    def _handle_seen_at(self, address: str) -> None:
        self.records.handle_seen_at(address)

    def _handle_published(self) -> None:
        """The provider has confirmed: say so in the move's report."""
        last = self.engine.moves.last
        if last is not None:
            self._dns_ms.setdefault(last.id, (now() - last.at) * 1000)

    # --- names

    def own_token(self) -> Token:
        own = self.node.host.space.own_token
        assert own is not None  # noqa: S101 - chosen before anything else runs
        return own

    def _known(self, name: Fqdn) -> Token | None:
        peer = self.node.peers.get(name)
        return None if peer is None or peer.binding is None else peer.binding.remote_token

    def _name_of(self, token: Token) -> Fqdn | None:
        return self.node.host.space.name_of(token)

    # --- control

    def _offloads(self) -> dict[str, bool]:
        """What the kernel does for us: `offloads` of the status JSON."""
        sockets = self._sockets
        return {"tun": self._tun.offloads, "udp_send": sockets.segments, "udp_receive": sockets.trains}

    @property
    def state(self) -> str:
        if self._stopping:
            return "stopping"
        if not self.node.host.locators:
            return "detached"
        if self.portal.captive:
            return "captive"
        if self._is_cloned():
            return "cloned-key"
        if self.publishing.state == "clock" or self.clock.wrong:
            return "clock"
        published = self.publishing.state == "off" or (self.publishing.state == "ok" and self.records.in_dns)
        self._was_ready = self._was_ready or (self._resolver_up and published)
        return "ready" if self._was_ready else "starting"

    def _stop(self) -> None:
        self._stopping = True
        if self._nursery is not None:
            self._nursery.start_soon(self._end, self._nursery.cancel_scope)

    async def _end(self, scope: trio.CancelScope) -> None:
        await trio.sleep(_FAREWELL_S)
        scope.cancel()

    def _remove_unreachable(self) -> None:
        """After a start that failed and in peace; a crash leaves it: that is what it is for."""
        if self._stopping or not self._started:
            routes.remove_unreachable(self.config.tun.subnet)
