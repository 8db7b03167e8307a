"""`vipnet trust`: what it prints, and what it asks of the daemon."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from vipnet.cli import trust as trust_module
from vipnet.cli.trust import trust

KEY = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
OTHER = {"key": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "fingerprint": "2222-3333"}
PEER: dict[str, Any] = {
    "name": "b.vipip.net", "trust": "dns", "key": KEY, "fingerprint": "0000-1111",
    "previous": [], "offered": None, "told": True,
}  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, object]]]:
    """The daemon's operations that were asked for; it knows one peer."""
    calls: list[tuple[str, dict[str, object]]] = []

    def ask(_config: object, op: str, **params: object) -> dict[str, Any]:
        calls.append((op, params))
        if op == "trust_list":
            return {"peers": [PEER]}
        if op == "trust_remove":
            return {"removed": params["name"]}
        return PEER | {"offered": OTHER if "key" not in params else None, "told": False}

    monkeypatch.setattr(trust_module, "ask", ask)
    return calls


def test_list_is_a_line_a_peer(asked: list[tuple[str, dict[str, object]]]) -> None:
    assert CliRunner().invoke(trust, ["list"]).output == "b.vipip.net  dns  0000-1111\n"
    assert asked == [("trust_list", {})]


def test_list_as_json_is_one_object(asked: list[tuple[str, dict[str, object]]]) -> None:
    reply = json.loads(CliRunner().invoke(trust, ["list", "--json"]).output)
    assert reply["peers"][0]["trust"] == "dns"
    assert len(asked) == 1


def test_remove_names_the_peer(asked: list[tuple[str, dict[str, object]]]) -> None:
    result = CliRunner().invoke(trust, ["remove", "b.vipip.net"])
    assert result.output == "b.vipip.net is forgotten\n"
    assert asked == [("trust_remove", {"name": "b.vipip.net"})]


def test_add_pins_a_key(asked: list[tuple[str, dict[str, object]]]) -> None:
    result = CliRunner().invoke(trust, ["add", "b.vipip.net", KEY, "--address", "192.0.2.1"])
    assert asked == [("trust_add", {"name": "b.vipip.net", "key": KEY, "address": "192.0.2.1"})]
    assert "knows this host by an earlier key" in result.output


def test_a_new_key_is_accepted_only_after_a_look_at_both(asked: list[tuple[str, dict[str, object]]]) -> None:
    refused = CliRunner().invoke(trust, ["accept-new-key", "b.vipip.net"], input="n\n")
    assert refused.exit_code == 1
    assert "known    0000-1111\noffered  2222-3333\n" in refused.output
    assert asked == [("trust_accept", {"name": "b.vipip.net"})]
    accepted = CliRunner().invoke(trust, ["accept-new-key", "b.vipip.net"], input="y\n")
    assert accepted.exit_code == 0
    assert asked[-1] == ("trust_accept", {"name": "b.vipip.net", "key": OTHER["key"]})


def test_a_given_key_is_accepted_without_a_question(asked: list[tuple[str, dict[str, object]]]) -> None:
    CliRunner().invoke(trust, ["accept-new-key", "b.vipip.net", KEY])
    assert asked == [("trust_accept", {"name": "b.vipip.net", "key": KEY})]
