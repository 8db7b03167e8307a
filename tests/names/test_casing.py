from __future__ import annotations

from random import Random

import dns.message
import dns.rrset
import dns.tsig
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnet.names.casing import mixed, restored, same_case

names = st.lists(st.text("abcXYZ019-_", min_size=1, max_size=20), min_size=1, max_size=6).map(".".join)


def query(name: str, **options: object) -> bytes:
    return dns.message.make_query(name, "A", **options).to_wire()  # type: ignore[arg-type]


@given(names, st.integers(0, 2**32))
def test_nothing_but_the_case_changes(name: str, seed: int) -> None:
    plain = query(name, use_edns=0)
    sent = mixed(plain, Random(seed).randbytes)
    assert sent[:12] == plain[:12]
    assert sent.lower() == plain.lower()
    assert dns.message.from_wire(sent).question == dns.message.from_wire(plain).question
    assert same_case(plain, sent) is (sent == plain)


def test_every_letter_may_change_and_nothing_else() -> None:
    sent = mixed(query("aZ09-{[@`.Test"), lambda size: b"\xff" * size)
    assert sent[12:-4] == b"\x09Az09-{[@`\x04tEST\0"


def test_coins_are_fresh_for_each_question() -> None:
    random = Random(1)
    assert len({mixed(query("a" * 40), random.randbytes) for _ in range(20)}) == 20


def test_what_is_signed_or_no_question_stays() -> None:
    signed = dns.message.make_query("name.test", "A")
    signed.use_tsig(dns.tsig.Key("key.", b"secret of sixteen"))
    update = query("name.test")[:2] + b"\x28\0" + query("name.test")[4:]
    none = query("name.test")[:4] + bytes(8)
    for wire in (signed.to_wire(), update, none, b"", b"short", query("name.test")[:-1]):
        assert mixed(wire, lambda size: b"\xff" * size) == wire


@given(names, st.integers(0, 2**32), st.sampled_from([None, False]))
def test_an_answer_is_restored_to_the_letter(name: str, seed: int, compress: bool | None) -> None:
    """A server that points at the question, and one that writes owners out."""
    plain = query(name)
    sent = mixed(plain, Random(seed).randbytes)

    def answer(wire: bytes) -> bytes:
        response = dns.message.make_response(dns.message.from_wire(wire))
        owner = response.question[0].name
        reply = response.to_wire() or b""
        if compress is False:
            record = (owner.to_wire() or b"") + b"\0\1\0\1\0\0\0\5\0\4\xc0\0\2\1"
            return reply[:6] + b"\0\1" + reply[8:] + record
        response.answer.append(dns.rrset.from_text(owner, 5, "IN", "A", "192.0.2.1"))
        return response.to_wire()

    assert restored(answer(sent), plain, sent) == answer(plain)


@pytest.mark.parametrize("seed", range(10))
def test_what_a_dname_makes_of_the_question_is_restored(seed: int) -> None:
    def answer(wire: bytes) -> bytes:
        response = dns.message.make_response(dns.message.from_wire(wire))
        owner = response.question[0].name
        target = owner.labels[:2] + dns.name.from_text("Forest.test").labels
        response.answer = [
            dns.rrset.from_text("tree.test.", 5, "IN", "DNAME", "Forest.test."),
            dns.rrset.from_text(owner, 5, "IN", "CNAME", dns.name.Name(target).to_text()),
            dns.rrset.from_text(dns.name.Name(target), 5, "IN", "A", "192.0.2.1"),
        ]
        return response.to_wire()

    plain = query("Some.leaf.tree.test")
    sent = mixed(plain, Random(seed).randbytes)
    assert restored(answer(sent), plain, sent) == answer(plain)


@given(st.binary(max_size=80), st.binary(max_size=80), names, st.integers(0, 99))
def test_garbage_is_left_alone(head: bytes, tail: bytes, name: str, seed: int) -> None:
    assert mixed(head, Random(seed).randbytes).lower() == head.lower()
    plain = query(name)
    sent = mixed(plain, Random(seed).randbytes)
    for reply in (sent + tail, sent[:12] + tail, sent[:6] + b"\xff\xff" + sent[8:] + tail):
        assert len(restored(reply, plain, sent)) >= len(reply)
