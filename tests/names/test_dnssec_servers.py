"""Zones that Knot and PowerDNS sign while a host updates them, each with its own way to deny names."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import trio
from tests.bind import SECRET, Bind
from tests.otherservers import KEY, ZONE, running_knot, running_powerdns
from tests.publish.test_rfc2136 import RECORD, Wire, publisher

from vipnet.core.outputs import LookupResult
from vipnet.names import dnssec
from vipnet.names.desired import Desired
from vipnet.system.lookup import Lookup
from vipnet.types import Fqdn

pytestmark = pytest.mark.stack

HOST, NOBODY = Fqdn(KEY), Fqdn(f"nobody.{ZONE}")

_KNOT = f"""
key:
  - id: {KEY}
    algorithm: hmac-sha256
    secret: {SECRET}
acl:
  - id: own
    key: {KEY}
    action: [update, query]
policy:
  - id: signed
    single-type-signing: on
    algorithm: ecdsap256sha256
    nsec3: {{nsec3}}
zone:
  - domain: {ZONE}
    acl: own
    dnssec-signing: on
    dnssec-policy: signed
"""
_POWERDNS = f"""
gsqlite3-dnssec=yes
dnsupdate=yes
allow-dnsupdate-from=127.0.0.0/8
pdnsutil import-tsig-key {KEY} hmac-sha256 {SECRET}
pdnsutil set-meta {ZONE} TSIG-ALLOW-DNSUPDATE {KEY}
pdnsutil secure-zone {ZONE}
{{nsec3}}
pdnsutil rectify-zone {ZONE}
"""

Start = Callable[[Path], AbstractContextManager[Bind]]
SERVERS: dict[str, Start] = {
    "knot, NSEC": lambda path: running_knot(path, _KNOT.format(nsec3="off")),
    "knot, NSEC3": lambda path: running_knot(path, _KNOT.format(nsec3="on")),
    "powerdns, NSEC": lambda path: running_powerdns(path, _POWERDNS.format(nsec3="")),
    "powerdns, NSEC3": lambda path: running_powerdns(
        path, _POWERDNS.format(nsec3=f"pdnsutil set-nsec3 {ZONE} '1 0 1 ab'")
    ),
    "powerdns, NSEC3 made for each question": lambda path: running_powerdns(
        path, _POWERDNS.format(nsec3=f"pdnsutil set-nsec3 {ZONE} '1 0 0 -' narrow")
    ),
}


@pytest.mark.parametrize("name", SERVERS)
def test_what_is_published_is_validated_and_so_is_that_it_was_withdrawn(name: str, tmp_path: Path) -> None:
    with SERVERS[name](tmp_path / "server") as server:
        keys = "\n".join(f"{ZONE}. IN DNSKEY {key}" for key in server.texts(ZONE, "DNSKEY"))
        lookup = Lookup(lambda: (server.server,), anchors=dnssec.parse_anchors(keys))

        async def look_up(host: Fqdn) -> LookupResult:
            return await lookup.lookup(host, authoritative=False, verify=True)

        async def main() -> None:
            rfc2136 = publisher(server, Wire())
            await rfc2136.publish(Desired(HOST, ("192.0.2.1",), RECORD))
            assert await look_up(HOST) == LookupResult(
                HOST, ("192.0.2.1",), RECORD.key, RECORD.port, secure=True
            )
            assert await look_up(NOBODY) == LookupResult(NOBODY, secure=True)
            await rfc2136.withdraw(Desired(HOST, ()))
            assert await look_up(HOST) == LookupResult(HOST, ("192.0.2.1",), secure=True)

        trio.run(main)
