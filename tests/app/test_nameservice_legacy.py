"""Names without vipnet, through the name service: as they came, or for a moment."""

from __future__ import annotations

from ipaddress import IPv4Address

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
import trio
from tests.app.house import OLD, RECORD, TOKENS, B, House, data, reason

from vipnet.app.nameservice import CANARY
from vipnet.types import Token


def test_a_legacy_answer_is_passed_on_as_it_came() -> None:
    house = House()

    async def main() -> None:
        raw: list[bytes] = []

        def keep(response: dns.message.Message) -> bytes:
            raw.append(response.to_wire() + b"and more")
            return raw[-1]

        for name, rdtype in ((OLD, "A"), (OLD, "AAAA"), (OLD, "MX"), ("plain.test", "A"), ("none.test", "A")):
            for tcp in (False, True):
                await house.ask(name, rdtype)  # so that only the pass-through is asked below
                house.upstream.rewrite, raw[:] = keep, []
                query = dns.message.make_query(name, rdtype, use_edns=0, want_dnssec=True).to_wire()
                reply = await house.service.answer(query, tcp)
                assert reply[:2] == query[:2]
                # Letters are in any case on the way, and in their own again in the reply.
                assert [reply[2:].lower()] == [wire[2:].lower() for wire in raw]
                assert reply[12 : len(query) - 11] == query[12:-11]
                house.upstream.rewrite = lambda response: response

    house.run(main)


@pytest.mark.parametrize("rcode", [dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL, dns.rcode.REFUSED])
def test_an_error_keeps_its_soa_and_what_the_upstream_says_of_it(rcode: dns.rcode.Rcode) -> None:
    """RFC 2308, RFC 8914."""
    house = House()
    why = dns.edns.EDEOption(dns.edns.EDECode.FILTERED, "not here")
    soa = dns.rrset.from_text("none.test.", 60, "IN", "SOA", "ns.test. me.test. 1 3600 600 86400 20")

    def failing(response: dns.message.Message) -> dns.message.Message:
        response.set_rcode(rcode)
        response.answer.clear()
        response.authority[:] = [soa]
        response.use_edns(0, 0, 1232, options=[why])
        return response

    async def main() -> None:
        house.upstream.rewrite = failing
        for tcp in (False, True):
            reply = await house.ask("none.test", tcp=tcp)
            assert (reply.rcode(), reply.options, reply.authority) == (rcode, (why,), [soa])

    house.run(main)


def test_authentic_data_is_said_of_what_came_so_and_not_of_what_we_made() -> None:
    house = House()

    def authentic(response: dns.message.Message) -> dns.message.Message:
        response.flags |= dns.flags.AD
        return response

    async def main() -> None:
        house.upstream.rewrite = authentic
        assert (await house.ask(OLD)).flags & dns.flags.AD
        assert (await house.ask(OLD, "MX")).flags & dns.flags.AD
        assert not (await house.ask(B)).flags & dns.flags.AD
        assert not (await house.ask(B, "AAAA")).flags & dns.flags.AD

    house.run(main)


def test_browsers_are_told_to_stay_with_us_while_the_system_asks_us() -> None:
    house = House()
    house.upstream.records[f"{CANARY} A"] = ["192.0.2.80"]

    async def main() -> None:
        assert data(await house.ask(CANARY)) == ["300 A 192.0.2.80"]
        house.hooked = True
        for rdtype in ("A", "AAAA", "HTTPS"):
            reply = await house.ask(CANARY, rdtype)
            assert reply.rcode() == dns.rcode.NXDOMAIN
            assert not reply.answer

    house.run(main)


def test_an_error_is_passed_on_without_waiting_for_the_capability_record() -> None:
    house = House()

    async def main() -> None:
        house.upstream.rcodes = {"A": dns.rcode.SERVFAIL, "TXT": dns.rcode.SERVFAIL}
        assert (await house.ask(OLD)).rcode() == dns.rcode.SERVFAIL
        assert house.service.counters["dns_unverified"] == 0
        house.upstream.rcodes = {}
        assert data(await house.ask(OLD)) == ["300 A 192.0.2.9"]  # nothing was remembered

    house.run(main)


def test_that_a_name_is_legacy_is_remembered() -> None:
    house = House()

    async def main() -> None:
        for _ in range(3):
            assert data(await house.ask(OLD)) == ["300 A 192.0.2.9"]
            assert data(await house.ask(OLD, "AAAA")) == ["300 AAAA 2001:db8::9"]
        assert house.upstream.count(f"_vip.{OLD} TXT") == 1

    house.run(main)


def test_a_legacy_name_becomes_a_vip_name_when_the_soa_has_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()

    async def main() -> None:
        assert data(await house.ask(OLD)) == ["300 A 192.0.2.9"]
        house.upstream.records[f"_vip.{OLD} TXT"] = [f'"{RECORD}"']
        monkeypatch.setitem(TOKENS, OLD, Token(IPv4Address("242.0.0.9")))
        assert data(await house.ask(OLD)) == ["300 A 192.0.2.9"]
        real = trio.current_time
        monkeypatch.setattr("vipnet.app.namekinds.trio.current_time", lambda: real() + 21)
        assert data(await house.ask(OLD)) == ["1 A 242.0.0.9"]

    house.run(main)


@pytest.mark.parametrize("how", ["silent", "SERVFAIL", "REFUSED"])
def test_a_name_that_dns_will_not_vouch_for_is_legacy_for_a_moment(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vipnet.app.nameservice.CAPABILITY_GRACE_S", 0.1)
    house = House()

    async def main() -> None:
        if how == "silent":
            house.upstream.silent = {"TXT"}
        else:
            house.upstream.rcodes["TXT"] = dns.rcode.from_text(how)
        started = trio.current_time()
        assert data(await house.ask(B)) == ["5 A 192.0.2.2"]
        assert trio.current_time() - started >= 0.1
        assert data(await house.ask(B, "AAAA")) == ["5 AAAA 2001:db8::2"]
        assert house.service.counters["dns_unverified"] == 2
        assert house.bound == []

    house.run(main)


def test_a_late_capability_record_still_counts() -> None:
    house = House()

    async def main() -> None:
        house.upstream.delays_s = {"TXT": 0.15}
        assert data(await house.ask(B)) == ["1 A 242.0.0.2"]
        assert house.service.counters["dns_unverified"] == 0

    house.run(main)


def test_no_upstream_is_servfail_with_the_reason() -> None:
    house = House(upstreams=())

    async def main() -> None:
        assert "no name server is known: set [dns] upstreams" in reason(await house.ask(OLD, "MX"))
        assert house.service.counters["dns_upstream_failed"] == 1

    house.run(main)
