"""Applications' questions in networks that answer all but what proves a capability record."""

from __future__ import annotations

import dns.edns
import dns.message
import dns.rcode
import pytest
from tests.app.house import RECORD, B, House, data

from vipnet.core.outputs import LookupResult


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof takes longer than DNS has to say whether there is a record."""
    monkeypatch.setattr("vipnet.app.nameservice.CAPABILITY_GRACE_S", 0.05)
    monkeypatch.setattr("vipnet.system.lookup.validation.ROOT_WAIT_S", 0.3)
    monkeypatch.setattr("vipnet.system.lookup.validation.CHAIN_WAIT_S", 0.3)


def silent_house() -> House:
    house = House()
    house.upstream.silent = {"DS", "DNSKEY"}
    return house


def why_bogus(reply: dns.message.Message) -> str:
    (option,) = reply.options
    assert isinstance(option, dns.edns.EDEOption)
    assert option.code == dns.edns.EDECode.DNSSEC_BOGUS
    return option.text or ""


def test_a_record_that_no_signature_can_prove_here_makes_a_vip_name() -> None:
    house = silent_house()
    house.lookup.validate("allow-downgrade", {})

    async def main() -> None:
        assert data(await house.ask(B)) == ["1 A 242.0.0.2"]
        assert house.bound == [LookupResult(B, ("192.0.2.2",), RECORD.key, RECORD.port, secure=False)]
        assert house.service.counters["dns_unverified"] == 0

    house.run(main)


def test_strictly_it_is_neither_token_nor_address_and_says_why() -> None:
    house = silent_house()
    house.lookup.validate("yes", {})

    async def main() -> None:
        reply = await house.ask(B)
        assert (reply.rcode(), reply.answer, house.bound) == (dns.rcode.SERVFAIL, [], [])
        assert "answer TXT, but not DNSKEY ." in why_bogus(reply)

    house.run(main)


def test_a_record_whose_proof_takes_too_long_makes_no_legacy_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vipnet.app.nameservice.PROOF_GRACE_S", 0.05)
    house = silent_house()
    house.lookup.validate("allow-downgrade", {})

    async def main() -> None:
        reply = await house.ask(B)
        assert (reply.rcode(), reply.answer, house.bound) == (dns.rcode.SERVFAIL, [], [])
        assert "does not prove" in why_bogus(reply)
        assert not house.service.kinds.known_legacy(B)

    house.run(main)


@pytest.mark.parametrize("dnssec", ["allow-downgrade", "yes"])
@pytest.mark.parametrize("reachable", [True, False])
def test_a_stored_peer_never_has_its_real_address(dnssec: str, reachable: bool) -> None:
    house = silent_house()
    house.lookup.validate("yes" if dnssec == "yes" else "allow-downgrade", {})
    house.stored.add(B)
    house.reachable = reachable

    async def main() -> None:
        reply = await house.ask(B)
        if reachable:
            assert data(reply) == ["1 A 242.0.0.2"]
        else:
            assert (reply.rcode(), reply.answer) == (dns.rcode.SERVFAIL, [])

    house.run(main)
