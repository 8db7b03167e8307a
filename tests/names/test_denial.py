"""What NSEC and NSEC3 records prove, record by record; that they are signed is test_dnssec.py's."""

from __future__ import annotations

import base64

import dns.dnssec
import dns.name
import dns.rrset
import pytest
from dns.rdatatype import TXT

from vipnet.names.denial import may_be_unsigned, proves_absence, proves_unsigned

ZONE = dns.name.from_text("example.")
B = dns.name.from_text("_vip.b.example.")
SALT, ITERATIONS = "aabb", 3
OPT_OUT = 1


def nsec(owner: str, following: str, types: str) -> dns.rrset.RRset:
    return dns.rrset.from_text(owner, 60, "IN", "NSEC", f"{following} {types}")


def hash_of(name: str) -> int:
    text = dns.dnssec.nsec3_hash(dns.name.from_text(name), SALT, ITERATIONS, "SHA1")
    return int.from_bytes(base64.b32hexdecode(text), "big")


def hashed(
    first: int, last: int, types: str, flags: int = 0, iterations: int = ITERATIONS
) -> dns.rrset.RRset:
    owner, following = (base64.b32hexencode(one.to_bytes(20, "big")).decode() for one in (first, last))
    return dns.rrset.from_text(
        f"{owner}.example.", 60, "IN", "NSEC3", f"1 {flags} {iterations} {SALT} {following} {types}"
    )


def of(name: str, types: str, flags: int = 0) -> dns.rrset.RRset:
    """NAME is there, with these types."""
    return hashed(hash_of(name), hash_of(name) + 1, types, flags)


def around(name: str, flags: int = 0) -> dns.rrset.RRset:
    """NAME is not there."""
    return hashed(hash_of(name) - 1, hash_of(name) + 1, "A", flags)


@pytest.mark.parametrize(
    "record",
    [
        nsec("b.example.", "c.example.", "A RRSIG NSEC"),
        nsec("b.example.", "_seq._vip.b.example.", "A RRSIG NSEC"),
        nsec("b.example.", "example.", "A RRSIG NSEC"),
        nsec("example.", "example.", "NS SOA RRSIG NSEC"),
        nsec("_vip.b.example.", "c.example.", "A RRSIG NSEC"),
        nsec("_vip.b.example.", r"\000._vip.b.example.", "RRSIG NSEC"),
        nsec("_vip.b.example.", "c.example.", "NS SOA RRSIG NSEC"),
    ],
)
def test_nsec_that_denies(record: dns.rrset.RRset) -> None:
    assert proves_absence(B, TXT, ZONE, [record])


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(nsec("c.example.", "d.example.", "A RRSIG NSEC"), id="of later names"),
        pytest.param(nsec("a.example.", "b.example.", "A RRSIG NSEC"), id="of earlier names"),
        pytest.param(nsec("c.example.", "example.", "A RRSIG NSEC"), id="of the last"),
        pytest.param(nsec("_vip.b.example.", "c.example.", "TXT RRSIG NSEC"), id="it is there"),
        pytest.param(nsec("_vip.b.example.", "c.example.", "CNAME RRSIG NSEC"), id="an alias"),
        pytest.param(nsec("_vip.b.example.", "c.example.", "NS RRSIG NSEC"), id="another zone's"),
        pytest.param(nsec("_vip.b.example.", "c.example.", "NS DS RRSIG NSEC"), id="a signed zone's"),
        pytest.param(nsec("b.example.", "c.example.", "NS RRSIG NSEC"), id="below a delegation"),
        pytest.param(nsec("b.example.", "c.example.", "NS DS RRSIG NSEC"), id="below a signed one"),
        pytest.param(nsec("b.example.", "c.example.", "DNAME RRSIG NSEC"), id="below a DNAME"),
        pytest.param(nsec("b.elsewhere.", "c.example.", "A RRSIG NSEC"), id="of elsewhere"),
    ],
)
def test_nsec_that_does_not(record: dns.rrset.RRset) -> None:
    assert not proves_absence(B, TXT, ZONE, [record])


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([of("_vip.b.example.", "A")], id="other types"),
        pytest.param([of("_vip.b.example.", "")], id="empty"),
        pytest.param([of("b.example.", "A"), around("_vip.b.example.")], id="not there"),
        pytest.param([around("b.example.")], id="nothing below the zone"),
        pytest.param([of("_vip.b.example.", "", OPT_OUT)], id="empty, with opt-out elsewhere"),
    ],
)
def test_nsec3_that_denies(records: list[dns.rrset.RRset]) -> None:
    assert proves_absence(B, TXT, ZONE, records)


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([of("_vip.b.example.", "TXT")], id="it is there"),
        pytest.param([of("_vip.b.example.", "CNAME")], id="an alias"),
        pytest.param([of("_vip.b.example.", "NS DS")], id="another zone's"),
        pytest.param([of("_vip.b.example.", "TXT"), around("b.example.")], id="a contradiction"),
        pytest.param([around("_vip.b.example.")], id="without the closest name that is there"),
        pytest.param([of("b.example.", "NS DS"), around("_vip.b.example.")], id="below a delegation"),
        pytest.param([of("b.example.", "DNAME"), around("_vip.b.example.")], id="below a DNAME"),
        pytest.param([of("b.example.", "A"), around("_vip.b.example.", OPT_OUT)], id="opt-out"),
        pytest.param([of("b.example.", "A"), around("_vip.c.example.")], id="of another name"),
        pytest.param(
            [hashed(hash_of("b.example.") - 1, hash_of("b.example.") + 1, "A", 0, 151)], id="too much work"
        ),
    ],
)
def test_nsec3_that_does_not(records: list[dns.rrset.RRset]) -> None:
    assert not proves_absence(B, TXT, ZONE, records)


def test_nsec3_with_other_parameters_means_nothing() -> None:
    """RFC 5155 section 8.2; or each would cost a hash of its own."""
    other = dns.rrset.from_text(f"{'0' * 32}.example.", 60, "IN", "NSEC3", f"1 0 7 {SALT} {'0' * 31}1 A")
    assert not proves_absence(B, TXT, ZONE, [other, of("b.example.", "A"), around("_vip.b.example.")])
    assert proves_absence(B, TXT, ZONE, [of("b.example.", "A"), around("_vip.b.example."), other])


def test_unsigned_zones() -> None:
    sub = dns.name.from_text("sub.example.")
    for record in (nsec("sub.example.", "z.example.", "NS RRSIG NSEC"), of("sub.example.", "NS")):
        assert proves_unsigned(sub, ZONE, [record])
    for types in ("NS DS", "NS SOA", "A"):
        assert not proves_unsigned(sub, ZONE, [nsec("sub.example.", "z.example.", f"{types} RRSIG NSEC")])
        assert not proves_unsigned(sub, ZONE, [of("sub.example.", types)])


@pytest.mark.parametrize(("flags", "maybe"), [(OPT_OUT, True), (0, False)])
def test_unsigned_delegations_that_were_left_out(flags: int, maybe: bool) -> None:
    records = [around("sub.example.", flags)]
    name = dns.name.from_text("_vip.b.sub.example.")
    assert may_be_unsigned(name, ZONE, records) is maybe
    assert proves_unsigned(dns.name.from_text("sub.example."), ZONE, records) is maybe
    assert proves_absence(name, TXT, ZONE, records) is not maybe
