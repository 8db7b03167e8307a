"""A real BIND for tests: its own directory, port, zone and keys, on loopback."""

from __future__ import annotations

import base64
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.tsig
from msgspec import Struct
from tests.support import need_program

from vipnet.types import Locator

SECRET = base64.b64encode(b"thirty-two bytes of test secret!").decode()
START_TIMEOUT_S = 20.0

_CONFIG = """
options {{
    directory "{directory}";
    pid-file "{directory}/named.pid";
    session-keyfile none;
    managed-keys-directory "{directory}";
    listen-on port {port} {{ {ipv4}; }};
    listen-on-v6 port {port} {{ {ipv6}; }};
    recursion no;
    allow-query {{ any; }};
    dnssec-validation no;
    notify no;
    max-udp-size 1232;
    minimal-responses no;
    rrset-order {{ order none; }};
}};
controls {{ }};
logging {{
    channel queries {{ file "{directory}/query.log"; print-time yes; }};
    category queries {{ queries; }};
}};
"""
_STATEMENTS = """
{keys}
zone "{zone}" {{
    type primary;
    file "{directory}/zone";
    update-policy {{
{grants}
    }};
}};
"""

_ZONE = """$ORIGIN {zone}.
$TTL 5
@ SOA ns hostmaster 1 3600 600 86400 2
@ NS ns
ns {ns} {host}
{records}
"""


class Bind(Struct):
    """A running server, authoritative for `zone`."""

    directory: Path
    zone: str
    server: Locator

    def ask(self, name: str, rdtype: str, *, tcp: bool = False) -> dns.message.Message:
        query = dns.message.make_query(name, rdtype, use_edns=0)
        ask = dns.query.tcp if tcp else dns.query.udp
        return ask(query, self.server.host, port=self.server.port, timeout=5)

    def texts(self, name: str, rdtype: str) -> set[str]:
        """The RRset as a zone file writes it, empty when there is none."""
        answer = self.ask(name, rdtype).answer
        return {rdata.to_text() for rrset in answer for rdata in rrset}

    def send(self, wire: bytes) -> bytes:
        """Return the answer to WIRE over UDP."""
        return exchange(wire, self.server)

    def queries(self) -> list[str]:
        """Lines of the query log."""
        log = self.directory / "query.log"
        return log.read_text().splitlines() if log.exists() else []


def exchange(wire: bytes, server: Locator, *, tcp: bool = False) -> bytes:
    """Return the bytes that SERVER answers WIRE with."""
    where = (server.host, server.port)
    if tcp:
        with socket.create_connection(where, timeout=10) as stream, stream.makefile("rb") as answer:
            stream.sendall(struct.pack("!H", len(wire)) + wire)
            return answer.read(struct.unpack("!H", answer.read(2))[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.sendto(wire, where)
        return sock.recv(65535)


def tsig_key(name: str, secret: str = SECRET, algorithm: str = "hmac-sha256") -> dns.tsig.Key:
    return dns.tsig.Key(dns.name.from_text(name), secret, dns.name.from_text(algorithm))


@contextmanager
def running_bind(
    directory: Path,
    *,
    zone: str = "vipip.test",
    names: Sequence[str] = ("a", "b"),
    algorithm: str = "hmac-sha256",
    records: str = "",
    host: str = "127.0.0.1",
    port: int | None = None,
    statements: str | None = None,
) -> Iterator[Bind]:
    """Start `named`; every name in NAMES has a key of that name in ZONE, with SECRET, for what is below it.

    STATEMENTS of a configuration can say something else; DIRECTORY/zone is the zone's file.
    Skip or fail as tests.support.need_program does when there is no `named`.
    """
    need_program("named")
    port = port or free_port(host)
    keys = [f"{name}.{zone}" for name in names]
    directory.mkdir(exist_ok=True)
    is_ipv6 = ":" in host
    ns = "AAAA" if is_ipv6 else "A"
    (directory / "zone").write_text(_ZONE.format(zone=zone, ns=ns, host=host, records=records))
    if statements is None:
        statements = _STATEMENTS.format(
            directory=directory,
            zone=zone,
            keys="\n".join(f'key "{key}" {{ algorithm {algorithm}; secret "{SECRET}"; }};' for key in keys),
            grants="\n".join(f"        grant {key} subdomain {key} A AAAA TXT;" for key in keys),
        )
    ipv4, ipv6 = ("none", host) if is_ipv6 else (host, "none")
    options = _CONFIG.format(directory=directory, port=port, ipv4=ipv4, ipv6=ipv6)
    (directory / "named.conf").write_text(options + statements)
    bind = Bind(directory, zone, Locator(host, port))
    with running(
        ["named", "-g", "-n", "1", "-c", str(directory / "named.conf")], directory, zone, bind.server
    ):
        yield bind


@contextmanager
def running(command: Sequence[str], directory: Path, zone: str, server: Locator) -> Iterator[None]:
    """Run a name server until the end; it answers for ZONE at SERVER, and logs into DIRECTORY."""
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        query = dns.message.make_query(zone, "SOA")
        while not _answers(query, server):
            if time.monotonic() > deadline or process.poll() is not None:
                raise AssertionError(f"{command[0]} did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(query: dns.message.Message, server: Locator) -> bool:
    try:
        return bool(dns.query.udp(query, server.host, port=server.port, timeout=0.1).answer)
    except (dns.exception.Timeout, OSError):
        return False


def free_port(host: str = "127.0.0.1") -> int:
    """A port that is free for UDP and TCP just now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        with socket.socket(family) as tcp, socket.socket(family, socket.SOCK_DGRAM) as udp:
            tcp.bind((host, 0))
            port: int = tcp.getsockname()[1]
            try:
                udp.bind((host, port))
            except OSError:
                continue
            return port
