"""The table [publish]: who puts this host's address into DNS, and what that provider needs to know."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta

from vipnet.app.texts import DNS_PORT, AddressSource, DnsName, Host, Line, SecretPath, Url
from vipnet.app.toml import Section
from vipnet.publish.duckdns import ZONE as DUCKDNS_ZONE
from vipnet.types import Fqdn, Port

Provider = Literal["none", "rfc2136", "dyndns2", "duckdns", "cloudflare", "desec", "hetzner", "hook"]
ServiceName = Literal["no-ip", "dynu", "dy.fi", "dyn", "nsupdate.info"]

_BY_TOKEN: Final = ("duckdns", "cloudflare", "desec", "hetzner")
# Keys that only some providers know. Elsewhere they are a mistake: something else was meant.
_KNOWN_BY: Final = {
    "server": ("rfc2136",),
    "key_name": ("rfc2136",),
    "key_secret_file": ("rfc2136",),
    "service": ("dyndns2",),
    "user": ("dyndns2",),
    "secret_file": ("dyndns2", *_BY_TOKEN),
    "url": ("dyndns2", *_BY_TOKEN),
    "ca_file": ("dyndns2", *_BY_TOKEN),
    "command": ("hook",),
}


class Publish(Section, frozen=True):
    """How this host's addresses get into DNS.

    provider         who is told: none (nobody); rfc2136 (a name server, by signed updates); dyndns2 (no-ip
                     and many others); one of those with an interface of their own; hook (a program)
    address          what is published, in order of preference: of each family the first there is
    server           rfc2136: the primary; absent: found by the SOA record of `name`
    port             rfc2136: where it takes updates
    zone             that `name` is in; absent: found by its SOA record, or by the provider
    key_name         rfc2136: of the TSIG key; absent: the host's name
    key_algorithm    rfc2136: of the TSIG key
    key_secret_file  rfc2136: file with the TSIG key's secret in base64, mode 0600
    service          dyndns2: one whose address is known; else `url`
    user             dyndns2: the user name there
    secret_file      file with the password or token alone, mode 0600
    url              where the provider's interface is; absent: where it says it is
    ca_file          certificates that its server is known by; absent: the usual ones
    command          hook: a program and its arguments
    min_interval_s   seconds from one update to the next; absent: what the provider puts up with
    ttl              seconds, of the address records; providers have a least one of their own
    """

    provider: Provider = "none"
    address: tuple[AddressSource, ...] = (AddressSource("interface"),)
    server: Host | None = None
    port: Port = DNS_PORT
    zone: DnsName | None = None
    key_name: DnsName | None = None
    key_algorithm: Literal["hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"] = "hmac-sha256"
    key_secret_file: SecretPath | None = None
    service: ServiceName | None = None
    user: Line | None = None
    secret_file: SecretPath | None = None
    url: Url | None = None
    ca_file: Path | None = None
    command: tuple[Line, ...] = ()
    min_interval_s: Annotated[float, Meta(ge=0, le=86_400)] | None = None
    ttl: Annotated[int, Meta(ge=0, le=86_400)] = 5

    def __post_init__(self) -> None:
        if not self.address:
            raise ValueError('address = []: must say what is published, ["interface"] for example')
        if self.provider == "none":
            return  # what is there may wait for a provider
        for key, providers in _KNOWN_BY.items():
            if getattr(self, key) and self.provider not in providers:
                raise ValueError(
                    f'{key} means nothing to provider = "{self.provider}", only to {", ".join(providers)}'
                )
        for key, why in self._missing():
            raise ValueError(f'{key} is missing: provider = "{self.provider}" {why}')

    def _missing(self) -> list[tuple[str, str]]:
        """Keys that are not there, and why they have to be."""
        missing = []
        if self.provider == "rfc2136" and self.key_secret_file is None:
            missing.append(("key_secret_file", "signs its updates (TSIG)"))
        if self.provider == "dyndns2" and (self.service is None) == (self.url is None):
            missing.append(("service or url, one of them,", "has to know where to"))
        if self.provider == "dyndns2" and self.user is None:
            missing.append(("user", "logs in with user and password"))
        if self.provider in ("dyndns2", *_BY_TOKEN) and self.secret_file is None:
            missing.append(("secret_file", "needs a password or token, in a file"))
        if self.provider == "hook" and not self.command:
            missing.append(("command", "runs a program"))
        return missing

    def check_name(self, name: Fqdn) -> None:
        """Raise ValueError when this provider cannot have NAME."""
        label, _, zone = name.partition(".")
        if self.provider == "duckdns" and zone != DUCKDNS_ZONE:
            raise ValueError(
                f'name = "{name}": provider = "duckdns" has names like "{label}.{DUCKDNS_ZONE}" only'
            )
