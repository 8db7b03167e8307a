"""Whether an answer is what its zone says: DNSSEC (RFC 4033 to 4035, 5155), without I/O.

    questions  what has to be asked to find out
    is_secure  True: signed, by a chain from an anchor, the records or that there are none;
               False: provably not signed; BogusError: neither, so that somebody has changed it,
               or left something out
    window     when the signatures say that it is

dnspython checks signatures and digests; what is here is which of them have to be there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import dns.dnssec
import dns.exception
import dns.message
import dns.name
import dns.rdataclass
import dns.rdataset
import dns.rdtypes.ANY.DNSKEY
import dns.rdtypes.ANY.DS
import dns.rdtypes.ANY.RRSIG
import dns.rrset
import dns.zonefile
from dns.exception import UnsupportedAlgorithm, ValidationFailure
from dns.rdatatype import DNSKEY, DS, NSEC, NSEC3, RRSIG, TXT, RdataType
from msgspec import Struct

from vipnet.errors import BogusError
from vipnet.names.chain import find, text_chain
from vipnet.names.denial import below, may_be_unsigned, proves_absence, proves_unsigned

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
_DENIALS_MAX: Final = 8


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
    for claim in _claims(message):
        zone = anchor_of(claim.owner, anchors)
        if zone is None:
            continue
        wanted[zone, DNSKEY] = None
        signers = claim.signers(message)
        for name in _below(zone, claim.owner):
            signed = any(one.is_subdomain(name) for one in signers)
            if claim.rrset is None and signers and not signed:
                break  # the zone that denies it speaks for all below
            wanted[name, DS] = None
            # Without a signature, zones are needed down to where it is proved that there is none.
            if signed or (not signers and name != claim.owner):
                wanted[name, DNSKEY] = None
    return list(wanted)


def is_secure(message: dns.message.Message, anchors: Anchors, evidence: Evidence, now: float) -> bool:
    """Whether what MESSAGE says of TXT records is signed, or that there are none; see above.

    evidence  the answers to `questions`; those that did not come are left out
    now       seconds since 1970
    """
    # Every one: a part that is bogus is an error, also behind one that is not signed.
    verdicts = [_Chain(claim, message, anchors, evidence, now).secure() for claim in _claims(message)]
    return all(verdicts)


def window(message: dns.message.Message, evidence: Evidence) -> tuple[float, float] | None:
    """When all signatures of what is_secure looks at hold, seconds since 1970; None: there are none."""
    signatures = [
        rdata
        for one in (message, *evidence.values())
        for rrset in (*one.answer, *one.authority)
        if rrset.rdtype == RRSIG
        for rdata in rrset
    ]
    if not signatures:
        return None
    return max(one.inception for one in signatures), min(one.expiration for one in signatures)


def is_signed(message: dns.message.Message) -> bool:
    """Whether there are signatures in MESSAGE at all: a resolver may know nothing of them."""
    return any(rrset.rdtype == RRSIG for rrset in message.answer)


class _Claim(Struct, frozen=True):
    """Something that an answer says: OWNER has these records, or (None) no TXT record."""

    owner: Name
    rrset: dns.rrset.RRset | None = None

    def signers(self, message: dns.message.Message) -> set[Name]:
        """The zones that have signed it, or say so."""
        if self.rrset is not None:
            return {signature.signer for signature in _signatures(message.answer, self.rrset)}
        return {
            signature.signer
            for denial in _denials(message)
            for signature in _signatures(message.authority, denial)
        }


class _Chain:
    """From the anchor down to the zone of one claim."""

    def __init__(
        self,
        claim: _Claim,
        message: dns.message.Message,
        anchors: Anchors,
        evidence: Evidence,
        now: float,
    ) -> None:
        self._claim, self._message, self._anchors = claim, message, anchors
        self._evidence, self._now = evidence, now

    def secure(self) -> bool:
        owner = self._claim.owner
        zone = anchor_of(owner, self._anchors)
        if zone is None:
            return False
        keys = self._keys_of(zone, self._anchors[zone])
        for name in _below(zone, owner):
            answer = self._evidence.get((name, DS))
            if answer is None:
                continue
            delegation = find(answer.answer, name, DS)
            if delegation is not None and self._verifies(delegation, answer.answer, zone, keys):
                if not any(ds.algorithm in _ALGORITHMS and ds.digest_type in _DIGESTS for ds in delegation):
                    return False
                zone, keys = name, self._keys_of(name, delegation)
            elif proves_unsigned(name, zone, self._valid_denials(answer, zone, keys)):
                return False
        if self._claim.rrset is None:
            return self._denied(zone, keys)
        if self._verifies(self._claim.rrset, self._message.answer, zone, keys):
            return True
        raise BogusError(f"{owner}: {self._why(self._claim.rrset)} (DNSSEC)")

    def _denied(self, zone: Name, keys: dns.rdataset.Rdataset) -> bool:
        """Whether ZONE says that there is no record. Raise BogusError when it does not say anything."""
        owner = self._claim.owner
        denials = self._valid_denials(self._message, zone, keys)
        if proves_absence(owner, TXT, zone, denials):
            return True
        if may_be_unsigned(owner, zone, denials):
            return False
        raise BogusError(f"{owner}: nothing proves that it has no record (DNSSEC)")

    def _keys_of(self, zone: Name, trusted: dns.rdataset.Rdataset) -> dns.rdataset.Rdataset:
        """ZONE's keys, signed by one that TRUSTED vouches for. Raise BogusError."""
        answer = self._evidence.get((zone, DNSKEY))
        keys = None if answer is None else find(answer.answer, zone, DNSKEY)
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
        labels = len(rrset.name) - 1 - rrset.name.is_wild()  # RFC 4034 section 3.1.3
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

    def _valid_denials(
        self, answer: dns.message.Message, zone: Name, keys: dns.rdataset.Rdataset
    ) -> list[dns.rrset.RRset]:
        denials = _denials(answer)[:_DENIALS_MAX]
        return [rrset for rrset in denials if self._verifies(rrset, answer.authority, zone, keys)]

    def _why(self, rrset: dns.rrset.RRset) -> str:
        signatures = _signatures(self._message.answer, rrset)
        if not signatures:
            return "its signature is missing"
        if all(signature.labels < len(rrset.name) - 1 for signature in signatures):
            return "made from a wildcard, which no key of a host may be"
        if all(not signature.inception <= self._now <= signature.expiration for signature in signatures):
            return "its signature is out of date; is this host's clock right?"
        return "its signature is wrong"


def _claims(message: dns.message.Message) -> list[_Claim]:
    """What has to be signed for MESSAGE to be believed: every alias, and what is at their end."""
    chain = text_chain(message)
    claims = [_Claim(alias.name, alias) for alias in chain.aliases]
    if chain.dname is not None:
        return [*claims, _Claim(chain.dname.name, chain.dname)]
    return [*claims, _Claim(chain.end, chain.texts)]


def _denials(message: dns.message.Message) -> list[dns.rrset.RRset]:
    return [rrset for rrset in message.authority if rrset.rdtype in (NSEC, NSEC3)]


def _below(zone: Name, name: Name) -> list[Name]:
    """As denial.below. Raise BogusError for too many."""
    depth = len(name) - len(zone)
    if depth > _LABELS_MAX:
        raise BogusError(f"{name}: {depth} labels below {zone} are too many to validate (DNSSEC)")
    return below(zone, name)


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
