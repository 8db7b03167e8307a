"""DNSSEC: signed, provably not signed, or bogus; against zones that BIND has signed."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.message
import dns.name
import dns.rrset
import pytest
from dns.rdatatype import CNAME, DNAME, DNSKEY, DS, NSEC, NSEC3, RRSIG, TXT
from tests.signedzones import SignedZones, running_signed_zones, with_another_key

from vipnet.errors import BogusError
from vipnet.names import dnssec

B = "_vip.b.vipip.test."
DAY_S = 86_400


@pytest.fixture(scope="module")
def zones(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SignedZones]:
    with running_signed_zones(tmp_path_factory.mktemp("zones")) as found:
        yield found


@pytest.fixture(scope="module")
def anchors(zones: SignedZones) -> dnssec.Anchors:
    return dnssec.parse_anchors(zones.anchors)


Judge = Callable[..., bool]


@pytest.fixture
def judge(zones: SignedZones, anchors: dnssec.Anchors) -> Judge:
    """Return the verdict on NAME's TXT records; `tamper` changes the answer, then all evidence."""

    def judge(
        name: str,
        tamper: Callable[[dns.message.Message], object] = lambda message: None,
        *,
        later_s: float = 0,
        trusted: dnssec.Anchors = anchors,
    ) -> bool:
        answer = zones.ask(name, TXT)
        tamper(answer)
        evidence = zones.evidence(answer, trusted)
        for message in evidence.values():
            tamper(message)
        return dnssec.is_secure(answer, trusted, evidence, time.time() + later_s)

    return judge


# --- signed, or provably not


@pytest.mark.parametrize("name", [B, "_vip.c.vipip.test.", "_vip.alias.vipip.test."])
def test_signed(judge: Judge, name: str) -> None:
    assert judge(name) is True


@pytest.mark.parametrize("name", ["_vip.b.plain.test.", "_vip.b.plain.three.", "_vip.b.old.test."])
def test_provably_unsigned(judge: Judge, name: str) -> None:
    """By NSEC, by NSEC3 that opts out, by a DS of which nothing can be checked."""
    assert judge(name) is False


def test_a_signed_alias_to_an_unsigned_name_is_unsigned(judge: Judge, zones: SignedZones) -> None:
    def follow(message: dns.message.Message) -> None:
        if any(rrset.rdtype == CNAME for rrset in message.answer):
            message.answer += zones.ask("_vip.b.plain.test.", TXT).answer

    assert judge("_vip.away.vipip.test.", follow) is False


def test_without_an_anchor_nothing_is_known(judge: Judge, anchors: dnssec.Anchors) -> None:
    three = dns.name.from_text("three.")
    assert judge(B, trusted={three: anchors[three]}) is False


def test_the_closest_anchor_counts(judge: Judge, zones: SignedZones) -> None:
    """As with a zone whose parent is not signed, or in a laboratory."""
    keys = zones.ask("vipip.test.", DNSKEY)
    text = "\n".join(rrset.to_text() for rrset in keys.answer if rrset.rdtype == DNSKEY)
    assert judge(B, trusted=dnssec.parse_anchors(text)) is True


# --- bogus


def _without(rdtype: int) -> Callable[[dns.message.Message], object]:
    def tamper(message: dns.message.Message) -> None:
        for section in (message.answer, message.authority):
            section[:] = [rrset for rrset in section if rrset.rdtype != rdtype]

    return tamper


def _without_ds_of_vipip(message: dns.message.Message) -> None:
    """As if the zone were not signed, by leaving out what says that it is."""
    name = dns.name.from_text("vipip.test.")
    message.answer[:] = [rrset for rrset in message.answer if rrset.name != name or rrset.rdtype == DNSKEY]
    if message.question[0].name != name:
        _without(RRSIG)(message)


@pytest.mark.parametrize(
    ("name", "tamper"),
    [
        pytest.param(B, with_another_key, id="changed"),
        pytest.param(B, _without(RRSIG), id="stripped"),
        pytest.param(B, _without(DS), id="no-ds"),
        pytest.param(B, _without(DNSKEY), id="no-keys"),
        pytest.param(B, _without_ds_of_vipip, id="made-unsigned"),
        pytest.param("_vip.b.plain.test.", _without(NSEC), id="unproved"),
        pytest.param("_vip.b.plain.three.", _without(NSEC3), id="unproved-3"),
    ],
)
def test_tampering_is_no_downgrade(
    judge: Judge, name: str, tamper: Callable[[dns.message.Message], object]
) -> None:
    with pytest.raises(BogusError):
        judge(name, tamper)


def test_the_proof_for_one_zone_is_none_for_another(judge: Judge, zones: SignedZones) -> None:
    """Somebody shows that plain.test is not signed when vipip.test is asked about."""
    denial = zones.ask("plain.test.", DS)

    def tamper(message: dns.message.Message) -> None:
        if message.question[0].rdtype == DS:
            message.answer, message.authority = copy.copy(denial.answer), copy.copy(denial.authority)
        elif message.question[0].rdtype == TXT:
            _without(RRSIG)(message)

    with pytest.raises(BogusError, match="signature is missing"):
        judge(B, tamper)


def test_the_apex_of_a_signed_zone_proves_no_delegation(judge: Judge, zones: SignedZones) -> None:
    """Its NSEC has no DS either, but it has the SOA: it is the child's own (RFC 4035 section 5.2)."""
    denial = zones.ask("vipip.test.", NSEC)

    def tamper(message: dns.message.Message) -> None:
        if message.question[0].rdtype == DS:
            message.answer, message.authority = [], copy.copy(denial.answer)

    with pytest.raises(BogusError):
        judge(B, tamper)


@pytest.mark.parametrize("later_s", [-DAY_S, 60 * DAY_S])
def test_signatures_have_a_time(judge: Judge, later_s: float) -> None:
    with pytest.raises(BogusError):
        judge(B, later_s=later_s)


def test_another_key_than_the_anchors(judge: Judge, zones: SignedZones, anchors: dnssec.Anchors) -> None:
    test, three = dns.name.from_text("test."), dns.name.from_text("three.")
    with pytest.raises(BogusError, match="not those that are vouched for"):
        judge(B, trusted={test: anchors[three]})


def test_what_a_wildcard_makes_is_no_hosts_record(judge: Judge) -> None:
    with pytest.raises(BogusError, match="wildcard"):
        judge("_vip.x.wild.vipip.test.")


def test_too_many_labels(judge: Judge) -> None:
    with pytest.raises(BogusError, match="too many"):
        judge("_vip." + "x." * 12 + "wild.vipip.test.")


# --- that there is none

SIGNED_ZONES = ("vipip.test.", "hashed.test.")
NONE_THERE = {
    "_vip.b.old": "there is no such name",
    "_vip.gone": "an empty name, with the marker below it",
    "ns": "a name with other records",
    "_vip.x.dyn": "a wildcard of another type",
    "_vip.x.tree": "below a DNAME",
    "_vip.lost": "an alias of a name that is not there",
    "zzz.zzz": "behind all others",
}


@pytest.mark.parametrize("zone", SIGNED_ZONES)
@pytest.mark.parametrize("name", NONE_THERE)
def test_signed_that_there_is_none(judge: Judge, zones: SignedZones, name: str, zone: str) -> None:
    assert all(rrset.rdtype != TXT for rrset in zones.ask(f"{name}.{zone}", TXT).answer) or "tree" in name
    assert judge(f"{name}.{zone}") is True


@pytest.mark.parametrize(
    "name", ["_vip.nobody.plain.test.", "_vip.nobody.plain.three.", "_vip.nobody.three."]
)
def test_provably_unsigned_that_there_is_none(judge: Judge, name: str) -> None:
    """The last is covered by NSEC3 that opts out: an unsigned zone could be there."""
    assert judge(name) is False


def _denying(section: dns.message.Message) -> Callable[[dns.message.Message], object]:
    """Answer what is asked for TXT as SECTION was answered."""

    def tamper(message: dns.message.Message) -> None:
        if message.question[0].rdtype == TXT:
            message.set_rcode(section.rcode())
            message.answer, message.authority = [], copy.copy(section.authority)

    return tamper


@pytest.mark.parametrize("zone", SIGNED_ZONES)
@pytest.mark.parametrize(
    "instead",
    [
        pytest.param("", id="stripped"),
        pytest.param("_vip.nobody", id="of another name"),
        pytest.param("ns", id="of another name that is there"),
        pytest.param("_vip.x.sub", id="of a zone below"),
        pytest.param("zzz.zzz", id="of what lies behind all"),
    ],
)
def test_a_record_that_is_there_is_not_denied(
    judge: Judge, zones: SignedZones, zone: str, instead: str
) -> None:
    """Somebody leaves it out, or shows what was signed of something else."""
    other = zones.ask(f"{instead}.{zone}", TXT) if instead else dns.message.Message()
    with pytest.raises(BogusError, match="nothing proves"):
        judge(f"_vip.b.{zone}", _denying(other))


@pytest.mark.parametrize(
    ("zone", "rdtype"),
    [("vipip.test.", RRSIG), ("vipip.test.", NSEC), ("hashed.test.", RRSIG), ("hashed.test.", NSEC3)],
)
def test_without_proof_there_may_be_one(judge: Judge, zone: str, rdtype: int) -> None:
    with pytest.raises(BogusError):
        judge(f"_vip.nobody.{zone}", _without(rdtype))


def test_what_the_parent_says_of_a_delegation_denies_nothing_below(judge: Judge, zones: SignedZones) -> None:
    """It is the child that would have the record (RFC 6840 section 4.1), also when its DS is left out."""
    denial = zones.ask("w.test.", TXT)  # comes after vipip.test, the last name of the zone

    def tamper(message: dns.message.Message) -> None:
        _denying(denial)(message)
        if message.question[0].rdtype == DS:
            message.answer = []

    with pytest.raises(BogusError, match="nothing proves"):
        judge(B, tamper)


def test_a_dname_of_elsewhere_denies_nothing(judge: Judge, zones: SignedZones) -> None:
    """A signed one, in an answer from which the record was taken."""
    other = zones.ask("_vip.x.tree.vipip.test.", TXT)

    def tamper(message: dns.message.Message) -> None:
        if message.question[0].rdtype == TXT:
            message.answer = [
                rrset
                for rrset in other.answer
                if rrset.rdtype == DNAME or (rrset.rdtype == RRSIG and rrset.covers == DNAME)
            ]

    with pytest.raises(BogusError, match="nothing proves"):
        judge(B, tamper)


def test_the_time_that_signatures_tell(zones: SignedZones, anchors: dnssec.Anchors) -> None:
    answer = zones.ask(B, TXT)
    window = dnssec.window(answer, zones.evidence(answer, anchors))
    assert window is not None
    assert window[0] < time.time() < window[1]
    assert window[1] - window[0] > 20 * DAY_S  # dnssec-signzone(8)
    assert dnssec.window(zones.ask("_vip.b.plain.test.", TXT), {}) is None


# --- anchors


def test_the_roots_anchors() -> None:
    root = dnssec.parse_anchors(dnssec.ROOT_ANCHORS)
    assert [ds.key_tag for ds in root[dns.name.root]] == [20326, 38696]


@pytest.mark.parametrize("text", ["", "test. IN A 192.0.2.1", "test. IN DS nonsense", "$INCLUDE /etc/passwd"])
def test_what_is_no_anchor(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        dnssec.parse_anchors(text)


def test_debians_anchors_are_ours() -> None:
    """The package dns-root-data follows the root's keys."""
    path = Path("/usr/share/dns/root.ds")
    if path.exists():
        assert dnssec.parse_anchors(path.read_text()) == dnssec.parse_anchors(dnssec.ROOT_ANCHORS)
