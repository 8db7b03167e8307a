"""What servers' answers say of our key, our clock and our name, from real messages."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable

import dns.message
import dns.name
import dns.rcode
import dns.rrset
import dns.tsig
import pytest
import trio
from dns.rcode import Rcode
from hypothesis import given
from hypothesis import strategies as st
from tests.fakedns import FakeDns

from vipnet.app.doctor import dnsprobe
from vipnet.app.doctor.dnsprobe import ask_server, http_clock, judge_signatures, judge_signed, software
from vipnet.app.doctor.facts import ClockSource, ServerAnswer, TsigAnswer
from vipnet.names.records import CapabilityRecord
from vipnet.system.lookup import Lookup
from vipnet.types import Fqdn, Locator, PublicKey

NAME = Fqdn("a.vipip.test")
KEY, OTHER_KEY = PublicKey(bytes(range(32))), PublicKey(bytes(32))
RECORD = f'"{CapabilityRecord(KEY, 5847)}"'
TSIG_KEY = dns.tsig.Key(dns.name.from_text("k."), b"secret" * 4, dns.tsig.HMAC_SHA256)
SERVER = "192.0.2.53:53"


def signed_reply(
    error: Rcode = dns.rcode.NOERROR, there: float | None = None, rcode: Rcode = dns.rcode.NOERROR
) -> bytes:
    """What a server with the right secret sends; THERE is its clock."""
    query = dns.message.make_query("vipip.test", "SOA")
    query.use_tsig(TSIG_KEY)
    query.to_wire()
    reply = dns.message.make_response(query)
    reply.set_rcode(rcode)
    reply.request_mac = query.mac or b""
    other = b"" if there is None else int(there).to_bytes(6, "big")
    reply.use_tsig(TSIG_KEY, tsig_error=error, other_data=other)
    return reply.to_wire()


def test_a_server_that_likes_the_key_tells_its_time() -> None:
    now = time.time() + 100
    found = judge_signed(signed_reply(), SERVER, now)
    assert (found.server, found.error) == (SERVER, None)
    assert found.offset_s is not None
    assert 95 < found.offset_s < 105


def test_badtime_tells_the_time_in_other_data() -> None:
    found = judge_signed(signed_reply(dns.rcode.BADTIME, 1_000_000.0, dns.rcode.NOTAUTH), SERVER, 1_000_900.0)
    assert found == TsigAnswer(SERVER, "BADTIME", 900.0)


@pytest.mark.parametrize(("code", "word"), [(dns.rcode.BADKEY, "BADKEY"), (dns.rcode.BADSIG, "BADSIG")])
def test_a_key_that_is_not_liked_tells_no_time(code: Rcode, word: str) -> None:
    assert judge_signed(signed_reply(code, rcode=dns.rcode.NOTAUTH), SERVER, 5.0) == TsigAnswer(SERVER, word)


def test_answers_without_a_signature() -> None:
    query = dns.message.make_query("vipip.test", "SOA")
    plain = dns.message.make_response(query)
    assert judge_signed(plain.to_wire(), SERVER, 0.0).error == "it does not sign its answer"
    plain.set_rcode(dns.rcode.REFUSED)
    assert judge_signed(plain.to_wire(), SERVER, 0.0).error == "REFUSED"


@given(st.binary(max_size=300), st.floats(0, 2e9))
def test_garbage_is_a_problem_and_never_an_exception(data: bytes, now: float) -> None:
    assert judge_signed(data, SERVER, now).server == SERVER


@given(st.data())
def test_damaged_answers_too(data: st.DataObject) -> None:
    reply = bytearray(signed_reply())
    for _ in range(data.draw(st.integers(1, 4))):
        reply[data.draw(st.integers(0, len(reply) - 1))] = data.draw(st.integers(0, 255))
    judge_signed(bytes(reply[: data.draw(st.integers(0, len(reply)))]), SERVER, 1.0)


def soa_with_signature(inception: int, expiration: int) -> dns.message.Message:
    """As a signed zone answers; the signature itself is of no interest."""
    message = dns.message.make_response(dns.message.make_query("vipip.test", "SOA"))
    texts = [time.strftime("%Y%m%d%H%M%S", time.gmtime(at)) for at in (expiration, inception)]
    signature = base64.b64encode(bytes(64)).decode()
    rdata = f"SOA 13 2 300 {texts[0]} {texts[1]} 12345 vipip.test. {signature}"
    message.answer.append(dns.rrset.from_text("vipip.test.", 300, "IN", "RRSIG", rdata))
    return message


@pytest.mark.parametrize(("now", "offset_s"), [(1500, 0.0), (900, -100.0), (2100, 100.0), (1000, 0.0)])
def test_signatures_bound_the_time(now: int, offset_s: float) -> None:
    assert judge_signatures(soa_with_signature(1000, 2000), now) == offset_s


def test_a_zone_without_signatures_says_nothing() -> None:
    assert judge_signatures(dns.message.make_response(dns.message.make_query("x.", "SOA")), 0.0) is None


@pytest.mark.parametrize(
    ("date", "offset_s"), [("Sun, 06 Nov 1994 08:49:37 GMT", 60.0), ("yesterday", None), (None, None)]
)
def test_the_date_header(date: str | None, offset_s: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fetch(url: str) -> str | None:
        assert url == "https://dns.example/update"
        return date

    monkeypatch.setattr(time, "time", lambda: 784_111_777 + 60.0)
    found = trio.run(http_clock, "https://dns.example/update", fetch)
    expected = None if offset_s is None else ClockSource("the clock of dns.example", offset_s, exact=True)
    assert found == expected


def asked(fake: FakeDns, ask: Callable[[Lookup, Locator], object]) -> object:
    result: object = None

    async def main() -> None:
        nonlocal result
        async with fake.serve() as server:
            lookup = Lookup(lambda: [server.address])
            result = await ask(lookup, server.address)  # type: ignore[misc]

    trio.run(main)
    return result


def says(records: dict[str, list[str]], key: PublicKey | None = KEY) -> ServerAnswer:
    found = asked(
        FakeDns(records), lambda lookup, server: ask_server(lookup, server, NAME, key, recursion=True)
    )
    assert isinstance(found, ServerAnswer)
    return found


def test_what_a_server_says_of_our_name() -> None:
    records = {
        "a.vipip.test A": ["10.0.0.5"],
        "a.vipip.test AAAA": ["2001:db8::5"],
        "_vip.a.vipip.test TXT": [RECORD],
    }
    found = says(records)
    assert (found.addresses, found.has_key, found.problem) == (("10.0.0.5", "2001:db8::5"), True, None)
    assert says(records, OTHER_KEY).has_key is False
    assert says(records, None).has_key is None
    nothing = says({})
    assert (nothing.addresses, nothing.has_key, nothing.problem) == ((), None, None)


def test_a_server_that_refuses_or_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dnsprobe, "WAIT_S", 0.2)
    fake = FakeDns()
    fake.rcodes = {"A": dns.rcode.REFUSED, "AAAA": dns.rcode.REFUSED, "TXT": dns.rcode.REFUSED}
    found = asked(fake, lambda lookup, server: ask_server(lookup, server, NAME, KEY, recursion=False))
    assert isinstance(found, ServerAnswer)
    assert found.problem is not None
    assert found.problem.endswith("answers REFUSED")
    fake = FakeDns()
    fake.silent = {"A", "AAAA", "TXT"}
    found = asked(fake, lambda lookup, server: ask_server(lookup, server, NAME, KEY, recursion=False))
    assert isinstance(found, ServerAnswer)
    assert "does not answer" in (found.problem or "")


def test_what_a_resolver_calls_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dnsprobe, "WAIT_S", 0.2)

    def named(response: dns.message.Message) -> dns.message.Message:
        if response.question[0].name == dns.name.from_text("version.bind"):
            response.answer.append(dns.rrset.from_text("version.bind.", 0, "CH", "TXT", '"dnsmasq-2.90"'))
            response.set_rcode(dns.rcode.NOERROR)
        return response

    fake = FakeDns()
    fake.rewrite = named
    assert asked(fake, software) == "dnsmasq-2.90"
    assert asked(FakeDns(), software) is None
    silent = FakeDns()
    silent.rewrite = lambda _response: None
    assert asked(silent, software) is None
