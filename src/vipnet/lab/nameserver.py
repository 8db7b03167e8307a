"""The name server for vipip.net in r's namespace: start it, wait for it, stop it."""

from __future__ import annotations

import base64
import os
import sys
import time
from pathlib import Path
from typing import Final

import dns.exception
import dns.message
import dns.query
import dns.rcode
import msgspec

from vipnet.errors import HostError
from vipnet.lab import latedns, named, processes
from vipnet.lab.layout import DNS_ADDRESS, LANS, ROUTER, ZONE, Layout, router_address
from vipnet.lab.namespaces import enter_command, inside
from vipnet.lab.zone import Record
from vipnet.lab.zoneserver import Faults, Settings

READY_S: Final = 10.0
_POLL_S: Final = 0.02
_RECORD: Final = "pid.json"
_FORWARDER_RECORD: Final = "late-pid.json"
_SECRET_SIZE: Final = 32  # bytes; as long as the hash (RFC 2104 section 3)


def log_file(layout: Layout) -> Path:
    return layout.dns_directory / ("zone.log" if layout.spec.dns == "embedded" else "named.log")


def start(layout: Layout) -> None:
    """Start the server that the lab was asked for, and return when it answers. Raise HostError."""
    directory = layout.dns_directory
    keys = {host.key_name: _new_secret(layout.tsig_file(host.label)) for host in layout.hosts if host.vipnet}
    addresses = _addresses(layout)
    if layout.spec.dns == "bind":
        command = named.prepare(directory, log_file(layout), zone_records(layout), keys, addresses)
    else:
        settings = Settings(
            ZONE, addresses, zone_records(layout), keys, str(log_file(layout)), str(_faults_file(layout))
        )
        file = directory / "settings.json"
        file.write_bytes(msgspec.json.encode(settings))
        command = [sys.executable, "-P", "-m", "vipnet.lab.zoneserver", str(file)]
    output = directory / "output.log"
    inside_router = enter_command(layout.netns(ROUTER), layout.etc(ROUTER), command)
    server = processes.start(inside_router, output, directory / _RECORD)
    deadline = time.monotonic() + READY_S
    while not _answers(layout):
        if server.poll() is not None:
            raise HostError(f"the lab's name server ended: {processes.last_line(output)}; see {output}")
        if time.monotonic() > deadline:
            raise HostError(f"the lab's name server does not answer within {READY_S:g} s: see {output}")
        time.sleep(_POLL_S)


def stop(layout_directory: Path) -> None:
    """Stop the server of a lab, and what is before it, if it runs; the lab may be half built."""
    for record in (_FORWARDER_RECORD, _RECORD):
        process = processes.recorded(layout_directory / "dns" / record)
        if process is not None:
            processes.stop(process)


def order_faults(layout: Layout, faults: Faults) -> None:
    """From now on the server is slow, or deaf; before BIND a forwarder is. Raise HostError."""
    file = _faults_file(layout)
    fresh = file.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(faults))
    fresh.replace(file)
    if layout.spec.dns == "bind":
        _start_forwarder(layout)


def _start_forwarder(layout: Layout) -> None:
    """Once it is there it stays, so that a delay of 0 is measured with it as well."""
    directory = layout.dns_directory
    if processes.recorded(directory / _FORWARDER_RECORD) is not None:
        return
    settings = latedns.Settings(DNS_ADDRESS, _addresses(layout), str(_faults_file(layout)))
    file, output = directory / "late-settings.json", directory / "late-output.log"
    file.write_bytes(msgspec.json.encode(settings))
    command = [sys.executable, "-P", "-m", "vipnet.lab.latedns", str(file)]
    inside_router = enter_command(layout.netns(ROUTER), layout.etc(ROUTER), command)
    forwarder = processes.start(inside_router, output, directory / _FORWARDER_RECORD)
    deadline = time.monotonic() + READY_S
    while processes.last_line(output) != latedns.READY:
        if forwarder.poll() is not None or time.monotonic() > deadline:
            reason = f"the forwarder before BIND does not start: {processes.last_line(output)}"
            raise HostError(f"{reason}; see {output}")
        time.sleep(_POLL_S)
    latedns.redirect(layout.netns(ROUTER))


def zone_records(layout: Layout) -> tuple[Record, ...]:
    """What stands in the zone before any host has said where it is; c never says."""
    server = f"{ROUTER}.{ZONE}."
    # The minimum is how long "no such name" is believed (RFC 2308 section 5): hosts come and go here.
    records = [
        Record(f"{ZONE}.", "SOA", f"{server} hostmaster.{ZONE}. 1 3600 600 86400 1"),
        Record(f"{ZONE}.", "NS", server),
    ]
    for family in layout.families:
        kind = "A" if family == 4 else "AAAA"
        records += [Record(server, kind, router_address(lan, family)) for lan in LANS]
        records += [
            Record(f"{host.name}.", kind, host.address(host.lan, family))
            for host in layout.hosts
            if not host.vipnet
        ]
    return tuple(records)


def _new_secret(file: Path) -> str:
    secret = base64.b64encode(os.urandom(_SECRET_SIZE)).decode()
    write_secret(file, secret)
    return secret


def write_secret(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as output:
        output.write(text + "\n")


def _faults_file(layout: Layout) -> Path:
    return layout.dns_directory / "faults.json"


def _addresses(layout: Layout) -> tuple[str, ...]:
    return tuple(router_address(lan, family) for family in layout.families for lan in LANS)


def _answers(layout: Layout) -> bool:
    query = dns.message.make_query(ZONE, "SOA")
    try:
        with inside(layout.netns(ROUTER)):
            response = dns.query.udp(query, DNS_ADDRESS, timeout=0.2)
    except (OSError, dns.exception.DNSException):
        return False
    return response.rcode() == dns.rcode.NOERROR and bool(response.answer)
