"""Looking at everything, the slow things at once: an answer that does not come is waited for only once."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final

import msgspec
import trio

from vipnet.app import launch
from vipnet.app.config import Config, load_config
from vipnet.app.control import ask_daemon
from vipnet.app.doctor.dnslook import look_at_dns
from vipnet.app.doctor.facts import DaemonStatus, DnsFacts, Facts, Ping
from vipnet.app.hook import Hook
from vipnet.errors import ConfigError, HostError, NotRunningError, VipnetError
from vipnet.policy import DEFAULT_PORT, DEFAULT_SUBNET
from vipnet.publish.secret import CREDENTIALS
from vipnet.system import netwatch, routes
from vipnet.system.survey import files, firewall, kernel, names, network, ports
from vipnet.system.survey.files import DirectoryFacts, FileFacts
from vipnet.system.survey.firewall import FirewallFacts
from vipnet.system.survey.names import NamesFacts

PARTNERS_MAX: Final = 8  # that are pinged and looked up
_PING_S: Final = 5.0
_STATUS_S: Final = 3.0
_UNDERLAY_S: Final = 1.0


async def gather(config_path: Path) -> Facts:
    """Everything about this host, whether there is a configuration and a daemon or not."""
    config, config_problem = _config(config_path)
    daemon, daemon_problem = _daemon(config)
    interface = "tun0" if config is None else config.tun.interface
    port = DEFAULT_PORT if config is None else config.transport.port
    net = network.network()
    underlay = await _underlay(config, interface)
    outside = tuple(dict.fromkeys(underlay.values()))
    found = _Slow()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(found.look, "firewall", lambda: firewall.firewall(interface, port, outside))
        nursery.start_soon(found.look, "names", lambda: names.names(_wanted(config, daemon)))
        if config is not None:
            nursery.start_soon(found.look, "dns", lambda: look_at_dns(config, daemon, _upstreams(config)))
        for name in _partners(daemon):
            nursery.start_soon(found.ping, config, name)
    return Facts(
        config=config,
        config_problem=config_problem,
        daemon=daemon,
        daemon_problem=daemon_problem,
        last_words=_last_words(config),
        is_root=os.geteuid() == 0,
        kernel=kernel.kernel(None if config is None else launch.running_pid(config.run_dir)),
        offloads=kernel.offloads(),
        network=net,
        underlay=underlay,
        overlap=_overlap(config, interface),
        firewall=found.firewall,
        names=found.names,
        dns=found.dns,
        listeners=ports.listeners(),
        files=_files(config),
        directories=_directories(config),
        pings=found.pings,
    )


class _Slow:
    """What takes a while, each under its name once it is there."""

    firewall: FirewallFacts
    names: NamesFacts
    dns = DnsFacts()

    def __init__(self) -> None:
        self.pings: dict[str, Ping] = {}

    async def look(self, what: str, ask: Callable[[], Awaitable[object]]) -> None:
        setattr(self, what, await ask())

    async def ping(self, config: Config | None, name: str) -> None:
        """By the daemon's own path to the partner; a daemon that does not answer is no answer."""
        assert config is not None  # noqa: S101 - there is a daemon
        run_dir = config.run_dir
        try:
            reply = await trio.to_thread.run_sync(lambda: ask_daemon(run_dir, "ping", _PING_S, name=name))
            self.pings[name] = Ping(reply["rtt_ms"], reply.get("problem"))
        except VipnetError as error:
            self.pings[name] = Ping(None, str(error))


def _config(path: Path) -> tuple[Config | None, str | None]:
    try:
        return load_config(path), None
    except ConfigError as error:
        return None, str(error)


def _daemon(config: Config | None) -> tuple[DaemonStatus | None, str | None]:
    """Its status, or why there is none though it should answer."""
    if config is None:
        return None, None
    try:
        return msgspec.convert(ask_daemon(config.run_dir, "status", _STATUS_S), DaemonStatus), None
    except NotRunningError as error:
        hangs = launch.running_pid(config.run_dir) is not None
        return None, str(error) if hangs else None
    except (VipnetError, msgspec.ValidationError) as error:
        return None, str(error)


def _last_words(config: Config | None) -> str | None:
    """The reason that the last run gave for its end, if its log is still there."""
    if config is None:
        return None
    try:
        text = (config.run_dir / launch.LOG_NAME).read_text(errors="replace")
    except OSError:
        return None
    lines = [line for line in text.splitlines() if line.startswith("vipnet: ")]
    return lines[-1].removeprefix("vipnet: ") if lines else None


async def _underlay(config: Config | None, interface: str) -> dict[str, str]:
    """The addresses that partners would be told, and their interfaces; none when the kernel does not say."""
    only = () if config is None else config.transport.interfaces
    sender, receiver = trio.open_memory_channel[netwatch.Underlay](1)
    found: dict[str, str] = {}
    async with trio.open_nursery() as nursery:
        try:
            await nursery.start(netwatch.watch, sender, frozenset({interface}), only)
            with trio.move_on_after(_UNDERLAY_S):
                found = {one.host: one.interface for one in (await receiver.receive()).addresses}
        except HostError:
            pass
        nursery.cancel_scope.cancel()
    return found


def _overlap(config: Config | None, interface: str) -> str | None:
    subnet = IPv4Network(DEFAULT_SUBNET) if config is None else config.tun.subnet
    try:
        return routes.overlapping_route(subnet, {interface})
    except HostError:
        return None


def _upstreams(config: Config) -> tuple[str, ...]:
    try:
        return Hook(config).upstreams()
    except HostError:
        return ()


def _partners(daemon: DaemonStatus | None) -> list[str]:
    """Those with a token, whoever speaks now first."""
    if daemon is None:
        return []
    known = [peer for peer in daemon.peers if peer.token]
    known.sort(key=lambda peer: (peer.heard_s is None, peer.heard_s or 0.0))
    return [peer.name for peer in known[:PARTNERS_MAX]]


def _wanted(config: Config | None, daemon: DaemonStatus | None) -> list[str]:
    return [] if config is None or daemon is None else [config.name, *_partners(daemon)]


def _files(config: Config | None) -> tuple[FileFacts, ...]:
    """The secrets, but for those that systemd hands to the daemon alone."""
    if config is None:
        return ()
    publish = config.publish
    named = [
        (config.key_file, "key_file"),
        (publish.key_secret_file, "[publish] key_secret_file"),
        (publish.secret_file, "[publish] secret_file"),
        *((peer.psk_file, f"[[peer]] {peer.name} psk_file") for peer in config.peers),
    ]
    return tuple(
        files.file(Path(path), label)
        for path, label in named
        if path is not None and not str(path).startswith(CREDENTIALS)
    )


def _directories(config: Config | None) -> tuple[DirectoryFacts, ...]:
    if config is None:
        return ()
    return (files.directory(config.state_dir, "state_dir"), files.directory(config.run_dir, "run_dir"))
