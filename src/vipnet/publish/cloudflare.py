"""Cloudflare: read a host's records, then change what differs in one batch.

https://developers.cloudflare.com/api/resources/dns/subresources/records/methods/batch/ (deletes,
patches, puts, posts, in one transaction), .../methods/list/, .../zones/methods/list/, and
https://developers.cloudflare.com/fundamentals/api/reference/limits/ (1,200 requests in five
minutes; 429 has Retry-After).
"""

from __future__ import annotations

import math
from typing import Any, Final

from msgspec import Struct

from vipnet.errors import PublishError
from vipnet.names.desired import Desired
from vipnet.names.records import CAPABILITY_TTL_S, capability_name
from vipnet.publish.secret import Secret
from vipnet.publish.web import Answer, Web, field, parsed, refusal
from vipnet.publish.zonename import possible_zones
from vipnet.types import Fqdn

URL: Final = "https://api.cloudflare.com/client/v4"
TTL_MIN_S: Final = 60
_MEND: Final = "check [publish] secret_file: the token needs Zone.DNS Edit and Zone.Zone Read"


class Wanted(Struct, frozen=True):
    """A record set as it shall be; no contents: it shall not be there."""

    owner: str
    rdtype: str
    contents: tuple[str, ...]
    ttl_s: int


class Record(Struct, frozen=True):
    """A record as Cloudflare has it."""

    id: str
    type: str
    name: str
    content: str
    proxied: bool = False

    @property
    def text(self) -> str:
        """TXT records were given back without their quotes once."""
        return self.content.strip('"')


class Cloudflare:
    """Publishes in a zone that an API token may edit.

    Records are never proxied: peers need this host's address, not Cloudflare's.
    """

    provider = "cloudflare"
    interval_s = 2.0  # three requests an update, a third of the limit
    refresh_s = math.inf
    writes_record = True
    echoes = False

    def __init__(self, web: Web, token: Secret, *, zone: str | None = None, url: str = URL) -> None:
        self._web, self._token, self._zone, self._url = web, token, zone, url.rstrip("/")
        self._zone_id: str | None = None

    async def publish(self, desired: Desired) -> tuple[str, ...]:
        """See Publisher."""
        wanted = [
            Wanted(desired.name, "A", desired.ipv4, desired.ttl_s),
            Wanted(desired.name, "AAAA", desired.ipv6, desired.ttl_s),
        ]
        if desired.record is not None:
            texts = (f'"{desired.record}"',)
            wanted.append(Wanted(capability_name(desired.name), "TXT", texts, CAPABILITY_TTL_S))
        await self._set(desired.name, wanted)
        return desired.addresses

    async def withdraw(self, desired: Desired) -> None:
        """See Publisher."""
        await self._set(desired.name, [Wanted(capability_name(desired.name), "TXT", (), 0)])

    async def _set(self, name: Fqdn, wanted: list[Wanted]) -> None:
        zone = self._zone_id = self._zone_id or await self._find_zone(name)
        records: list[Record] = []
        for owner in dict.fromkeys(one.owner for one in wanted):
            query = {"name.exact": owner, "per_page": "100"}
            found = await self._result("GET", f"zones/{zone}/dns_records", query=query)
            records += parsed(list[Record], found, "Cloudflare")
        if any((record.type, record.name) == ("CNAME", name) for record in records):
            raise PublishError(
                f"{name} is an alias (CNAME) at Cloudflare: delete that record, it hides addresses",
                permanent=True,
            )
        if changes := _changes(records, wanted):
            await self._result("POST", f"zones/{zone}/dns_records/batch", body=changes)

    async def _find_zone(self, name: Fqdn) -> str:
        for zone in possible_zones(name, self._zone):
            found = field(await self._result("GET", "zones", query={"name": zone}), 0, "id")
            if isinstance(found, str) and found.isalnum():
                return found
        raise PublishError(f"Cloudflare shows this token no zone for {name}: {_MEND}", permanent=True)

    async def _result(
        self, method: str, path: str, *, query: dict[str, str] | None = None, body: object = None
    ) -> Any:  # noqa: ANN401 - JSON holds anything
        """`result` of the answer. Raise PublishError when it is no success."""
        headers = {"Authorization": f"Bearer {self._token.reveal()}"}
        answer = await self._web(method, f"{self._url}/{path}", query=query, headers=headers, body=body)
        reply = answer.json()
        if answer.ok and field(reply, "success") is True:
            return field(reply, "result")
        if answer.status == 404:
            self._zone_id = None
        raise _refused(answer)


def _changes(records: list[Record], wanted: list[Wanted]) -> dict[str, list[dict[str, object]]]:
    """What has to be done to RECORDS; empty when nothing has."""
    deletes: list[dict[str, object]] = []
    patches: list[dict[str, object]] = []
    posts: list[dict[str, object]] = []
    for one in wanted:
        there = [record for record in records if (record.name, record.type) == (one.owner, one.rdtype)]
        missing = list(one.contents)
        spare = []
        for record in there:
            match = next((text for text in missing if text.strip('"') == record.text), None)
            if match is not None and not record.proxied:
                missing.remove(match)
            else:
                spare.append(record)
        for text in missing:
            values = {"content": text, "ttl": max(one.ttl_s, TTL_MIN_S)}
            proxied = {} if one.rdtype == "TXT" else {"proxied": False}
            if spare:
                patches.append({"id": spare.pop().id, **values, **proxied})
            else:
                posts.append({"name": one.owner, "type": one.rdtype, **values, **proxied})
        deletes += [{"id": record.id} for record in spare]
    changes = {"deletes": deletes, "patches": patches, "posts": posts}
    return {kind: items for kind, items in changes.items() if items}


def _refused(answer: Answer) -> PublishError:
    code, words = (field(answer.json(), "errors", 0, key) for key in ("code", "message"))
    return refusal("Cloudflare", answer, f"{code}: {words}" if words else "", mend=_MEND)
