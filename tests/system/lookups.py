"""A host in DNS, as look-ups find it."""

from __future__ import annotations

from vipnet.core.outputs import LookupResult
from vipnet.names.records import CapabilityRecord
from vipnet.types import Fqdn, PublicKey

B = Fqdn("b.vipip.test")
RECORD = CapabilityRecord(PublicKey(bytes(range(32))), 5847)
RECORDS = {
    f"{B} A": ["192.0.2.2"],
    f"{B} AAAA": ["2001:db8::2"],
    f"_vip.{B} TXT": [f'"{RECORD}"'],
    "old.test A": ["192.0.2.9"],
}
FOUND = LookupResult(B, ("192.0.2.2", "2001:db8::2"), key=RECORD.key, port=RECORD.port)
