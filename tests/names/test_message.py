from __future__ import annotations

import contextlib

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rrset
import pytest
from dns.rdatatype import AAAA, A
from hypothesis import example, given
from hypothesis import strategies as st

from vipnet.errors import WireError
from vipnet.names.message import (
    Question,
    answers,
    fit,
    is_query,
    is_truncated,
    parse_question,
    udp_limit,
    with_id,
    with_ttl_at_most,
)

QUERY = dns.message.make_query("A.Vipip.Test", "A", id=0x1234).to_wire()
EDNS_QUERY = dns.message.make_query("a.vipip.test", "A", id=0x1234, use_edns=0, payload=1400).to_wire()


def reply_to(wire: bytes, *records: str, ttl: int = 300) -> bytes:
    query = dns.message.from_wire(wire)
    reply = dns.message.make_response(query)
    if query.edns >= 0:
        reply.want_dnssec()  # a bit where other records have their TTL
    owner = query.question[0].name
    if records:
        reply.answer.append(dns.rrset.from_text(owner, ttl, "IN", "TXT", *records))
        reply.authority.append(dns.rrset.from_text("test.", ttl * 2, "IN", "NS", "ns.test."))
        reply.additional.append(dns.rrset.from_text("ns.test.", 1, "IN", "A", "192.0.2.53"))
    return reply.to_wire()


def test_question_is_lower_case_without_final_dot() -> None:
    assert parse_question(QUERY) == Question("a.vipip.test", A, 1)


label = st.one_of(st.binary(min_size=1, max_size=63), st.text("abcXYZ09-_", min_size=1).map(str.encode))


@given(st.lists(label, max_size=6).filter(lambda labels: sum(len(label) + 1 for label in labels) < 255))
def test_names_read_as_dnspython_writes_them(labels: list[bytes]) -> None:
    name = dns.name.Name([*labels, b""])
    wire = dns.message.make_query(name, "A").to_wire()
    assert parse_question(wire).name == name.to_text(omit_final_dot=True).lower()


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        (b"", "0 bytes"),
        (QUERY[:11], "11 bytes"),
        (QUERY[:-1], "question"),
        (reply_to(QUERY), "ordinary"),
        (QUERY[:2] + b"\x28" + QUERY[3:], "ordinary"),  # UPDATE
        (QUERY[:4] + b"\0\0" + QUERY[6:], "0 questions"),
        (QUERY[:4] + b"\0\2" + QUERY[6:], "2 questions"),
        (QUERY[:12] + b"\xc0\x0c\0\1\0\1", "question"),  # a pointer to itself
    ],
)
def test_not_a_question(wire: bytes, why: str) -> None:
    with pytest.raises(WireError, match=why):
        parse_question(wire)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (reply_to(QUERY), True),
        (reply_to(QUERY).replace(b"\x01A\x05Vipip\x04Test", b"\x01a\x05vipip\x04test"), True),
        (with_id(reply_to(QUERY), b"\0\0"), False),
        (QUERY, False),
        (reply_to(dns.message.make_query("b.vipip.test", "A", id=0x1234).to_wire()), False),
        (reply_to(dns.message.make_query("a.vipip.test", "AAAA", id=0x1234).to_wire()), False),
        (QUERY[:2] + b"\x80\x05" + bytes(8), True),  # REFUSED without the question
        (QUERY[:2] + b"\x80\x00" + bytes(8), False),  # NOERROR without it
        (QUERY[:2] + b"\xa8\x05" + bytes(8), False),  # of another opcode
        (QUERY[:2] + b"\x80", False),
        (reply_to(QUERY)[:20], False),
    ],
)
def test_which_replies_answer_a_query(reply: bytes, expected: bool) -> None:
    assert answers(QUERY, reply) is expected


def test_udp_limit() -> None:
    assert udp_limit(QUERY) == 512
    assert udp_limit(EDNS_QUERY) == 1400
    assert udp_limit(dns.message.make_query("a.test", "A", use_edns=0, payload=100).to_wire()) == 512
    assert udp_limit(EDNS_QUERY[:-1]) == 512


def test_fit_truncates_to_header_and_question() -> None:
    reply = reply_to(QUERY, *(f'"{number:0200}"' for number in range(5)))
    assert fit(reply, len(reply)) is reply
    short = fit(reply, len(reply) - 1)
    assert is_truncated(short)
    assert not is_truncated(reply)
    message = dns.message.from_wire(short)
    assert message.question == dns.message.from_wire(QUERY).question
    assert not message.answer
    assert answers(QUERY, short)


def test_ttls_are_cut_and_nothing_else_changes() -> None:
    before = dns.message.from_wire(reply_to(EDNS_QUERY, '"x"'))
    after = dns.message.from_wire(with_ttl_at_most(reply_to(EDNS_QUERY, '"x"'), 5))
    assert [rrset.ttl for rrset in after.answer + after.authority + after.additional] == [5, 5, 1]
    assert (after.ednsflags, after.payload, after.flags) == (before.ednsflags, before.payload, before.flags)
    assert after.ednsflags == dns.flags.DO
    for section in ("question", "answer", "authority", "additional"):
        assert getattr(after, section) == getattr(before, section)


@given(st.integers(0, 400))
def test_cut_short_replies_do_not_parse(length: int) -> None:
    reply = reply_to(EDNS_QUERY, '"x"')
    if length < len(reply):
        with pytest.raises(WireError):
            with_ttl_at_most(reply[:length], 5)


@given(st.binary(max_size=80), st.integers(0, 100))
@example(QUERY[:12] + b"\xc0", 0)
@example(QUERY[:12] + b"\x80\0\0\0\0", 0)
def test_garbage_raises_only_wire_error(data: bytes, limit: int) -> None:
    for wire in (data, QUERY[:12] + data, reply_to(EDNS_QUERY, '"x"')[:30] + data):
        is_query(wire)
        udp_limit(wire)
        answers(QUERY, wire)
        answers(wire, wire)
        if len(wire) >= 12:
            fit(wire, limit)
        with contextlib.suppress(WireError):
            parse_question(wire)
        with contextlib.suppress(WireError):
            with_ttl_at_most(wire, 5)


def test_types_in_use() -> None:
    assert parse_question(dns.message.make_query("a.test", "AAAA").to_wire()).rdtype == AAAA
    assert dns.flags.TC == 0x0200
