from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from tests.app.house import OLD, RECORD, TOKENS, A, B, C, House, data, reason

from vipnet.core.outputs import LookupResult
from vipnet.types import Fqdn

# --- VIP names


def test_a_vip_name_is_its_token() -> None:
    house = House()

    async def main() -> None:
        assert data(await house.ask(B)) == ["1 A 242.0.0.2"]
        assert house.bound == [LookupResult(B, ("192.0.2.2",), RECORD.key, RECORD.port)]
        assert sorted(house.upstream.asked) == [f"_vip.{B} TXT", f"{B} A"], "each once"
        asked = len(house.upstream.asked)
        assert data(await house.ask(B)) == ["1 A 242.0.0.2"]
        assert len(house.upstream.asked) == asked  # a known binding needs no DNS

    house.run(main)


@pytest.mark.parametrize("why", ["no route", "late", "no address", "an error"])
def test_what_the_application_asked_does_not_say_is_looked_up(why: str) -> None:
    house = House()

    async def main() -> None:
        if why == "no route":
            house.no_route.add("192.0.2.2")
        elif why == "late":
            house.upstream.delays_s[f"{B} A"] = 0.2
        elif why == "no address":
            del house.upstream.records[f"{B} A"]
        else:
            house.upstream.rcodes[f"{B} A"] = dns.rcode.SERVFAIL
        assert data(await house.ask(B)) == ["1 A 242.0.0.2"]
        (found,) = house.bound
        assert "2001:db8::2" in found.addresses
        assert found.key == RECORD.key

    house.run(main)


def test_address_and_capability_are_asked_at_once() -> None:
    house = House()

    async def main() -> None:
        house.upstream.delays_s = {"A": 0.1, "TXT": 0.1}
        before_any_answer: list[set[str]] = []

        def note(response: dns.message.Message) -> dns.message.Message:
            before_any_answer.append(set(house.upstream.asked))
            return response

        house.upstream.rewrite = note
        await house.ask(OLD)
        assert before_any_answer[0] == {f"{OLD} A", f"_vip.{OLD} TXT"}

    house.run(main)


@pytest.mark.parametrize("rdtype", ["AAAA", "HTTPS", "SVCB"])
def test_a_vip_name_has_nothing_else_that_leads_past_its_token(rdtype: str) -> None:
    house = House()

    async def main() -> None:
        for _ in ("before there is a binding", "after"):
            reply = await house.ask(B, rdtype)
            assert data(reply) == []
            (soa,) = reply.authority
            assert (soa.rdtype, soa.ttl) == (dns.rdatatype.SOA, 1)
            house.bindings[B] = TOKENS[B]
        assert house.bound == []

    house.run(main)


def test_the_mapping_of_a_known_name_is_seen_to_behind_its_answer() -> None:
    house = House()

    async def main() -> None:
        await house.ask(B)
        assert house.expected == []  # a first contact sees to it anyway
        house.reachable = False
        await house.ask(B)
        await house.ask(B, "AAAA")
        await house.ask(A)
        assert house.expected == [B]

    house.run(main)


def test_concurrent_questions_share_one_negotiation() -> None:
    house = House()

    async def main() -> None:
        house.handshake_s = 0.1
        replies = []

        async def ask() -> None:
            replies.append(data(await house.ask(B)))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
        assert replies == [["1 A 242.0.0.2"]] * 20
        assert len(house.bound) == 1
        assert house.upstream.count(f"_vip.{B} TXT") <= 2  # to know what it is, and to bind

    house.run(main)


def test_own_name_and_token() -> None:
    house = House(bypass=("*",))

    async def main() -> None:
        assert data(await house.ask("A.vipip.test")) == ["1 A 242.0.0.1"]
        assert data(await house.ask(A, "AAAA")) == []
        assert data(await house.ask("1.0.0.242.in-addr.arpa", "PTR")) == ["1 PTR a.vipip.test."]
        assert house.upstream.asked == []

    house.run(main)


def test_reverse_of_tokens_is_ours_only_for_known_ones() -> None:
    house = House()

    async def main() -> None:
        house.bindings[B] = TOKENS[B]
        assert data(await house.ask("2.0.0.242.in-addr.arpa", "PTR")) == ["1 PTR b.vipip.test."]
        assert house.upstream.asked == []
        assert (await house.ask("9.0.0.242.in-addr.arpa", "PTR")).rcode() == dns.rcode.NXDOMAIN
        assert data(await house.ask("9.2.0.192.in-addr.arpa", "PTR")) == ["300 PTR old.vipip.test."]

    house.run(main)


def test_a_chain_of_aliases_ends_at_the_token() -> None:
    house = House()

    async def main() -> None:
        for _ in ("unknown", "bound"):
            reply = await house.ask("WWW.test")
            assert data(reply) == ["300 CNAME mid.test.", f"300 CNAME {B}.", "1 A 242.0.0.2"]
            assert [rrset.name.to_text() for rrset in reply.answer] == ["WWW.test.", "mid.test.", f"{B}."]
        assert data(await house.ask("www.test", "AAAA")) == ["300 CNAME mid.test.", f"300 CNAME {B}."]
        assert len(house.bound) == 1

    house.run(main)


def test_a_chain_that_goes_on_behind_a_known_vip_name_stops_there() -> None:
    house = House()

    async def main() -> None:
        house.bindings[Fqdn("mid.test")] = TOKENS[C]
        assert data(await house.ask("www.test")) == ["300 CNAME mid.test.", "1 A 242.0.0.3"]

    house.run(main)


# --- out of reach, no downgrade


def test_a_vip_peer_out_of_reach_is_servfail_with_the_reason() -> None:
    house = House()

    async def main() -> None:
        house.reachable = False
        assert reason(await house.ask(B)) == "b.vipip.test does not answer at 192.0.2.2:5847"

    house.run(main)


def test_a_handshake_that_takes_too_long_is_servfail() -> None:
    house = House(timeout_s=0.1)

    async def main() -> None:
        house.handshake_s = 1000
        assert "has not answered within 0.1 s" in reason(await house.ask(B))
        assert house.service.counters["dns_unreachable"] == 1

    house.run(main)


def test_who_asks_late_in_a_vain_attempt_is_not_failed_with_it() -> None:
    house = House()

    async def main() -> None:
        house.reachable, house.handshake_s = False, 0.3
        first: list[str] = []

        async def ask_first() -> None:
            first.append(reason(await house.ask(B)))
            house.reachable = True  # just after

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_first)
            await house.asked.wait()
            assert data(await house.ask(B)) == ["1 A 242.0.0.2"]
        assert first == ["b.vipip.test does not answer at 192.0.2.2:5847"]
        assert len(house.bound) == 2

    house.run(main)


def test_who_asks_late_does_not_wait_for_more_than_its_time() -> None:
    house = House(timeout_s=0.3)

    async def main() -> None:
        house.handshake_s = 1000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.ask, B)
            await house.asked.wait()
            assert "has not answered within 0.3 s" in reason(await house.ask(B))
            assert len(house.bound) <= 2

    house.run(main)


@pytest.mark.parametrize("record", [None, "v=spf1 -all"])
def test_a_stored_name_is_never_legacy(record: str | None) -> None:
    house = House()

    async def main() -> None:
        del house.upstream.records[f"_vip.{B} TXT"]
        if record:
            house.upstream.records[f"_vip.{B} TXT"] = [f'"{record}"']
        house.stored.add(B)
        house.reachable = False
        assert "b.vipip.test" in reason(await house.ask(B))
        assert data(await house.ask(B, "AAAA")) == []
        house.reachable = True
        assert data(await house.ask(B)) == ["1 A 242.0.0.2"]

    house.run(main)


def test_a_stored_name_is_contacted_even_when_dns_is_dead() -> None:
    house = House(timeout_s=1)

    async def main() -> None:
        house.stored.add(B)
        house.upstream.silent = {"A", "AAAA", "TXT"}
        assert data(await house.ask(B)) == ["1 A 242.0.0.2"]
        assert house.bound == [LookupResult(B, failed=True)]

    house.run(main)


def test_a_required_name_is_never_legacy() -> None:
    house = House(timeout_s=1, require=("*.vipip.test",))

    async def main() -> None:
        assert "no _vip record, and [dns] require forbids" in reason(await house.ask(OLD))
        assert data(await house.ask(OLD, "AAAA")) == []
        house.upstream.silent = {"TXT"}
        assert "old.vipip.test" in reason(await house.ask(OLD))
        assert house.bound == []
        house.upstream.silent = set()
        assert data(await house.ask(B)) == ["1 A 242.0.0.2"]

    house.run(main)


def test_bypass_is_the_way_out() -> None:
    house = House(require=("*",), bypass=(B,))

    async def main() -> None:
        house.stored.add(B)
        assert data(await house.ask(B)) == ["300 A 192.0.2.2"]
        assert data(await house.ask(B, "AAAA")) == ["300 AAAA 2001:db8::2"]
        assert house.upstream.count(f"_vip.{B} TXT") == 0

    house.run(main)


def test_only_vip_names_are_asked_for() -> None:
    house = House(vip_names=("*.elsewhere.test",))

    async def main() -> None:
        assert data(await house.ask(B)) == ["300 A 192.0.2.2"]
        assert house.upstream.asked == [f"{B} A"]
        house.bindings[B] = TOKENS[B]  # but what is known stays
        assert data(await house.ask(B)) == ["1 A 242.0.0.2"]

    house.run(main)


# --- whatever comes


@given(st.binary(max_size=64), st.sampled_from([A, B, OLD, "x"]))
def test_any_bytes_are_answered_or_not_but_break_nothing(noise: bytes, name: str) -> None:
    house = House(upstreams=())
    good = dns.message.make_query(name, "A", use_edns=0).to_wire()
    house.bindings[B] = TOKENS[B]

    async def main() -> None:
        for wire in (
            noise,
            good[:12] + noise,
            good[: 12 + len(noise) // 2] + noise,
            good[:-4] + noise,
            good + noise,
        ):
            with trio.move_on_after(0.05):
                reply = await house.service.answer(wire, False)
                assert reply == b"" or (reply[:2] == wire[:2] and reply[2] & 0x80)

    trio.run(main)
