"""DuckDNS: one GET for the addresses, one for the TXT record.

https://www.duckdns.org/spec.jsp: /update?domains=&token=[&ip=][&ipv6=][&txt=][&clear=true]
[&verbose=true] answers "OK" or "KO"; verbose, "OK" is followed by IPv4, IPv6 and UPDATED or
NOCHANGE, a line each. A domain has one TXT record, which is also that of every name below
it, so `_vip.NAME` has it as well; one that is there for a certificate is lost.
"""

from __future__ import annotations

import math
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

from vipnet.errors import PublishError
from vipnet.names.desired import Desired
from vipnet.names.records import CapabilityRecord
from vipnet.publish.secret import Secret
from vipnet.publish.web import Answer, Web, refusal
from vipnet.types import Fqdn

URL: Final = "https://www.duckdns.org"
ZONE: Final = "duckdns.org"


class DuckDns:
    """Publishes NAME.duckdns.org with the account's token."""

    provider = "duckdns"
    interval_s = 10.0  # ours: the provider names no figure
    refresh_s = math.inf
    writes_record = True

    def __init__(self, web: Web, token: Secret, *, url: str = URL, echoes: bool = False) -> None:
        """ECHOES: `ip` is left blank, and DuckDNS takes the IPv4 address that it sees."""
        self._web, self._token, self._url, self.echoes = web, token, url.rstrip("/"), echoes
        self._families: frozenset[str] | None = None  # which it has; None: unknown
        self._record: CapabilityRecord | None = None

    async def publish(self, desired: Desired) -> tuple[str, ...]:
        """See Publisher."""
        wanted = {"ip": desired.ipv4, "ipv6": desired.ipv6}
        parameters = {key: addresses[0] for key, addresses in wanted.items() if addresses}
        if self.echoes:
            parameters["ip"] = ""
        # An update leaves the other family as it is; what goes can only be cleared together.
        if self._families is not None and not self._families <= parameters.keys():
            await self._update(desired.name, {"clear": "true"})
        self._families = None
        answer = await self._update(desired.name, parameters)
        if stale := _stale(answer, parameters):
            await self._update(desired.name, {"clear": "true"})
            answer = await self._update(desired.name, parameters)
            if _stale(answer, parameters):
                raise PublishError(f"DuckDNS keeps {stale}, which this host does not have")
        self._families = frozenset(parameters)
        if desired.record is not None and desired.record != self._record:
            await self._update(desired.name, {"txt": str(desired.record)})
            self._record = desired.record
        return _addresses(answer) if self.echoes else desired.addresses

    async def withdraw(self, desired: Desired) -> None:
        """See Publisher."""
        self._record = None
        await self._update(desired.name, {"txt": "", "clear": "true"})

    async def _update(self, name: Fqdn, parameters: dict[str, str]) -> Answer:
        domain = name.removesuffix(f".{ZONE}")
        account = {"domains": domain, "token": self._token.reveal(), "verbose": "true"}
        answer = await self._web("GET", f"{self._url}/update", query=account | parameters)
        verdict = answer.text.strip()[:2]
        if answer.ok and verdict == "OK":
            return answer
        if answer.ok and verdict == "KO":
            raise PublishError(
                f'DuckDNS answers "KO": it does not know {domain} or the token; '
                "check `name` and [publish] secret_file",
                permanent=True,
            )
        raise refusal("DuckDNS", answer)


def _addresses(answer: Answer) -> tuple[str, ...]:
    """What a verbose answer says it has now, in lines 2 and 3."""
    found = []
    for line in answer.text.splitlines()[1:3]:
        with suppress(ValueError):
            found.append(str(ip_address(line.strip())))
    return tuple(found)


def _stale(answer: Answer, parameters: dict[str, str]) -> str:
    """An IPv6 address that DuckDNS has and the host has not; a verbose answer says it in line 3."""
    lines = answer.text.splitlines()
    return lines[2].strip() if "ipv6" not in parameters and len(lines) > 3 and ":" in lines[2] else ""
