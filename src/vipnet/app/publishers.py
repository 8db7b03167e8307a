"""The publisher that the configuration asks for. A provider's module is imported only when it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import structs

from vipnet.app.config import Config
from vipnet.names.addresses import OBSERVED
from vipnet.names.desired import Primary
from vipnet.publish import Publisher
from vipnet.publish.secret import Secret, load_secret
from vipnet.system.lookup import Lookup, has_route
from vipnet.types import parse_name

if TYPE_CHECKING:
    from vipnet.publish.web import Web

ToldTime = Callable[[float], None]
Make = Callable[[Lookup], Publisher]


def prepare(config: Config, told_time: ToldTime = lambda _unix_s: None) -> Make | None:
    """Read the provider's secret, and return what makes its publisher; None: nothing is published.

    told_time  told what a provider who has proved who he is takes for the time, seconds since 1970

    Raise ConfigError: what cannot be read is said before anything is started.
    """
    provider = config.publish.provider
    if provider == "none":
        return None
    if provider == "rfc2136":
        return _rfc2136(config)
    if provider == "hook":
        return _hook(config)
    return _over_http(config, told_time)


def _rfc2136(config: Config) -> Make:
    from vipnet.publish.rfc2136 import Rfc2136
    from vipnet.publish.tsigkey import load_tsig_key

    publish = config.publish
    assert publish.key_secret_file is not None  # noqa: S101 - the configuration has been checked
    key = load_tsig_key(publish.key_secret_file, publish.key_name or config.name, publish.key_algorithm)

    def make(lookup: Lookup) -> Publisher:
        async def primary() -> Primary:
            return await lookup.primary(
                config.name, server=publish.server, port=publish.port, zone=publish.zone
            )

        return Rfc2136(lookup.ask, primary, key, has_route=has_route)

    return make


def _hook(config: Config) -> Make:
    from vipnet.publish.hook import Hook

    return lambda _lookup: Hook(config.publish.command)


def _over_http(config: Config, told_time: ToldTime) -> Make:
    publish = config.publish
    assert publish.secret_file is not None  # noqa: S101 - the configuration has been checked
    secret = load_secret(publish.secret_file, "[publish] secret_file")

    from vipnet.publish.httpclient import HttpClient, trusting

    tls = trusting(publish.ca_file)

    def make(lookup: Lookup) -> Publisher:
        async def resolve(host: str) -> tuple[str, ...]:
            return await lookup.addresses(parse_name(host))

        web = HttpClient(resolve, secret, tls, told_time=told_time)
        return _http_publisher(config, web, secret)

    return make


def _http_publisher(config: Config, web: Web, secret: Secret) -> Publisher:
    publish = config.publish
    url = {} if publish.url is None else {"url": str(publish.url)}
    echoes = OBSERVED in publish.address
    if publish.provider == "dyndns2":
        from vipnet.publish.dyndns2 import SERVICES, Dyndns2, Service

        service = Service(str(publish.url)) if publish.service is None else SERVICES[publish.service]
        if echoes:
            service = structs.replace(service, addresses="none")
        return Dyndns2(web, service, publish.user or "", secret)
    if publish.provider == "duckdns":
        from vipnet.publish.duckdns import DuckDns

        return DuckDns(web, secret, echoes=echoes, **url)
    if publish.provider == "cloudflare":
        from vipnet.publish.cloudflare import Cloudflare

        return Cloudflare(web, secret, zone=publish.zone, **url)
    if publish.provider == "desec":
        from vipnet.publish.desec import Desec

        return Desec(web, secret, zone=publish.zone, **url)
    from vipnet.publish.hetzner import Hetzner

    return Hetzner(web, secret, zone=publish.zone, **url)
