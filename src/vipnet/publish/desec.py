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

    def __init__(self, web: Web, token: Secret, *, zone: str | None = None, url: str = URL) -> None:
        self._web, self._token, self._zone, self._url = web, token, zone, url.rstrip("/")
        self._domain: _Domain | None = None

    async def publish(self, desired: Desired) -> tuple[str, ...]:
        """See Publisher."""
        record = [f'"{desired.record}"'] if desired.record else None
        await self._set(desired.name, list(desired.ipv4), list(desired.ipv6), record, desired.ttl_s)
        return desired.addresses

    async def withdraw(self, desired: Desired) -> None:
        """See Publisher."""
        await self._set(desired.name, [], [], [], desired.ttl_s)

    async def _set(
        self, name: Fqdn, ipv4: list[str], ipv6: list[str], record: list[str] | None, ttl_s: int
    ) -> None:
        """Make the record sets these, RECORD as it is when None."""
        domain = self._domain = self._domain or await self._find(name)
        wanted = [(name, "A", ipv4, ttl_s), (name, "AAAA", ipv6, ttl_s)]
        if record is not None:
            wanted.append((Fqdn(capability_name(name)), "TXT", record, CAPABILITY_TTL_S))
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
