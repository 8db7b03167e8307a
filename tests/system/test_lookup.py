from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from functools import partial

import dns.flags
import dns.message
import dns.rcode
import pytest
import trio
from tests.fakedns import FakeDns
from tests.system.lookups import FOUND, RECORD, RECORDS, B
from trio.testing import MockClock, wait_all_tasks_blocked

from vipnet.core.outputs import LookupResult
from vipnet.errors import HostError, LookupFailedError, PublishError
from vipnet.system.lookup import Lookup, SharedCalls
from vipnet.types import Fqdn, Locator


def run(main: Callable[[FakeDns, Lookup], Awaitable[None]], server: FakeDns | None = None) -> FakeDns:
    """Run MAIN with a Lookup whose only upstream is a fake server."""
    fake = server or FakeDns(RECORDS)

    async def everything() -> None:
        with trio.fail_after(20):
            async with fake.serve():
                await main(fake, Lookup(lambda: (fake.address,)))

    trio.run(everything)
    return fake


# --- passing on


@pytest.mark.parametrize("tcp", [False, True])
def test_exchange_passes_bytes_on_but_for_the_id(tcp: bool) -> None:
    query = dns.message.make_query("old.test", "A", id=0x1234, use_edns=0, payload=999, want_dnssec=True)
    seen: list[dns.message.Message] = []

    def rewrite(response: dns.message.Message) -> bytes:
        seen.append(response)
        return response.to_wire() + b"trailing bytes stay"

    async def main(fake: FakeDns, lookup: Lookup) -> None:
        fake.rewrite = rewrite
        for _ in range(3):
            reply = await lookup.exchange(query.to_wire(), tcp=tcp)
            assert reply[:2] == b"\x12\x34"
            seen[-1].question = query.question  # the letters' case as it was asked, not as it went out
            assert reply[2:] == seen[-1].to_wire()[2:] + b"trailing bytes stay"

    fake = run(main)
    assert len({response.id for response in seen}) > 1
    assert (fake.asked_over_tcp if tcp else fake.asked) == ["old.test A"] * 3


LONG = "letters.letters.letters.letters.letters.vipip.test"


def test_the_case_of_letters_is_random_upstream_and_the_applications_own_below() -> None:
    asked: list[str] = []

    def rewrite(response: dns.message.Message) -> dns.message.Message:
        asked.append(str(response.question[0].name))
        return response

    async def main(fake: FakeDns, lookup: Lookup) -> None:
        fake.rewrite = rewrite
        for _ in range(3):
            reply = await lookup.exchange(dns.message.make_query(LONG, "A").to_wire(), tcp=False)
            assert str(dns.message.from_wire(reply).question[0].name) == f"{LONG}."

    run(main)
    assert len(set(asked)) == 3
    assert {name.lower() for name in asked} == {f"{LONG}."}


def test_an_answer_in_another_case_is_not_believed_over_udp() -> None:
    def rewrite(response: dns.message.Message) -> dns.message.Message:
        forged = fake.asked_over_tcp == []
        if forged:
            response.question[0].name = dns.name.from_text(str(response.question[0].name).swapcase())
        address = "192.0.2.66" if forged else "192.0.2.9"
        response.answer = [dns.rrset.from_text(response.question[0].name, 300, "IN", "A", address)]
        return response

    async def main(fake: FakeDns, lookup: Lookup) -> None:
        fake.rewrite = rewrite
        reply = await lookup.exchange(dns.message.make_query(LONG, "A").to_wire(), tcp=False)
        assert str(dns.message.from_wire(reply).answer[0][0]) == "192.0.2.9"

    fake = FakeDns()
    run(main, fake)


def test_a_server_that_does_not_keep_the_case_is_asked_over_tcp_once() -> None:
    def fold(response: dns.message.Message) -> dns.message.Message:
        response.question[0].name = dns.name.from_text(str(response.question[0].name).lower())
        return response

    async def main(fake: FakeDns, lookup: Lookup) -> None:
        fake.rewrite = fold
        for _ in range(3):
            reply = await lookup.exchange(dns.message.make_query(LONG, "A").to_wire(), tcp=False)
            assert dns.message.from_wire(reply).rcode() == dns.rcode.NXDOMAIN

    fake = run(main)
    assert len(fake.asked_over_tcp) == 1


def test_ports_differ() -> None:
    async def main(fake: FakeDns, lookup: Lookup) -> None:
        for _ in range(8):
            await lookup.exchange(dns.message.make_query("old.test", "A").to_wire(), tcp=False)
        assert len(set(fake.sources)) > 4

    run(main)


def test_a_refusal_is_passed_on_when_there_is_no_better_answer() -> None:
    async def main(fake: FakeDns, lookup: Lookup) -> None:
        fake.rcodes["A"] = dns.rcode.REFUSED
        reply = await lookup.exchange(dns.message.make_query("old.test", "A").to_wire(), tcp=False)
        assert dns.message.from_wire(reply).rcode() == dns.rcode.REFUSED

    run(main)


def test_the_next_upstream_is_asked_at_once_when_nobody_listens_at_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vipnet.system.lookup.NEXT_UPSTREAM_S", 1000)

    async def main(fake: FakeDns, lookup: Lookup) -> None:
        del lookup
        two = Lookup(lambda: (Locator("127.0.0.1", 1), fake.address))
        assert (await two.capability(B)).record == RECORD

    run(main)


def test_the_upstream_that_answered_is_asked_first_the_next_time() -> None:
    async def main(fake: FakeDns, lookup: Lookup) -> None:
        del lookup
        async with FakeDns().serve() as dead:
            dead.silent = {"TXT", "A"}
            two = Lookup(lambda: (dead.address, fake.address))
            await two.capability(B)
            asked = len(dead.asked)
            await two.capability(B)
            assert len(dead.asked) == asked > 0

    run(main)


def test_the_old_networks_resolver_is_not_asked_on_the_new_network() -> None:
    async def main(fake: FakeDns, lookup: Lookup) -> None:
        del lookup
        async with FakeDns(RECORDS).serve() as old:
            old.silent = {"A"}
            upstreams = [old.address]
            moving = Lookup(lambda: upstreams)
            query = dns.message.make_query("old.test", "A").to_wire()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(moving.exchange, query, tcp=False))
                await wait_all_tasks_blocked(0.05)  # it has been asked, and will be again in 200 ms
                upstreams[:] = [fake.address]
                asked = len(old.received)
            # The question under way was answered by the new one.
            assert fake.asked == ["old.test A"]
            await moving.exchange(query, tcp=False)
            assert len(old.received) == asked

    run(main)


def test_we_never_ask_ourselves() -> None:
    async def main(fake: FakeDns, lookup: Lookup) -> None:
        del lookup
        alone = Lookup(lambda: (fake.address,), own=fake.address)
        with pytest.raises(LookupFailedError, match=r"set \[dns\] upstreams"):
            await alone.capability(B)
        with pytest.raises(LookupFailedError):
            await alone.exchange(dns.message.make_query("old.test", "A").to_wire(), tcp=False)
        assert fake.asked == []

    run(main)


def test_unreadable_upstreams_are_a_failed_lookup() -> None:
    def unreadable() -> tuple[Locator, ...]:
        raise HostError("/etc/resolv.conf: Permission denied")

    async def main() -> None:
        lookup = Lookup(unreadable)
        assert await lookup.lookup(B, authoritative=False) == LookupResult(B, failed=True)
        with pytest.raises(LookupFailedError, match="Permission denied"):
            await lookup.exchange(dns.message.make_query("old.test", "A").to_wire(), tcp=False)

    trio.run(main)


# --- one question


def test_a_lost_datagram_is_sent_again_soon() -> None:
    async def main(fake: FakeDns, lookup: Lookup) -> None:
        fake.rewrite = lambda response: None if len(fake.received) < 3 else response
        assert (await lookup.capability(B)).record == RECORD
        assert fake.received == [f"_vip.{B} TXT"] * 3
        assert fake.asked == [f"_vip.{B} TXT"]

    run(main)


def test_forged_answers_are_ignored() -> None:
    async def main(fake: FakeDns, lookup: Lookup) -> None:
        def forge(response: dns.message.Message) -> dns.message.Message:
            if len(fake.received) == 1:
                response.id ^= 1
            elif len(fake.received) == 2:
                response.question = dns.message.make_query("evil.test", "TXT").question
            return response

        fake.rewrite = forge
        assert (await lookup.capability(B)).record == RECORD
        assert len(fake.received) >= 3

    run(main)


def test_an_answer_from_elsewhere_is_ignored() -> None:
    async def main(fake: FakeDns, lookup: Lookup) -> None:
        def answer_from_another_port(response: dns.message.Message) -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.sendto(response.to_wire(), fake.sources[-1])

        fake.rewrite = answer_from_another_port
        query = dns.message.make_query("old.test", "A").to_wire()
        with pytest.raises(LookupFailedError, match="does not answer over UDP"):
            await lookup.ask(query, fake.address, timeout_s=0.2)
        assert len(fake.received) > 1

    run(main)


@pytest.mark.parametrize("tcp", [False, True])
def test_nobody_listens(tcp: bool) -> None:
    async def main() -> None:
        query = dns.message.make_query("old.test", "A").to_wire()
        with trio.fail_after(5), pytest.raises(LookupFailedError, match=r"127\.0\.0\.1:1"):
            await Lookup(lambda: ()).ask(query, Locator("127.0.0.1", 1), tcp=tcp, timeout_s=60)

    trio.run(main)


def test_a_truncated_answer_is_fetched_over_tcp() -> None:
    async def main(fake: FakeDns, lookup: Lookup) -> None:
        def truncate(response: dns.message.Message) -> dns.message.Message:
            if not fake.asked_over_tcp:
                response.flags |= dns.flags.TC
                response.answer.clear()
            return response

        fake.rewrite = truncate
        assert (await lookup.capability(B)).record == RECORD
        assert fake.asked_over_tcp == [f"_vip.{B} TXT"]

    run(main)


def test_negative_answers_live_as_long_as_the_soa_says() -> None:
    async def main(fake: FakeDns, lookup: Lookup) -> None:
        assert (await lookup.capability(Fqdn("old.test"))).ttl_s == 20
        assert (await lookup.capability(B)).ttl_s == 300
        fake.records["_vip.old.test TXT"] = ['"v=spf1 -all"']
        other = await lookup.capability(Fqdn("old.test"))
        assert (other.record, other.ttl_s) == (None, 300)

        def without_soa(response: dns.message.Message) -> dns.message.Message:
            response.authority.clear()
            return response

        fake.rewrite = without_soa
        assert (await lookup.capability(Fqdn("none.test"))).ttl_s == 0

    run(main)


# --- look-ups


def test_three_questions_go_out_at_once() -> None:
    async def main(fake: FakeDns, lookup: Lookup) -> None:
        asked_before_any_answer: list[set[str]] = []

        def note(response: dns.message.Message) -> dns.message.Message:
            asked_before_any_answer.append(set(fake.asked))
            return response

        fake.delays_s = {"A": 0.1, "AAAA": 0.1, "TXT": 0.1}
        fake.rewrite = note
        assert await lookup.lookup(B, authoritative=False) == FOUND
        assert asked_before_any_answer[0] == {f"{B} A", f"{B} AAAA", f"_vip.{B} TXT"}

    run(main)


def test_a_slow_aaaa_does_not_hold_up_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vipnet.system.lookup.TIMEOUT_S", 1000)

    async def main(fake: FakeDns, lookup: Lookup) -> None:
        fake.silent = {"AAAA"}
        assert (await lookup.lookup(B, authoritative=False)).addresses == ("192.0.2.2",)

    run(main)


def test_no_record_is_not_a_failure() -> None:
    async def main(fake: FakeDns, lookup: Lookup) -> None:
        expected = LookupResult(Fqdn("old.test"), ("192.0.2.9",))
        assert await lookup.lookup(Fqdn("old.test"), authoritative=False) == expected
        assert await lookup.lookup(Fqdn("none.test"), authoritative=False) == LookupResult(Fqdn("none.test"))

    run(main)


@pytest.mark.parametrize("what", ["TXT", "A"])
def test_what_is_unknown_is_a_failure(what: str) -> None:
    async def main(fake: FakeDns, lookup: Lookup) -> None:
        fake.rcodes = {what: dns.rcode.SERVFAIL, "AAAA": dns.rcode.SERVFAIL}
        result = await lookup.lookup(B, authoritative=False)
        assert result.failed
        assert (result.key is None) == (what == "TXT")
        assert (result.addresses == ()) == (what == "A")

    run(main)


def test_overlapping_lookups_are_one() -> None:
    async def main(fake: FakeDns, lookup: Lookup) -> None:
        fake.delays_s = {"A": 0.02, "AAAA": 0.02, "TXT": 0.02}
        results = []

        async def ask() -> None:
            results.append(await lookup.lookup(B, authoritative=False))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
        assert results == [FOUND] * 5
        assert len(fake.asked) == 3

    run(main)


# --- calls made once


def test_an_error_is_shared() -> None:
    async def main() -> None:
        calls: SharedCalls[int] = SharedCalls()
        made, told = [], []

        async def fail() -> int:
            made.append(1)
            await trio.sleep(1)
            raise PublishError("no")

        async def ask() -> None:
            with pytest.raises(PublishError):
                await calls.share("key", fail)
            told.append(1)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
        assert (len(made), len(told)) == (1, 3)

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_when_the_caller_is_cancelled_another_takes_over() -> None:
    async def main() -> None:
        calls: SharedCalls[float] = SharedCalls()
        results = []

        async def work() -> float:
            await trio.sleep(2)
            return trio.current_time() - started

        async def ask(patience_s: float) -> None:
            with trio.move_on_after(patience_s):
                results.append(await calls.share("key", work))

        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, 1)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ask, 10)
        assert results == [3]

    trio.run(main, clock=MockClock(autojump_threshold=0))
