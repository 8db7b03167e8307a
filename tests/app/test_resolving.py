"""`vipnet resolve`: every step of the way is judged, and the first that fails is explained."""

from __future__ import annotations

from typing import Any

import dns.rcode
import pytest
import trio
from tests.app.house import OLD, RECORD, RECORDS, TOKENS, A, B, House
from tests.schema import hold

from vipnet.errors import ConfigError
from vipnet.types import PublicKey

ALL_STEPS = ["dns_a", "dns_vip", "trust", "handshake", "negotiation", "token", "path"]
OTHER_KEY = PublicKey(bytes(32))


def resolve(house: House, text: str, *, times: int = 1) -> dict[str, Any]:
    results: list[dict[str, Any]] = []

    async def main() -> None:
        for _ in range(times):
            trace = await house.resolving.trace(text)
            results.append(trace.json())

    house.run(main)
    hold(results[-1], "resolve")
    return results[-1]


def steps(result: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(step["id"], step["ok"]) for step in result["steps"]]


def detail(result: dict[str, Any], step_id: str) -> str:
    (text,) = (step["detail"] for step in result["steps"] if step["id"] == step_id)
    return str(text)


def ms(result: dict[str, Any], step_id: str) -> float:
    (value,) = (step["ms"] for step in result["steps"] if step["id"] == step_id)
    return float(value)


def test_every_step_to_a_vip_name() -> None:
    house = House()
    house.handshake_s, house.negotiation_s = 0.02, 0.03
    house.upstream.delays_s = {"TXT": 0.02}
    result = resolve(house, "B.vipip.test")
    assert (result["name"], result["kind"], result["address"]) == (B, "vip", "242.0.0.2")
    assert steps(result) == [(step, True) for step in ALL_STEPS]
    by = f" (by {house.upstream.address})"
    assert detail(result, "dns_a") == "192.0.2.2, 2001:db8::2" + by
    assert detail(result, "dns_vip") == str(RECORD) + by
    assert detail(result, "trust") == "new peer: the key in DNS counts (dns)"
    assert detail(result, "path") == "192.0.2.2:5847 answers, round trip 12.3 ms, MTU 1500"
    for step, least in (("dns_vip", 19), ("handshake", 19), ("negotiation", 29)):
        assert ms(result, step) >= least
    assert result["locator"] == "192.0.2.2:5847"
    assert result["problem"] is None


def test_a_known_binding_needs_no_handshake() -> None:
    house = House()
    result = resolve(house, B, times=2)
    assert steps(result) == [(step, True) for step in ALL_STEPS]
    assert detail(result, "handshake") == "not needed: keys agreed 0 s ago"
    assert detail(result, "negotiation") == "not needed: there is a binding"
    assert detail(result, "trust").startswith("dns: key AAEC")
    assert len(house.bound) == 1


def test_a_known_binding_without_keys_gets_some() -> None:
    house = House()
    house.bindings[B] = TOKENS[B]
    house.keys[B] = ("dns", RECORD.key)
    result = resolve(house, B)
    assert steps(result) == [(step, True) for step in ALL_STEPS]
    assert detail(result, "handshake") == "keys agreed"


def test_a_token_gives_its_name_and_where_that_is() -> None:
    house = House()
    resolve(house, B)
    result = resolve(house, "242.0.0.2")
    assert (result["name"], result["kind"], result["address"]) == (B, "vip", "242.0.0.2")
    assert result["locator"] == "192.0.2.2:5847"


def test_a_legacy_name() -> None:
    result = resolve(House(), OLD)
    assert (result["kind"], result["address"], result["problem"]) == ("legacy", "192.0.2.9", None)
    assert steps(result) == [("dns_a", True), ("dns_vip", True)]


def test_a_name_that_is_not_there() -> None:
    result = resolve(House(), "none.test")
    assert (result["kind"], result["address"]) == ("failed", None)
    assert result["problem"].startswith("DNS has no address for none.test: no address")


def test_a_stranger_out_of_reach() -> None:
    house = House()
    house.reachable = False
    result = resolve(house, B)
    assert (result["kind"], result["address"]) == ("failed", None)
    assert steps(result)[-1] == ("handshake", False)
    assert detail(result, "handshake") == "b.vipip.test does not answer at 192.0.2.2:5847"
    assert "does not answer" in result["problem"]
    assert f'[dns] bypass = ["{B}"]' in result["problem"]


def test_tokens_that_cannot_be_agreed_are_not_blamed_on_the_handshake() -> None:
    house = House()
    house.agreeable = False
    result = resolve(house, B)
    assert result["kind"] == "failed"
    assert steps(result)[-2:] == [("handshake", True), ("negotiation", False)]
    assert "no token is free on both hosts" in result["problem"]
    assert "[tun] subnet" in result["problem"]


@pytest.mark.parametrize("keys", [True, False])
def test_a_peer_that_is_down_keeps_its_token_and_the_way_out_is_named(keys: bool) -> None:
    house = House()

    async def main() -> None:
        house.bindings[B] = TOKENS[B]
        house.meet(B)
        if not keys:
            del house.sessions_at[B]
        house.answers = False
        result = (await house.resolving.trace(B)).json()
        assert (result["kind"], result["address"]) == ("vip", "242.0.0.2")
        failed = [step for step, ok in steps(result) if not ok]
        assert failed == (["path"] if keys else ["handshake"])
        assert "vipnet does not run there" in result["problem"]
        assert f"`sudo vipnet trust remove {B}`" in result["problem"]

    house.run(main)


def test_a_withdrawn_record_of_a_known_peer_is_what_is_explained() -> None:
    house = House()
    del house.upstream.records[f"_vip.{B} TXT"]
    house.bindings[B] = TOKENS[B]
    house.keys[B] = ("dns", RECORD.key)
    house.answers = False
    result = resolve(house, B)
    assert result["address"] == "242.0.0.2"
    assert [step for step, ok in steps(result) if not ok] == ["dns_vip", "handshake"]
    assert "no capability record" in result["problem"]
    assert f"`sudo vipnet trust remove {B}`" in result["problem"]


def test_a_peer_written_down_by_hand_needs_no_record() -> None:
    house = House()
    del house.upstream.records[f"_vip.{B} TXT"]
    house.bindings[B] = TOKENS[B]
    house.keys[B] = ("pinned", RECORD.key)
    assert resolve(house, B)["problem"] is None


def test_another_key_in_dns_is_told_though_all_works() -> None:
    house = House()
    house.bindings[B] = TOKENS[B]
    house.keys[B] = ("dns", OTHER_KEY)
    result = resolve(house, B)
    assert (result["kind"], result["address"]) == ("vip", "242.0.0.2")
    assert [step for step, ok in steps(result) if not ok] == ["trust"]
    assert "another key" in result["problem"]


def test_dead_dns() -> None:
    house = House()
    house.upstream.rcodes = dict.fromkeys(("A", "AAAA", "TXT"), dns.rcode.SERVFAIL)
    house.bindings[B] = TOKENS[B]
    known = resolve(house, B)
    assert (known["kind"], known["address"]) == ("vip", "242.0.0.2")
    assert steps(known)[:2] == [("dns_a", False), ("dns_vip", False)]
    assert "where it was last" in known["problem"]
    unknown = resolve(house, OLD)
    assert unknown["kind"] == "failed"
    assert "SERVFAIL" in unknown["problem"]


def test_a_capability_record_that_dns_hides_is_told() -> None:
    house = House()
    house.upstream.rcodes = {"TXT": dns.rcode.REFUSED}
    result = resolve(house, B)
    assert (result["kind"], result["address"]) == ("legacy", RECORDS[f"{B} A"][0])
    assert "so its real address is given" in result["problem"]


def test_own_name() -> None:
    for text in (A, "242.0.0.1"):
        result = resolve(House(), text)
        assert (result["name"], result["kind"], result["address"]) == (A, "vip", "242.0.0.1")


@pytest.mark.parametrize("text", ["b", "", "-x.test", "242.0.0.77"])
def test_nonsense(text: str) -> None:
    with pytest.raises(ConfigError):
        trio.run(House().resolving.trace, text)
