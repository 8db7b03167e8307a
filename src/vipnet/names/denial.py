"""What NSEC and NSEC3 records prove: that a name has no such record, that a zone below is not signed.

All of it is about records whose signatures have been checked (RFC 4035 section 5.4, RFC 5155
section 8, RFC 6840 section 4).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

import dns.dnssec
import dns.name
import dns.rdtypes.ANY.NSEC
import dns.rdtypes.ANY.NSEC3
import dns.rrset
from dns.rdatatype import CNAME, DNAME, DS, NS, NSEC, NSEC3, SOA, RdataType

Name = dns.name.Name
Denial = dns.rdtypes.ANY.NSEC.NSEC | dns.rdtypes.ANY.NSEC3.NSEC3

_ITERATIONS_MAX: Final = 150  # of NSEC3; RFC 9276 section 3.2
_OPT_OUT: Final = 1  # NSEC3 flag


def proves_absence(name: Name, rdtype: RdataType, zone: Name, denials: Sequence[dns.rrset.RRset]) -> bool:
    """Whether DENIALS of ZONE say that NAME has no records of RDTYPE, but for what a wildcard makes."""
    for rrset in denials:
        if rrset.rdtype != NSEC or not rrset.name.is_subdomain(zone):
            continue
        if rrset.name == name:
            if not _has(rrset[0], rdtype, CNAME) and not _is_cut(rrset[0]):
                return True
        elif _lies_between(rrset, name, zone) and not _speaks_for_others(rrset, name):
            return True
    hashed = _hashed(denials)
    if any(_is_of(rrset, name) for rrset in hashed):
        return any(
            _is_of(rrset, name) and not _has(rrset[0], rdtype, CNAME) and not _is_cut(rrset[0])
            for rrset in hashed
        )
    return any(not rrset[0].flags & _OPT_OUT for rrset in _covering(name, zone, hashed))


def proves_unsigned(name: Name, zone: Name, denials: Sequence[dns.rrset.RRset]) -> bool:
    """Whether DENIALS of ZONE say that NAME is delegated to an unsigned zone (RFC 4035 section 5.2)."""
    if any(rrset.rdtype == NSEC and rrset.name == name and _delegates(rrset[0]) for rrset in denials):
        return True
    hashed = _hashed(denials)
    if any(_is_of(rrset, name) and _delegates(rrset[0]) for rrset in hashed):
        return True
    return may_be_unsigned(name, zone, denials)


def may_be_unsigned(name: Name, zone: Name, denials: Sequence[dns.rrset.RRset]) -> bool:
    """Whether unsigned delegations towards NAME may have been left out (opt-out, RFC 5155 section 8.9)."""
    return any(rrset[0].flags & _OPT_OUT for rrset in _covering(name, zone, _hashed(denials)))


def below(zone: Name, name: Name) -> list[Name]:
    """The names from below ZONE down to NAME itself."""
    depth = len(name) - len(zone)
    return [name.split(len(zone) + more)[1] for more in range(1, depth + 1)]


# --- NSEC: names in their order


def _lies_between(rrset: dns.rrset.RRset, name: Name, zone: Name) -> bool:
    """Whether RRSET says that there is no NAME: its owner and the next name are neighbours."""
    following = rrset[0].next
    return bool(rrset.name < name and (name < following or following == zone))


def _speaks_for_others(rrset: dns.rrset.RRset, name: Name) -> bool:
    """Whether what lies below the owner is another zone's, or another name's (RFC 6840 section 4.1)."""
    if not name.is_subdomain(rrset.name):
        return False
    return _is_cut(rrset[0]) or _has(rrset[0], DNAME)


# --- NSEC3: hashes in their order


def _hashed(denials: Sequence[dns.rrset.RRset]) -> list[dns.rrset.RRset]:
    """The NSEC3 records. With other parameters than the first they mean nothing (RFC 5155 section 8.2).

    So work does not grow with what a hostile zone sends (CVE-2023-50868).
    """
    found = [rrset for rrset in denials if rrset.rdtype == NSEC3 and rrset[0].iterations <= _ITERATIONS_MAX]
    return [rrset for rrset in found if _parameters(rrset) == _parameters(found[0])]


def _parameters(rrset: dns.rrset.RRset) -> tuple[bytes, int, int]:
    return rrset[0].salt, rrset[0].iterations, rrset[0].algorithm


def _covering(name: Name, zone: Name, hashed: Sequence[dns.rrset.RRset]) -> Iterator[dns.rrset.RRset]:
    """What says that there is no name one label below the closest one to NAME that there is."""
    for closer in below(zone, name):
        parent = closer.parent()
        exists = parent == zone or any(
            _is_of(rrset, parent) and not _is_cut(rrset[0]) and not _has(rrset[0], DNAME) for rrset in hashed
        )
        if exists:
            yield from (rrset for rrset in hashed if _covers(rrset, closer))


def _is_of(rrset: dns.rrset.RRset, name: Name) -> bool:
    return _hash(name, *_parameters(rrset)) == _owner_hash(rrset)


def _covers(rrset: dns.rrset.RRset, name: Name) -> bool:
    """Whether the hash of NAME lies between the two that RRSET says are neighbours."""
    first, last, hashed = _owner_hash(rrset), rrset[0].next, _hash(name, *_parameters(rrset))
    if first < last:
        return bool(first < hashed < last)
    return bool(hashed > first or hashed < last)  # around the end


@lru_cache(maxsize=64)
def _hash(name: Name, salt: bytes, iterations: int, algorithm: int) -> bytes:
    try:
        text = dns.dnssec.nsec3_hash(name, salt, iterations, algorithm)
    except ValueError:  # another algorithm than there is
        return b""
    return base64.b32hexdecode(text)


def _owner_hash(rrset: dns.rrset.RRset) -> bytes:
    try:
        return base64.b32hexdecode(rrset.name.labels[0].upper())
    except ValueError:
        return bytes(1)


# --- the types that a name has


def _is_cut(denial: Denial) -> bool:
    """Whether this is what a parent says of a name that it has delegated."""
    return _has(denial, NS) and not _has(denial, SOA)


def _delegates(denial: Denial) -> bool:
    """Whether it is delegated without a DS record, to a zone that is not signed."""
    return _is_cut(denial) and not _has(denial, DS)


def _has(denial: Denial, *rdtypes: RdataType) -> bool:
    """Whether the name has records of one of RDTYPES."""
    bitmaps = dict(denial.windows)
    return any(
        rdtype % 256 // 8 < len(bitmap) and bitmap[rdtype % 256 // 8] & (0x80 >> rdtype % 8)
        for rdtype in rdtypes
        if (bitmap := bitmaps.get(rdtype // 256)) is not None
    )
