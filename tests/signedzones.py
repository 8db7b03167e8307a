"""A BIND with signed zones of our own, and one that is not.

test             signed, NSEC; the anchor of the tests
  vipip.test     signed, delegated with a DS record
  hashed.test    the same with NSEC3
  plain.test     not signed
  old.test       delegated with a DS record of a kind that nobody uses any more
three            signed, NSEC3 with opt-out; an anchor, too
  plain.three    not signed
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.message
import dns.name
import dns.query
import dns.rrset
from dns.rdatatype import TXT, RdataType
from msgspec import Struct
from tests.bind import free_port, running
from tests.support import need_program

from vipnet.names import dnssec
from vipnet.names.records import CapabilityRecord
from vipnet.types import Locator, PublicKey

RECORD = CapabilityRecord(PublicKey(bytes(range(32))), 5847)
_HEAD = "$ORIGIN {zone}.\n$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 20\n@ NS ns\nns A 127.0.0.1\n"
_DELEGATION = "{label} NS ns.{label}\nns.{label} A 127.0.0.1\n"
_HOST = f"""
b A 192.0.2.2
_vip.b TXT "{RECORD}"
_vip.c TXT "v=spf1 -all"
_vip.alias CNAME _vip.b
_vip.away CNAME _vip.b.plain.test.
*.wild TXT "{RECORD}"
*.dyn A 192.0.2.3
gone A 192.0.2.4
_seq._vip.gone TXT "seq=7"
tree DNAME vipip.test.
_vip.lost CNAME _vip.nobody
sub NS ns.sub
ns.sub A 127.0.0.1
sub DS 1 13 2 {"00" * 32}
"""
_ZONES = {
    "vipip.test": _HOST,
    "hashed.test": _HOST,
    "plain.test": _HOST,
    "plain.three": _HOST,
    "test": "".join(_DELEGATION.format(label=label) for label in ("vipip", "hashed", "plain", "old"))
    + f"old DS 1 1 1 {'00' * 20}\n",
    "three": _DELEGATION.format(label="plain"),
    "old.test": _HOST,
}
_HASHED = ("-3", "AABB", "-H", "3")
_SIGNED = {
    "vipip.test": (),
    "hashed.test": _HASHED,
    "test": (),
    "three": ("-3", "-", "-H", "0", "-A"),
}  # children first
_CONFIG = """
options {{
    directory "{directory}"; pid-file none; session-keyfile none; managed-keys-directory "{directory}";
    listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
    recursion no; dnssec-validation no; notify no; minimal-responses yes;
}};
controls {{ }};
{zones}
"""


class SignedZones(Struct):
    """A running server; `anchors` are the keys of `test` and `three`, as in a file."""

    server: Locator
    anchors: str

    def ask(self, name: str, rdtype: str | RdataType) -> dns.message.Message:
        query = dns.message.make_query(name, rdtype, want_dnssec=True)
        answer, _ = dns.query.udp_with_fallback(query, self.server.host, port=self.server.port, timeout=5)
        return answer

    def evidence(self, answer: dns.message.Message, anchors: dnssec.Anchors) -> dnssec.Evidence:
        wanted = dnssec.questions(answer, anchors)
        return {(name, rdtype): self.ask(name.to_text(), rdtype) for name, rdtype in wanted}


def with_another_key(message: dns.message.Message) -> None:
    """Tamper with an answer: its TXT records say a key that nobody signed."""
    forged = f'"v=vip1 k={"A" * 43}= p=5847"'
    message.answer[:] = [
        dns.rrset.from_text(rrset.name, rrset.ttl, "IN", "TXT", forged) if rrset.rdtype == TXT else rrset
        for rrset in message.answer
    ]


@contextmanager
def running_signed_zones(directory: Path) -> Iterator[SignedZones]:
    """Skip or fail as tests.support.need_program does when there is no `named`."""
    need_program("named", "dnssec-keygen", "dnssec-signzone")
    for zone, records in _ZONES.items():
        (directory / zone).write_text(_HEAD.format(zone=zone) + records)
    keys = {zone: _sign(directory, zone, options) for zone, options in _SIGNED.items()}
    files = {zone: f"{zone}.signed" if zone in _SIGNED else zone for zone in _ZONES}
    zones = "".join(f'zone "{zone}" {{ type primary; file "{file}"; }};\n' for zone, file in files.items())
    server = Locator("127.0.0.1", free_port())
    (directory / "named.conf").write_text(_CONFIG.format(directory=directory, port=server.port, zones=zones))
    command = ["named", "-g", "-n", "1", "-c", str(directory / "named.conf")]
    with running(command, directory, "test", server):
        yield SignedZones(server, keys["test"] + keys["three"])


def _sign(directory: Path, zone: str, options: tuple[str, ...]) -> str:
    """Make a key, sign; return the key's record."""
    keygen = ["dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", "-f", "KSK", zone]
    name = _run(keygen, directory).strip()
    # -z: one key for everything; -g: DS records from the children's dsset files.
    signzone = ["dnssec-signzone", "-q", "-S", "-z", "-g", "-o", zone, *options, "-f", f"{zone}.signed", zone]
    _run(signzone, directory)
    lines = (directory / f"{name}.key").read_text().splitlines()
    return "".join(f"{line}\n" for line in lines if not line.startswith(";"))


def _run(command: list[str], directory: Path) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
