"""deSEC: all record sets of a host in one atomic request.

https://desec.readthedocs.io/en/latest/dns/rrsets.html (bulk PATCH, an empty list deletes),
.../dns/domains.html ("Identifying the Responsible Domain", minimum_ttl) and .../rate-limits.html
(15 changes a minute, 100 an hour, 300 a day; 429 has Retry-After).
"""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

from vipnet.errors import PublishError
from vipnet.names.desired import Desired
from vipnet.names.records import CAPABILITY_TTL_S, capability_name
from vipnet.publish.secret import Secret
from vipnet.publish.web import Answer, Web, field, refusal
from vipnet.publish.zonename import relative
from vipnet.types import Fqdn

URL: Final = "https://desec.io/api/v1"
MINIMUM_TTL_S: Final = 3600  # where a domain does not say
_MEND: Final = "check [publish] secret_file and what the token may change"


class _Domain(Struct, frozen=True):
    name: str
    minimum_ttl_s: int


class Desec:
    """Publishes below a domain of the token's account."""

    provider = "desec"
    interval_s = 4.0
    refresh_s = math.inf
    writes_record = True
    echoes = False

    def __init__(self, web: Web, token: Secret, *, zone: str | None = None, url: str = URL) -> None:
        self._web, self._token, self._zone, self._url = web, token, zone, url.rstrip("/")
        self._domain: _Domain | None = None

    async def publish(self, desired: Desired) -> tuple[str, ...]:
        """See Publisher."""
        wanted = [
            (desired.name, "A", desired.ipv4, desired.ttl_s),
            (desired.name, "AAAA", desired.ipv6, desired.ttl_s),
        ]
        if desired.record:
            text = (f'"{desired.record}"',)
            wanted.append((Fqdn(capability_name(desired.name)), "TXT", text, CAPABILITY_TTL_S))
        await self._set(desired.name, wanted)
        return desired.addresses

    async def withdraw(self, desired: Desired) -> None:
        """See Publisher."""
        capability = Fqdn(capability_name(desired.name))
        await self._set(desired.name, [(capability, "TXT", (), CAPABILITY_TTL_S)])

    async def _set(self, name: Fqdn, wanted: list[tuple[Fqdn, str, tuple[str, ...], int]]) -> None:
        """Make the record sets of owner, type, records, TTL these; no records: it goes."""
        domain = self._domain = self._domain or await self._find(name)
        rrsets = [
            {
                "subname": relative(owner, domain.name),
                "type": rdtype,
                "ttl": max(ttl, domain.minimum_ttl_s),
                "records": records,
            }
            for owner, rdtype, records, ttl in wanted
        ]
        answer = await self._request("PATCH", f"domains/{domain.name}/rrsets/", body=rrsets)
        if not answer.ok:
            self._domain = None  # it may have another minimum by now, or be gone
            raise self._refused(answer)

    async def _find(self, name: Fqdn) -> _Domain:
        """The domain that NAME belongs to."""
        answer = await self._request("GET", "domains/", query={"owns_qname": self._zone or name})
        if not answer.ok:
            raise self._refused(answer)
        found = field(answer.json(), 0)
        zone, minimum = field(found, "name"), field(found, "minimum_ttl")
        if not isinstance(zone, str):
            raise PublishError(
                f"deSEC has no domain for {name} in this account: add it there", permanent=True
            )
        return _Domain(zone, minimum if isinstance(minimum, int) else MINIMUM_TTL_S)

    async def _request(
        self, method: str, path: str, *, query: dict[str, str] | None = None, body: object = None
    ) -> Answer:
        headers = {"Authorization": f"Token {self._token.reveal()}"}
        return await self._web(method, f"{self._url}/{path}", query=query, headers=headers, body=body)

    def _refused(self, answer: Answer) -> PublishError:
        detail = field(answer.json(), "detail")
        return refusal("deSEC", answer, detail if isinstance(detail, str) else "", mend=_MEND)
