"""Hetzner: the record sets of DNS zones in the Cloud API.

https://docs.hetzner.cloud/reference/cloud#zone-rrsets and #zone-rrset-actions: a record set is
created, its records are set, it is deleted; each gives an action that may still run. Its TTL is
changed by an action of its own. 3,600 requests an hour a project, 429 beyond.
"""

from __future__ import annotations

import math
from typing import Any, Final

import trio
from msgspec import Struct

from vipnet.errors import PublishError
from vipnet.names.desired import Desired
from vipnet.names.records import CAPABILITY_TTL_S, capability_name
from vipnet.publish.secret import Secret
from vipnet.publish.web import Answer, Web, field, parsed, refusal
from vipnet.publish.zonename import possible_zones, relative
from vipnet.types import Fqdn

URL: Final = "https://api.hetzner.cloud/v1"
TTL_MIN_S: Final = 60
ACTION_S: Final = 15.0  # an action that runs for longer is asked after with the next update
_POLL_S: Final = 0.5
_MEND: Final = "check [publish] secret_file: it needs an API token of the zone's project, read and write"


class _Record(Struct, frozen=True):
    value: str


class _Rrset(Struct, frozen=True):
    records: list[_Record]
    ttl: int | None = None  # the zone's


class Hetzner:
    """Publishes in a zone of the API token's project."""

    provider = "hetzner"
    interval_s = 10.0  # up to nine requests an update
    refresh_s = math.inf
    writes_record = True
    echoes = False

    def __init__(self, web: Web, token: Secret, *, zone: str | None = None, url: str = URL) -> None:
        self._web, self._token, self._zone, self._url = web, token, zone, url.rstrip("/")
        self._found: str | None = None

    async def publish(self, desired: Desired) -> tuple[str, ...]:
        """See Publisher."""
        zone = await self._find_zone(desired.name)
        await self._set(zone, desired.name, "A", desired.ipv4, desired.ttl_s)
        await self._set(zone, desired.name, "AAAA", desired.ipv6, desired.ttl_s)
        if desired.record is not None:
            texts = (f'"{desired.record}"',)
            await self._set(zone, capability_name(desired.name), "TXT", texts, CAPABILITY_TTL_S)
        return desired.addresses

    async def withdraw(self, desired: Desired) -> None:
        """See Publisher."""
        zone = await self._find_zone(desired.name)
        await self._set(zone, capability_name(desired.name), "TXT", (), 0)

    async def _find_zone(self, name: Fqdn) -> str:
        """The zone of this project that NAME is in."""
        if self._found is not None:
            return self._found
        for zone in possible_zones(name, self._zone):
            answer = await self._request("GET", f"zones/{zone}")
            if answer.ok:
                self._found = zone
                return zone
            if answer.status != 404:
                raise _refused(answer)
        raise PublishError(
            f"Hetzner has no zone for {name} in this token's project: add it there", permanent=True
        )

    async def _set(self, zone: str, owner: str, rdtype: str, values: tuple[str, ...], ttl_s: int) -> None:
        """Make the record set OWNER, RDTYPE these VALUES; none: delete it."""
        ttl_s = max(ttl_s, TTL_MIN_S)
        rrsets = f"zones/{zone}/rrsets"
        label = relative(owner, zone) or "@"
        rrset = f"{rrsets}/{label}/{rdtype}"
        answer = await self._request("GET", rrset)
        if answer.status == 404:
            if values:
                body = {"name": label, "type": rdtype, "ttl": ttl_s, "records": _records(values)}
                await self._act("POST", rrsets, body)
            return
        if not answer.ok:
            raise _refused(answer)
        there = parsed(_Rrset, field(answer.json(), "rrset"), "Hetzner")
        if not values:
            await self._act("DELETE", rrset)
            return
        if {record.value for record in there.records} != set(values):
            await self._act("POST", f"{rrset}/actions/set_records", {"records": _records(values)})
        if there.ttl != ttl_s:
            await self._act("POST", f"{rrset}/actions/change_ttl", {"ttl": ttl_s})

    async def _act(self, method: str, path: str, body: object = None) -> None:
        """Send what gives an action, and wait until it has succeeded."""
        answer = await self._request(method, path, body)
        deadline = trio.current_time() + ACTION_S
        while answer.ok:
            action = field(answer.json(), "action")
            status, number = field(action, "status"), field(action, "id")
            if status == "success":
                return
            if status == "error":
                raise PublishError(f"Hetzner could not do it: {field(action, 'error', 'message')}")
            if not isinstance(number, int) or trio.current_time() > deadline:
                raise PublishError("Hetzner has taken the change and does not come to an end with it")
            await trio.sleep(_POLL_S)
            answer = await self._request("GET", f"zones/actions/{number}")
        if answer.status == 404:
            self._found = None
        raise _refused(answer)

    async def _request(self, method: str, path: str, body: object = None) -> Answer:
        headers = {"Authorization": f"Bearer {self._token.reveal()}"}
        return await self._web(method, f"{self._url}/{path}", headers=headers, body=body)


def _records(values: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"value": value} for value in values]


def _refused(answer: Answer) -> PublishError:
    code, words = (field(answer.json(), "error", key) for key in ("code", "message"))
    text = f"{code}: {words}" if words else ""
    if code == "protected":
        return PublishError(f"Hetzner answers {text}: remove the protection there", permanent=True)
    return refusal("Hetzner", answer, text, mend=_MEND)
