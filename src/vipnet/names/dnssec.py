"""Whether an answer is what its zone says: DNSSEC (RFC 4033 to 4035, 5155), without I/O.

    questions  what has to be asked to find out
    is_secure  True: signed, by a chain from an anchor; False: provably not signed
               BogusError: neither, so that somebody has changed it, or left something out

dnspython checks signatures and digests; what is here is which of them have to be there.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import dns.dnssec
import dns.exception
import dns.message
import dns.name
import dns.rdataclass
import dns.rdataset
import dns.rdtypes.ANY.DNSKEY
import dns.rdtypes.ANY.DS
import dns.rdtypes.ANY.NSEC
import dns.rdtypes.ANY.NSEC3
import dns.rdtypes.ANY.RRSIG
import dns.rrset
import dns.zonefile
from dns.exception import UnsupportedAlgorithm, ValidationFailure
from dns.rdatatype import CNAME, DNSKEY, DS, NS, NSEC, NSEC3, RRSIG, SOA, TXT, RdataType

from vipnet.errors import BogusError

Name = dns.name.Name
Anchors = Mapping[Name, dns.rdataset.Rdataset]  # the DS records of zones that are trusted
Signature = dns.rdtypes.ANY.RRSIG.RRSIG
Evidence = Mapping[tuple[Name, RdataType], dns.message.Message]

# KSK-2017 and KSK-2024: https://data.iana.org/root-anchors/root-anchors.xml
ROOT_ANCHORS: Final = """
. IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D
. IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16
"""
# What RFC 8624 section 3.1 and 3.3 tell validators to support; a zone with nothing of it counts as
# unsigned (RFC 4035 section 5.2).
_ALGORITHMS: Final = frozenset({8, 10, 13, 14, 15, 16})
_DIGESTS: Final = frozenset({2, 4})
# Of one RRset; work must not grow with what a hostile zone sends (CVE-2023-50387).
_KEYS_MAX: Final = 16
_SIGNATURES_MAX: Final = 8
_LABELS_MAX: Final = 12  # between anchor and name: each is asked for twice
_ITERATIONS_MAX: Final = 150  # of NSEC3; RFC 9276 section 3.2
_DENIALS_MAX: Final = 8
_OPT_OUT: Final = 1  # NSEC3 flag


def parse_anchors(text: str) -> Anchors:
    """DS and DNSKEY records as in a zone file. Raise ValueError."""
    try:
        rrsets = dns.zonefile.read_rrsets(
            text, rdclass=None, default_ttl=0, origin=dns.name.root, relativize=False
        )
        anchors: dict[Name, dns.rdataset.Rdataset] = {}
        for rrset in rrsets:
            if rrset.rdtype not in (DS, DNSKEY):
                raise ValueError(f"{rrset.name}: a {RdataType(rrset.rdtype).name} record is no trust anchor")
            found = anchors.setdefault(rrset.name, dns.rdataset.Rdataset(dns.rdataclass.IN, DS))
            for rdata in rrset:
                found.add(
                    dns.dnssec.make_ds(rrset.name, rdata, "SHA256") if rrset.rdtype == DNSKEY else rdata
                )
    except dns.exception.DNSException as error:
        raise ValueError(f"{error or type(error).__name__}") from None
    if not anchors:
        raise ValueError("no DS or DNSKEY record")
    return anchors


def anchor_of(name: Name, anchors: Anchors) -> Name | None:
    """The closest trusted zone that NAME is in."""
    return max((zone for zone in anchors if name.is_subdomain(zone)), key=len, default=None)


def questions(message: dns.message.Message, anchors: Anchors) -> list[tuple[Name, RdataType]]:
    """What is_secure needs the answers to, in no order: all can be asked at once."""
    wanted: dict[tuple[Name, RdataType], None] = {}
    for rrset in _answers(message):
        zone = anchor_of(rrset.name, anchors)
        if zone is None:
            continue
        wanted[zone, DNSKEY] = None
        signers = {signature.signer for signature in _signatures(message.answer, rrset)}
        for name in _below(zone, rrset.name):
            wanted[name, DS] = None
            # Without a signature, zones are needed down to where it is proved that there is none.
            if name != rrset.name and (not signers or any(one.is_subdomain(name) for one in signers)):
                wanted[name, DNSKEY] = None
    return list(wanted)


def is_secure(message: dns.message.Message, anchors: Anchors, evidence: Evidence, now: float) -> bool:
    """Whether all of the answer in MESSAGE is signed; see above.

    evidence  the answers to `questions`; those that did not come are left out
    now       seconds since 1970
    """
    # Every one: a part that is bogus is an error, also behind one that is not signed.
    verdicts = [_Chain(rrset, message, anchors, evidence, now).secure() for rrset in _answers(message)]
    return all(verdicts)


def is_signed(message: dns.message.Message) -> bool:
    """Whether there are signatures in MESSAGE at all: a resolver may know nothing of them."""
    return any(rrset.rdtype == RRSIG for rrset in message.answer)


class _Chain:
    """From the anchor down to the zone of one RRset."""

    def __init__(
        self,
        rrset: dns.rrset.RRset,
        message: dns.message.Message,
        anchors: Anchors,
        evidence: Evidence,
        now: float,
    ) -> None:
        self._rrset, self._message, self._anchors = rrset, message, anchors
        self._evidence, self._now = evidence, now

    def secure(self) -> bool:
        owner = self._rrset.name
        zone = anchor_of(owner, self._anchors)
        if zone is None:
            return False
        keys = self._keys_of(zone, self._anchors[zone])
        for name in _below(zone, owner):
            answer = self._evidence.get((name, DS))
            if answer is None:
                continue
            delegation = _find(answer.answer, name, DS)
            if delegation is not None and self._verifies(delegation, answer.answer, zone, keys):
                if not any(ds.algorithm in _ALGORITHMS and ds.digest_type in _DIGESTS for ds in delegation):
                    return False
                zone, keys = name, self._keys_of(name, delegation)
            elif self._is_unsigned(name, answer, zone, keys):
                return False
        if self._verifies(self._rrset, self._message.answer, zone, keys):
            return True
        raise BogusError(f"{owner}: {self._why()} (DNSSEC)")

    def _keys_of(self, zone: Name, trusted: dns.rdataset.Rdataset) -> dns.rdataset.Rdataset:
        """ZONE's keys, signed by one that TRUSTED vouches for. Raise BogusError."""
        answer = self._evidence.get((zone, DNSKEY))
        keys = None if answer is None else _find(answer.answer, zone, DNSKEY)
        if answer is None or keys is None or len(keys) > _KEYS_MAX:
            raise BogusError(f"{zone}: no usable keys (DNSSEC)")
        vouched = dns.rdataset.Rdataset(dns.rdataclass.IN, DNSKEY)
        for key in keys:
            if any(_is_digest_of(ds, zone, key) for ds in trusted):
                vouched.add(key)
        if not self._verifies(keys, answer.answer, zone, vouched):
            raise BogusError(f"{zone}: its keys are not those that are vouched for (DNSSEC)")
        return keys

    def _verifies(
        self,
        rrset: dns.rrset.RRset,
        section: Sequence[dns.rrset.RRset],
        zone: Name,
        keys: dns.rdataset.Rdataset,
    ) -> bool:
        """Whether ZONE has signed RRSET as it is, and not as what a wildcard made."""
        labels = len(rrset.name) - 1
        usable = dns.rdataset.Rdataset(dns.rdataclass.IN, RRSIG, rrset.rdtype)
        for signature in _signatures(section, rrset):
            if signature.signer == zone and signature.labels == labels:
                usable.add(signature)
        if not 0 < len(usable) <= _SIGNATURES_MAX:
            return False
        try:
            dns.dnssec.validate(rrset, (rrset.name, usable), {zone: keys}, now=self._now)
        except (ValidationFailure, UnsupportedAlgorithm, ValueError):
            return False
        return True

    def _is_unsigned(
        self, name: Name, answer: dns.message.Message, zone: Name, keys: dns.rdataset.Rdataset
    ) -> bool:
        """Whether ANSWER proves that NAME is delegated to an unsigned zone (RFC 4035 section 5.2)."""
        denials = [rrset for rrset in answer.authority if rrset.rdtype in (NSEC, NSEC3)][:_DENIALS_MAX]
        valid = [rrset for rrset in denials if self._verifies(rrset, answer.authority, zone, keys)]
        if any(rrset.rdtype == NSEC and rrset.name == name and _delegates(rrset[0]) for rrset in valid):
            return True
        hashed = [
            rrset for rrset in valid if rrset.rdtype == NSEC3 and rrset[0].iterations <= _ITERATIONS_MAX
        ]
        if any(_hash(name, rrset) == _owner_hash(rrset) and _delegates(rrset[0]) for rrset in hashed):
            return True
        # Opt-out (RFC 5155 section 8.9): unsigned delegations may be left out between two hashes.
        for closer in (closer for closer in _below(zone, name)):
            parent = closer.parent()
            exists = parent == zone or any(_hash(parent, rrset) == _owner_hash(rrset) for rrset in hashed)
            if exists and any(rrset[0].flags & _OPT_OUT and _covers(rrset, closer) for rrset in hashed):
                return True
        return False

    def _why(self) -> str:
        signatures = _signatures(self._message.answer, self._rrset)
        if not signatures:
            return "its signature is missing"
        if all(signature.labels < len(self._rrset.name) - 1 for signature in signatures):
            return "made from a wildcard, which no key of a host may be"
        if all(not signature.inception <= self._now <= signature.expiration for signature in signatures):
            return "its signature is out of date; is this host's clock right?"
        return "its signature is wrong"


def _answers(message: dns.message.Message) -> Iterator[dns.rrset.RRset]:
    return (rrset for rrset in message.answer if rrset.rdtype in (CNAME, TXT))


def _below(zone: Name, name: Name) -> list[Name]:
    """The names from below ZONE down to NAME itself. Raise BogusError for too many."""
    depth = len(name) - len(zone)
    if depth > _LABELS_MAX:
        raise BogusError(f"{name}: {depth} labels below {zone} are too many to validate (DNSSEC)")
    return [name.split(len(zone) + more)[1] for more in range(1, depth + 1)]


def _find(section: Sequence[dns.rrset.RRset], name: Name, rdtype: RdataType) -> dns.rrset.RRset | None:
    return next((rrset for rrset in section if rrset.rdtype == rdtype and rrset.name == name), None)


def _signatures(section: Sequence[dns.rrset.RRset], rrset: dns.rrset.RRset) -> list[Signature]:
    return [
        rdata
        for found in section
        if found.rdtype == RRSIG and found.name == rrset.name and found.covers == rrset.rdtype
        for rdata in found
    ]


def _is_digest_of(ds: dns.rdtypes.ANY.DS.DS, zone: Name, key: dns.rdtypes.ANY.DNSKEY.DNSKEY) -> bool:
    if ds.digest_type not in _DIGESTS or ds.algorithm != key.algorithm:
        return False
    return bool(dns.dnssec.make_ds(zone, key, ds.digest_type, validating=True) == ds)


# --- denial of existence


def _delegates(denial: dns.rdtypes.ANY.NSEC.NSEC | dns.rdtypes.ANY.NSEC3.NSEC3) -> bool:
    """Whether the name has NS records, but neither keys nor is it the zone itself."""
    types = {
        (window << 8) + 8 * place + bit
        for window, bitmap in denial.windows
        for place, byte in enumerate(bitmap)
        for bit in range(8)
        if byte & (0x80 >> bit)
    }
    return NS in types and DS not in types and SOA not in types


def _hash(name: Name, rrset: dns.rrset.RRset) -> bytes:
    rdata = rrset[0]
    try:
        text = dns.dnssec.nsec3_hash(name, rdata.salt, rdata.iterations, rdata.algorithm)
    except ValueError:  # another algorithm than there is
        return b""
    return base64.b32hexdecode(text)


def _owner_hash(rrset: dns.rrset.RRset) -> bytes:
    try:
        return base64.b32hexdecode(rrset.name.labels[0].upper())
    except ValueError:
        return bytes(1)


def _covers(rrset: dns.rrset.RRset, name: Name) -> bool:
    """Whether the hash of NAME lies between the two that RRSET says are neighbours."""
    first, last, hashed = _owner_hash(rrset), rrset[0].next, _hash(name, rrset)
    if first < last:
        return bool(first < hashed < last)
    return bool(hashed > first or hashed < last)  # around the end
