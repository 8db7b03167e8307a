"""What DNS says of this host, everyone asked at once, and what the clocks of servers say of ours."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module

import dns.tsig
import trio

from vipnet.app.config import Config
from vipnet.app.doctor import dnsprobe
from vipnet.app.doctor.facts import ClockSource, DaemonStatus, DnsFacts, ServerAnswer, TsigAnswer
from vipnet.app.keys import load_key
from vipnet.app.texts import is_address
from vipnet.crypto.noise import public_key
from vipnet.errors import ConfigError, LookupFailedError
from vipnet.publish.tsigkey import load_tsig_key
from vipnet.system.lookup import Lookup, has_route
from vipnet.system.survey.names import ETC, servers_in
from vipnet.types import Locator, PublicKey

_FETCH_S = 3.0
_ROOT = "."


async def look_at_dns(config: Config, daemon: DaemonStatus | None, upstreams: tuple[str, ...]) -> DnsFacts:
    """Ask UPSTREAMS, the network's resolvers, the zone's own servers, and ourselves."""
    look = _Look(config, upstreams)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(look.ask_upstream)
        nursery.start_soon(look.ask_authorities)
        nursery.start_soon(look.ask_time)
        if config.publish.provider == "rfc2136":
            nursery.start_soon(look.ask_signed)
        if daemon is not None:
            nursery.start_soon(look.ask_ourselves)
    return DnsFacts(
        tuple(str(server) for server in look.upstreams),
        look.upstream,
        look.software,
        tuple(look.servers),
        look.zone_problem,
        look.first_server,
        look.listener,
        look.tsig,
        tuple(look.clocks),
    )


class _Look:
    def __init__(self, config: Config, upstreams: tuple[str, ...]) -> None:
        self._config = config
        self.upstreams = config.dns.upstreams or tuple(Locator(host, 53) for host in upstreams)
        self._lookup = Lookup(lambda: self.upstreams, own=config.dns.listen)
        self._key = _public_key(config)
        self.upstream: ServerAnswer | None = None
        self.software: str | None = None
        self.servers: list[ServerAnswer] = []
        self.zone_problem: str | None = None
        self.first_server: ServerAnswer | None = None
        self.listener: ServerAnswer | None = None
        self.tsig: TsigAnswer | None = None
        self.clocks: list[ClockSource] = []

    async def ask_upstream(self) -> None:
        """The first that says anything of our name."""
        for server in self.upstreams[:3]:
            answer = await self._ask(server, recursion=True)
            self.upstream = self.upstream or answer
            if answer.problem is None:
                self.upstream = answer
                self.software = await dnsprobe.software(self._lookup, server)
                return

    async def ask_authorities(self) -> None:
        """Those of the zone; where they cannot be found, the one that updates go to."""
        publish = self._config.publish
        servers: tuple[Locator, ...] = ()
        try:
            servers = await self._lookup.servers(self._config.name)
        except LookupFailedError as error:
            self.zone_problem = str(error)
            if publish.server is not None and is_address(publish.server):
                servers = (Locator(publish.server, publish.port),)

        async def ask(server: Locator) -> None:
            if has_route(server):
                self.servers.append(await self._ask(server, recursion=False))
            else:
                self.servers.append(ServerAnswer(str(server), problem=f"there is no route to {server}"))

        async with trio.open_nursery() as nursery:
            for server in servers:
                nursery.start_soon(ask, server)
        self.servers.sort(key=lambda answer: answer.server)

    async def ask_ourselves(self) -> None:
        """Where vipnet listens, and whom the system asks first: they should be one."""
        listen = self._config.dns.listen
        self.listener = await self._ask(listen, recursion=True)
        first = next(iter(_first_servers()), None)
        if first == listen.host:
            self.first_server = self.listener
        elif first is not None:
            self.first_server = await self._ask(Locator(first, 53), recursion=True)

    async def ask_signed(self) -> None:
        key = _tsig_key(self._config)
        if key is None:
            return
        self.tsig = await dnsprobe.ask_signed(self._lookup, self._config, key)
        if self.tsig.offset_s is not None:
            self.clocks.append(
                ClockSource(f"the clock of {self.tsig.server}", self.tsig.offset_s, exact=True)
            )

    async def ask_time(self) -> None:
        """By the provider where it speaks HTTP, by DNSSEC signatures everywhere."""
        url = _provider_url(self._config)
        found = [
            await dnsprobe.signature_clock(self._lookup, self.upstreams, _ROOT),
            await dnsprobe.http_clock(url, _date_of) if url else None,
        ]
        self.clocks += [clock for clock in found if clock is not None]

    async def _ask(self, server: Locator, *, recursion: bool) -> ServerAnswer:
        return await dnsprobe.ask_server(
            self._lookup, server, self._config.name, self._key, recursion=recursion
        )


def _public_key(config: Config) -> PublicKey | None:
    try:
        return public_key(load_key(config.key_file))
    except ConfigError:
        return None


def _tsig_key(config: Config) -> dns.tsig.Key | None:
    """None where it cannot be read: another check says so."""
    publish = config.publish
    if publish.key_secret_file is None:
        return None
    try:
        return load_tsig_key(publish.key_secret_file, publish.key_name or config.name, publish.key_algorithm)
    except ConfigError:
        return None


def _first_servers() -> list[str]:
    """Of resolv.conf, as programs see it now."""
    with suppress(OSError):
        return servers_in((ETC / "resolv.conf").read_text(errors="replace"))
    return []


def _provider_url(config: Config) -> str | None:
    """Where updates go by HTTP."""
    publish = config.publish
    if publish.url is not None:
        return publish.url
    if publish.provider == "dyndns2" and publish.service is not None:
        from vipnet.publish.dyndns2 import SERVICES

        return SERVICES[publish.service].url
    if publish.provider in ("duckdns", "cloudflare", "desec", "hetzner"):
        url: str = import_module(f"vipnet.publish.{publish.provider}").URL
        return url
    return None


async def _date_of(url: str) -> str | None:
    """The Date header of the server behind URL; nothing of ours is sent there."""
    import httpx

    base = httpx.URL(url).copy_with(path="/", query=None)
    try:
        # A wrong clock makes certificates look invalid, and that is what we want to find out.
        async with httpx.AsyncClient(verify=False, timeout=_FETCH_S, trust_env=False) as client:  # noqa: S501
            response = await client.head(base)
    except (httpx.HTTPError, OSError):
        return None
    date: str | None = response.headers.get("date")
    return date
