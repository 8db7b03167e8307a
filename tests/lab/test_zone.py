"""The embedded zone, held against RFC 1034, 2136, 2308 and 8020."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.update
import pytest
from dns.rcode import Rcode
from dns.rdatatype import RdataType
from hypothesis import given
from hypothesis import strategies as st

from vipnet.lab.zone import Record, UpdateRefusedError, Zone, may_change

KEY = dns.name.from_text("a.vipip.net")
SEQ = "_seq._vip.a.vipip.net."


def make_zone() -> Zone:
    return Zone(
        "vipip.net.",
        [
            Record("vipip.net.", "SOA", "r.vipip.net. hostmaster.vipip.net. 1 3600 600 86400 1"),
            Record("vipip.net.", "NS", "r.vipip.net."),
            Record("r.vipip.net.", "A", "10.201.1.1"),
            Record("r.vipip.net.", "A", "10.201.2.1"),
            Record("alias.vipip.net.", "CNAME", "r.vipip.net."),
            Record("away.vipip.net.", "CNAME", "r.example.org."),
            Record("loop.vipip.net.", "CNAME", "loop.vipip.net."),
            Record("_vip.a.vipip.net.", "TXT", '"v=vip1"'),
        ],
    )


def ask(zone: Zone, name: str, kind: str = "A") -> dns.message.Message:
    wire = zone.answer(dns.message.make_query(name, kind, use_edns=0)).to_wire()
    return dns.message.from_wire(wire)


def texts(zone: Zone, name: str, kind: str = "A") -> set[str]:
    return {rdata.to_text() for rrset in ask(zone, name, kind).answer for rdata in rrset}


def send(zone: Zone, update: dns.update.UpdateMessage, key: dns.name.Name | None = KEY) -> Rcode:
    """As the server would: from the wire."""
    message = dns.message.from_wire(update.to_wire())
    assert isinstance(message, dns.update.UpdateMessage)
    try:
        zone.update(message, key)
    except UpdateRefusedError as error:
        return error.rcode
    return Rcode.NOERROR


def update() -> dns.update.UpdateMessage:
    return dns.update.UpdateMessage("vipip.net.")


# --- questions


def test_an_answer_has_authority_and_nothing_else() -> None:
    answer = ask(make_zone(), "r.vipip.net")
    assert answer.flags & dns.flags.AA
    assert not answer.flags & dns.flags.RA
    assert {rdata.to_text() for rdata in answer.answer[0]} == {"10.201.1.1", "10.201.2.1"}


@pytest.mark.parametrize(
    ("name", "kind", "rcode"),
    [
        ("nobody.vipip.net", "A", Rcode.NXDOMAIN),
        ("r.vipip.net", "AAAA", Rcode.NOERROR),
        ("a.vipip.net", "A", Rcode.NOERROR),  # only a name below it has records
    ],
)
def test_no_is_said_with_the_soa_and_believed_for_its_minimum(name: str, kind: str, rcode: Rcode) -> None:
    answer = ask(make_zone(), name, kind)
    assert answer.rcode() == rcode
    assert not answer.answer
    assert answer.authority[0].rdtype == RdataType.SOA
    assert answer.authority[0].ttl == 1


@pytest.mark.parametrize(
    ("name", "kind"), [("example.org", "A"), ("1.1.201.10.in-addr.arpa", "PTR"), ("vipip.net", "AXFR")]
)
def test_what_is_not_ours_is_refused(name: str, kind: str) -> None:
    assert make_zone().answer(dns.message.make_query(name, kind)).rcode() == Rcode.REFUSED


def test_aliases_are_followed_inside_the_zone() -> None:
    zone = make_zone()
    assert texts(zone, "alias.vipip.net") == {"r.vipip.net.", "10.201.1.1", "10.201.2.1"}
    assert texts(zone, "away.vipip.net") == {"r.example.org."}
    assert texts(zone, "alias.vipip.net", "CNAME") == {"r.vipip.net."}
    ask(zone, "loop.vipip.net")  # and come to an end


def test_ns_comes_with_the_address_of_the_server() -> None:
    answer = ask(make_zone(), "vipip.net", "NS")
    assert {rdata.to_text() for rdata in answer.additional[0]} == {"10.201.1.1", "10.201.2.1"}


def test_an_unknown_version_of_edns_is_refused() -> None:
    query = dns.message.make_query("r.vipip.net", "A", use_edns=1)
    assert make_zone().answer(query).rcode() == Rcode.BADVERS


# --- updates


def test_an_update_changes_the_zone_and_its_serial() -> None:
    zone = make_zone()
    change = update()
    change.replace("a.vipip.net.", 5, "A", "10.201.2.10")
    assert send(zone, change) == Rcode.NOERROR
    assert texts(zone, "a.vipip.net") == {"10.201.2.10"}
    assert zone.serial == 2
    assert send(zone, change) == Rcode.NOERROR
    assert zone.serial == 2, "nothing changed"


def test_records_are_added_and_deleted_one_by_one() -> None:
    zone = make_zone()
    change = update()
    change.add("a.vipip.net.", 5, "A", "10.201.1.10", "10.201.2.10")
    send(zone, change)
    change = update()
    change.delete("a.vipip.net.", "A", "10.201.1.10")
    send(zone, change)
    assert texts(zone, "a.vipip.net") == {"10.201.2.10"}
    change = update()
    change.delete("a.vipip.net.", "A", "10.201.2.10")
    send(zone, change)
    assert dns.name.from_text("a.vipip.net") not in zone.nodes


def test_a_new_ttl_counts_for_the_whole_set() -> None:
    zone = make_zone()
    for ttl, address in ((5, "10.201.1.10"), (60, "10.201.2.10")):
        change = update()
        change.add("a.vipip.net.", ttl, "A", address)
        send(zone, change)
    assert ask(zone, "a.vipip.net").answer[0].ttl == 60


def test_all_or_nothing() -> None:
    zone = make_zone()
    change = update()
    change.add("a.vipip.net.", 5, "A", "10.201.1.10")
    change.add("b.vipip.net.", 5, "A", "10.201.1.10")
    assert send(zone, change) == Rcode.REFUSED
    assert texts(zone, "a.vipip.net") == set()
    assert zone.serial == 1


def seq(zone: Zone, before: str | None, after: str) -> Rcode:
    """The publisher's own use of prerequisites: the marker must be as we left it."""
    change = update()
    if before is None:
        change.absent(SEQ, "TXT")
    else:
        change.present(SEQ, "TXT", before)
    change.replace(SEQ, 5, "TXT", after)
    return send(zone, change)


def test_an_old_update_that_is_sent_again_is_refused() -> None:
    zone = make_zone()
    assert seq(zone, None, "seq=1") == Rcode.NOERROR
    assert seq(zone, "seq=1", "seq=2") == Rcode.NOERROR
    assert seq(zone, "seq=1", "seq=2") == Rcode.NXRRSET
    assert seq(zone, None, "seq=1") == Rcode.YXRRSET
    assert texts(zone, SEQ, "TXT") == {'"seq=2"'}


def test_prerequisites_on_names() -> None:
    zone = make_zone()
    for name, there in (("r.vipip.net.", True), ("nobody.vipip.net.", False)):
        must, must_not = update(), update()
        must.present(name)
        must_not.absent(name)
        assert send(zone, must) == (Rcode.NOERROR if there else Rcode.NXDOMAIN)
        assert send(zone, must_not) == (Rcode.YXDOMAIN if there else Rcode.NOERROR)


def test_a_set_must_be_equal_not_only_overlap() -> None:
    zone = make_zone()
    for values, rcode in (
        (["10.201.1.1"], Rcode.NXRRSET),
        (["10.201.1.1", "10.201.2.1", "10.201.3.1"], Rcode.NXRRSET),
        (["10.201.2.1", "10.201.1.1"], Rcode.NOERROR),
    ):
        change = update()
        change.present("r.vipip.net.", "A", *values)
        assert send(zone, change) == rcode


def test_an_update_of_another_zone_is_not_taken() -> None:
    zone = make_zone()
    assert send(zone, dns.update.UpdateMessage("example.org.")) == Rcode.NOTAUTH
    change = update()
    change.add("a.example.org.", 5, "A", "10.201.1.10")
    assert send(zone, change) == Rcode.NOTZONE
    change = update()
    change.present("a.example.org.")
    assert send(zone, change) == Rcode.NOTZONE


def test_a_cname_stands_alone() -> None:
    """Section 3.4.2.2: what would break that is left out silently."""
    zone = make_zone()
    zone.nodes[KEY] = zone.nodes[dns.name.from_text("alias.vipip.net")]
    change = update()
    change.add("a.vipip.net.", 5, "A", "10.201.1.10")
    assert send(zone, change) == Rcode.NOERROR
    assert texts(zone, "a.vipip.net", "CNAME") == {"r.vipip.net."}
    assert RdataType.A not in zone.nodes[KEY]


def test_the_serial_skips_0() -> None:
    zone = Zone("vipip.net.", [Record("vipip.net.", "SOA", "r.vipip.net. h.vipip.net. 4294967295 1 1 1 1")])
    change = update()
    change.add("a.vipip.net.", 5, "A", "10.201.1.10")
    send(zone, change)
    assert zone.serial == 1


# --- who may


@pytest.mark.parametrize(
    ("name", "kind", "allowed"),
    [
        ("a.vipip.net", "A", True),
        ("a.vipip.net", "AAAA", True),
        ("a.vipip.net", "TXT", False),
        ("a.vipip.net", "CNAME", False),
        ("_vip.a.vipip.net", "TXT", True),
        ("_seq._vip.a.vipip.net", "TXT", True),
        ("_vip.a.vipip.net", "A", False),
        ("x.a.vipip.net", "TXT", False),
        ("b.vipip.net", "A", False),
        ("_vip.b.vipip.net", "TXT", False),
        ("vipip.net", "SOA", False),
        ("vipip.net", "NS", False),
    ],
)
def test_a_key_changes_its_own_host_and_nothing_else(name: str, kind: str, allowed: bool) -> None:
    assert may_change(KEY, dns.name.from_text(name), dns.rdatatype.from_text(kind)) is allowed
    assert not may_change(None, dns.name.from_text(name), dns.rdatatype.from_text(kind))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a.vipip.net.", "_vip.a.vipip.net.", SEQ]),
            st.sampled_from(["add", "replace", "delete", "delete all"]),
            st.integers(1, 4),
        ),
        max_size=20,
    )
)
def test_updates_are_as_a_table_of_sets_would_do_them(steps: list[tuple[str, str, int]]) -> None:
    zone = make_zone()
    model: dict[str, set[str]] = {"a.vipip.net.": set(), "_vip.a.vipip.net.": {'"v=vip1"'}, SEQ: set()}
    for name, what, number in steps:
        kind, value = ("A", f"10.0.0.{number}") if name == "a.vipip.net." else ("TXT", f'"{number}"')
        change = update()
        if what == "add":
            change.add(name, 5, kind, value)
            model[name].add(value)
        elif what == "replace":
            change.replace(name, 5, kind, value)
            model[name] = {value}
        elif what == "delete":
            change.delete(name, kind, value)
            model[name].discard(value)
        else:
            change.delete(name)
            model[name] = set()
        assert send(zone, change) == Rcode.NOERROR
    for name, values in model.items():
        assert texts(zone, name, "A" if name == "a.vipip.net." else "TXT") == values
