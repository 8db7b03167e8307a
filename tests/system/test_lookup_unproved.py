"""Networks that answer all but what proves it: a resolver that validates, and reaches nobody to ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import dns.message
import dns.name
import dns.rcode
import dns.rrset
import pytest
import trio
from dns.rdatatype import DNSKEY
from tests.fakedns import FakeDns

from vipnet.core.outputs import LookupResult
from vipnet.errors import BogusError
from vipnet.names.records import CapabilityRecord
from vipnet.system.lookup import Lookup
from vipnet.types import Fqdn, PublicKey

B = Fqdn("b.vipip.test")
RECORD = CapabilityRecord(PublicKey(bytes(range(32))), 5847)
RECORDS = {f"{B} A": ["192.0.2.2"], f"_vip.{B} TXT": [f'"{RECORD}"']}
FOUND = LookupResult(B, ("192.0.2.2",), RECORD.key, RECORD.port)
SIGNATURE = "DNSKEY 8 0 172800 20300101000000 20200101000000 20326 . AAAA"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vipnet.system.lookup.validation.ROOT_WAIT_S", 0.1)
    monkeypatch.setattr("vipnet.system.lookup.validation.CHAIN_WAIT_S", 0.3)


def run(main: Callable[[FakeDns, Lookup], Awaitable[None]], **options: Any) -> None:
    fake = FakeDns(RECORDS)
    fake.silent = {"DS", "DNSKEY"}

    async def everything() -> None:
        with trio.fail_after(20):
            async with fake.serve():
                await main(fake, Lookup(lambda: (fake.address,), **options))

    trio.run(everything)


def sign_root(response: dns.message.Message) -> dns.message.Message:
    """As a network does that passes signatures on."""
    if response.question[0].name == dns.name.root and response.question[0].rdtype == DNSKEY:
        response.answer.append(dns.rrset.from_text(".", 300, "IN", "RRSIG", SIGNATURE))
    return response


@pytest.mark.parametrize("how", ["never", "SERVFAIL, too late"])
def test_silence_about_signatures_is_a_network_without(how: str) -> None:
    async def main(fake: FakeDns, lookup: Lookup) -> None:
        if how != "never":
            fake.silent.clear()
            fake.delays_s = {"DS": 5.0, "DNSKEY": 5.0}
            fake.rcodes = dict.fromkeys(fake.delays_s, dns.rcode.SERVFAIL)
        assert await lookup.lookup(B, authoritative=False, verify=True) == FOUND
        asked = len(fake.asked)
        capability = await lookup.capability(B, verify=True, prove=True)
        assert (capability.record, capability.secure) == (RECORD, False)
        assert fake.asked[asked:] == [f"_vip.{B} TXT"], "found out once"

    run(main)


def test_strictly_it_says_what_is_not_answered() -> None:
    async def main(_fake: FakeDns, lookup: Lookup) -> None:
        found = await lookup.lookup(B, authoritative=False, verify=True)
        assert (found.key, found.failed, found.addresses) == (None, True, FOUND.addresses)
        assert found.bogus is not None
        assert "answer TXT, but not DNSKEY ., DS test., " in found.bogus
        with pytest.raises(BogusError, match=r"answer TXT, but not .* and \d more"):
            await lookup.capability(B, verify=True)

    run(main, dnssec="yes")


def test_where_the_root_shows_signatures_a_chain_that_is_missing_is_no_downgrade() -> None:
    async def main(fake: FakeDns, lookup: Lookup) -> None:
        fake.silent = {"DS", "test DNSKEY"}
        fake.rewrite = sign_root
        for _ in range(2):
            found = await lookup.lookup(B, authoritative=False, verify=True)
            assert (found.key, found.failed) == (None, True)
            assert found.bogus is not None
            assert "answer TXT, but not DS test." in found.bogus

    run(main)


def test_right_after_a_move_silence_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vipnet.system.lookup.validation.PREPARE_S", 0.1)

    async def main(fake: FakeDns, lookup: Lookup) -> None:
        await lookup.prepare()
        fake.silent = {"DS"}
        fake.rewrite = sign_root
        assert (await lookup.lookup(B, authoritative=False, verify=True)).bogus is not None

    run(main)


def test_signatures_that_come_after_all_end_the_downgrade() -> None:
    async def main(fake: FakeDns, lookup: Lookup) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lookup.prepare)
            assert await lookup.lookup(B, authoritative=False, verify=True) == FOUND
            fake.silent = {"DS"}
            fake.rewrite = sign_root
        assert (await lookup.lookup(B, authoritative=False, verify=True)).bogus is not None

    run(main)


def test_what_is_being_proved_is_known_as_such() -> None:
    async def main(fake: FakeDns, lookup: Lookup) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: lookup.lookup(B, authoritative=False, verify=True))
            while ". DNSKEY" not in fake.asked:
                assert not lookup.is_proving(Fqdn("c.vipip.test"))
                await trio.sleep(0.01)
            assert lookup.is_proving(B)
        assert not lookup.is_proving(B)

    run(main)
