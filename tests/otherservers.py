"""Knot and PowerDNS for tests, as tests/bind.py has BIND: each its own directory, port, zone and key."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bind import SECRET, Bind, free_port, running
from tests.support import need_program

from vipnet.types import Locator

ZONE = "vipip.test"
KEY = f"a.{ZONE}"
_RECORDS = f"""$ORIGIN {ZONE}.
$TTL 5
@ SOA ns.{ZONE}. hostmaster.{ZONE}. 1 3600 600 86400 2
@ NS ns.{ZONE}.
ns A 127.0.0.1
"""
_KNOT = """
server:
    listen: 127.0.0.1@{port}
    rundir: "{directory}"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "{directory}"
"""
_KNOT_STATEMENTS = """
key:
  - id: {key}
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: own
    key: {key}
    action: [update, query]
    update-owner: name
    update-owner-match: sub-or-equal
    update-owner-name: [{key}.]
zone:
  - domain: {zone}
    acl: own
"""
_KNOT_ZONE = """\
    storage: "{directory}"
    file: zone
    zonefile-load: whole
"""
_POWERDNS = """
launch=gsqlite3
gsqlite3-database={directory}/pdns.db
local-address=127.0.0.1
local-port={port}
socket-dir={directory}
config-dir={directory}
daemon=no
guardian=no
disable-syslog=yes
receiver-threads=1
distributor-threads=1
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
zone-cache-refresh-interval=0
"""
_POWERDNS_STATEMENTS = f"""
dnsupdate=yes
allow-dnsupdate-from=127.0.0.0/8
pdnsutil import-tsig-key {KEY} hmac-sha256 {SECRET}
pdnsutil set-meta {ZONE} TSIG-ALLOW-DNSUPDATE {KEY}
"""
_POWERDNS_SCHEMA = Path("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")


@contextmanager
def running_knot(directory: Path, statements: str | None = None, port: int | None = None) -> Iterator[Bind]:
    """Knot, authoritative for ZONE; the key named KEY may change what is at that name and below.

    STATEMENTS, whose last is that of the zone, can say something else.
    """
    need_program("knotd")
    directory.mkdir()
    server = Locator("127.0.0.1", port or free_port())
    (directory / "zone").write_text(_RECORDS)
    config = directory / "knot.conf"
    values = {"directory": directory, "port": server.port, "key": KEY, "secret": SECRET, "zone": ZONE}
    statements = statements or _KNOT_STATEMENTS.format(**values)
    config.write_text(_KNOT.format(**values) + statements + _KNOT_ZONE.format(**values))
    with running(["knotd", "--config", str(config)], directory, ZONE, server):
        yield Bind(directory, ZONE, server)


@contextmanager
def running_powerdns(
    directory: Path, statements: str | None = None, port: int | None = None
) -> Iterator[Bind]:
    """PowerDNS with SQLite, authoritative for ZONE; the key named KEY may change all of it.

    STATEMENTS, lines of pdns.conf and calls of pdnsutil, can say something else.
    """
    need_program("pdns_server", "pdnsutil", "sqlite3")
    directory.mkdir()
    server = Locator("127.0.0.1", port or free_port())
    lines = (statements or _POWERDNS_STATEMENTS).splitlines()
    settings = "\n".join(line for line in lines if not line.startswith("pdnsutil "))
    (directory / "zone").write_text(_RECORDS)
    config = _POWERDNS.format(directory=directory, port=server.port)
    (directory / "pdns.conf").write_text(f"{config}\n{settings}\n")
    schema = f".read {_POWERDNS_SCHEMA}"
    _done(["sqlite3", str(directory / "pdns.db"), schema])
    util = ["pdnsutil", f"--config-dir={directory}"]
    _done([*util, "load-zone", ZONE, str(directory / "zone")])
    for line in lines:
        if line.startswith("pdnsutil "):
            _done([*util, *shlex.split(line)[1:]])
    with running(["pdns_server", f"--config-dir={directory}"], directory, ZONE, server):
        yield Bind(directory, ZONE, server)


def _done(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
