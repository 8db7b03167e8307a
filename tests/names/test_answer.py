from __future__ import annotations

import contextlib
import itertools
from ipaddress import IPv4Address
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from dns.edns import EDECode
from hypothesis import given
from hypothesis import strategies as st

from vipnet.errors import WireError
from vipnet.names.answer import (
    Alias,
    addresses_in,
    aliases_in,
    bare_failure,
    failure,
    host_asked_for,
    no_data,
    parse_query,
    pointer_answer,
    token_answer,
    token_asked_for,
)
from vipnet.names.message import Question, answers, parse_question
from vipnet.types import Fqdn, Token

TOKEN = Token(IPv4Address("242.1.2.3"))
NAME = Fqdn("b.vipip.test")


def query(name: str = "B.vipip.test", rdtype: str = "A", **edns: Any) -> dns.message.Message:
    return parse_query(dns.message.make_query(name, rdtype, **edns).to_wire())


def sections(wire: bytes) -> tuple[list[str], list[str]]:
    message = dns.message.from_wire(wire)
    return [str(rrset) for rrset in message.answer], [str(rrset) for rrset in message.authority]


def test_a_is_the_token() -> None:
    asked = query()
    wire = token_answer(asked, TOKEN)
    assert answers(asked.to_wire(), wire)
    message = dns.message.from_wire(wire)
    assert message.flags == dns.flags.QR | dns.flags.RD | dns.flags.RA
    assert message.rcode() == dns.rcode.NOERROR
    assert sections(wire) == (["B.vipip.test. 1 IN A 242.1.2.3"], [])


@pytest.mark.parametrize("rdtype", ["AAAA", "HTTPS", "SVCB"])
def test_other_address_types_have_no_data_but_the_name_exists(rdtype: str) -> None:
    for wire in (no_data(query(rdtype=rdtype)), token_answer(query(rdtype=rdtype), TOKEN)):
        assert dns.message.from_wire(wire).rcode() == dns.rcode.NOERROR
        assert sections(wire) == (
            [],
            ["B.vipip.test. 1 IN SOA B.vipip.test. nobody.invalid. 1 3600 600 86400 1"],
        )


def test_aliases_come_before_the_token() -> None:
    chain = (Alias("www.test", "mid.test", 300), Alias("mid.test", NAME, 60))
    assert sections(token_answer(query("WWW.test"), TOKEN, chain))[0] == [
        "WWW.test. 300 IN CNAME mid.test.",
        "mid.test. 60 IN CNAME b.vipip.test.",
        "b.vipip.test. 1 IN A 242.1.2.3",
    ]
    answer, authority = sections(no_data(query("www.test", "AAAA"), chain))
    assert len(answer) == 2
    assert authority[0].startswith("b.vipip.test. 1 IN SOA")


def test_a_long_chain_is_not_cut_here() -> None:
    names = ["www.test", *(".".join([*[str(number) * 60] * 3, "test"]) for number in range(8)), NAME]
    chain = [Alias(owner, target, 5) for owner, target in itertools.pairwise(names)]
    wire = token_answer(query("www.test"), TOKEN, chain)
    assert len(wire) > 512
    assert len(dns.message.from_wire(wire).answer) == 10


def test_pointer() -> None:
    wire = pointer_answer(query("3.2.1.242.in-addr.arpa", "PTR"), NAME)
    assert sections(wire) == (["3.2.1.242.in-addr.arpa. 1 IN PTR b.vipip.test."], [])


def test_failure_says_why_to_whom_understands() -> None:
    with_edns = dns.message.from_wire(
        failure(query(use_edns=0), EDECode.NETWORK_ERROR, "no answer\N{EM DASH}" * 100)
    )
    assert with_edns.rcode() == dns.rcode.SERVFAIL
    (option,) = with_edns.options
    assert isinstance(option, dns.edns.EDEOption)
    assert option.code == EDECode.NETWORK_ERROR
    assert option.text is not None
    assert option.text.startswith("no answer")
    assert len(option.text.encode()) <= 200
    plain = dns.message.from_wire(failure(query(), EDECode.NETWORK_ERROR, "no answer"))
    assert plain.rcode() == dns.rcode.SERVFAIL
    assert plain.edns == -1


def test_edns_is_answered_with_edns() -> None:
    asked = query(use_edns=0, payload=4096, want_dnssec=True)
    message = dns.message.from_wire(token_answer(asked, TOKEN))
    assert (message.edns, message.payload) == (0, 1232)
    assert message.ednsflags & dns.flags.DO
    assert dns.message.from_wire(token_answer(query(), TOKEN)).edns == -1


def test_bare_failure_has_the_header_alone() -> None:
    wire = dns.message.make_query("a.test", "A").to_wire()
    reply = bare_failure(wire)
    assert answers(wire, reply)
    message = dns.message.from_wire(reply)
    assert message.rcode() == dns.rcode.SERVFAIL
    assert message.flags & ~0xF == dns.flags.QR | dns.flags.RD | dns.flags.RA


@pytest.mark.parametrize(
    ("name", "rdtype", "host"),
    [
        ("b.vipip.test", "A", NAME),
        ("B.VIPIP.TEST", "AAAA", NAME),
        ("b.vipip.test", "HTTPS", NAME),
        ("_8443._https.b.vipip.test", "HTTPS", NAME),
        ("_dns.b.vipip.test", "SVCB", NAME),
        ("_vip.b.vipip.test", "A", None),
        ("b.vipip.test", "TXT", None),
        ("b.vipip.test", "ANY", None),
        ("b", "A", None),
        (".", "A", None),
        ("_https", "HTTPS", None),
        ("*.vipip.test", "A", None),
        (r"b\.vipip.test", "A", None),
        (r"b\000.vipip.test", "A", None),
    ],
)
def test_which_host_a_question_is_about(name: str, rdtype: str, host: Fqdn | None) -> None:
    assert host_asked_for(parse_question(dns.message.make_query(name, rdtype).to_wire())) == host


@pytest.mark.parametrize(
    ("name", "rdtype", "token"),
    [
        ("3.2.1.242.in-addr.arpa", "PTR", TOKEN),
        ("3.2.1.242.IN-ADDR.ARPA", "PTR", TOKEN),
        ("3.2.1.242.in-addr.arpa", "A", None),
        ("2.1.242.in-addr.arpa", "PTR", None),
        ("4.3.2.1.242.in-addr.arpa", "PTR", None),
        ("03.2.1.242.in-addr.arpa", "PTR", None),
        ("256.2.1.242.in-addr.arpa", "PTR", None),
        ("in-addr.arpa", "PTR", None),
        (r"3\.2.1.242.in-addr.arpa", "PTR", None),
        ("8.b.d.0.1.0.0.2.ip6.arpa", "PTR", None),
    ],
)
def test_which_token_a_question_is_about(name: str, rdtype: str, token: Token | None) -> None:
    assert token_asked_for(parse_question(dns.message.make_query(name, rdtype).to_wire())) == token


def test_other_classes_are_not_ours() -> None:
    assert host_asked_for(Question(NAME, 1, 3)) is None
    assert token_asked_for(Question("3.2.1.242.in-addr.arpa", 12, 3)) is None


def test_aliases_in_an_answer() -> None:
    reply = dns.message.make_response(query("www.test"))
    reply.answer = [
        dns.rrset.from_text("WWW.test.", 300, "IN", "CNAME", "mid.test."),
        dns.rrset.from_text("mid.test.", 60, "IN", "CNAME", "B.vipip.test."),
        dns.rrset.from_text("b.vipip.test.", 5, "IN", "A", "192.0.2.1", "192.0.2.2"),
    ]
    chain = aliases_in(reply.to_wire())
    assert chain == (Alias("www.test", "mid.test", 300), Alias("mid.test", "b.vipip.test", 60))
    assert addresses_in(reply) == ("192.0.2.1", "192.0.2.2")


def test_a_loop_of_aliases_is_none() -> None:
    reply = dns.message.make_response(query("www.test"))
    reply.answer = [
        dns.rrset.from_text("www.test.", 300, "IN", "CNAME", "mid.test."),
        dns.rrset.from_text("mid.test.", 300, "IN", "CNAME", "www.test."),
    ]
    assert aliases_in(reply.to_wire()) == ()


@given(st.binary(max_size=120))
def test_garbage_raises_only_wire_error(data: bytes) -> None:
    wire = query(use_edns=0).to_wire()
    for mixed in (data, wire[:12] + data, wire[: len(wire) - len(data) % 20] + data):
        aliases_in(mixed)
        with contextlib.suppress(WireError):
            parsed = parse_query(mixed)
            for reply in (
                token_answer(parsed, TOKEN),
                no_data(parsed),
                pointer_answer(parsed, NAME),
                failure(parsed, EDECode.OTHER, "x"),
            ):
                assert answers(mixed, reply)
