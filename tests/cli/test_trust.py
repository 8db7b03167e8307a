"""`vipnet trust`: what it prints, and what it asks of the daemon."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from vipnet.cli import trust as trust_module
from vipnet.cli.trust import trust

KEY = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, object]]]:
    """The daemon's operations that were asked for; it knows one peer."""
    calls: list[tuple[str, dict[str, object]]] = []

    def ask(_config: object, op: str, **params: object) -> dict[str, Any]:
        calls.append((op, params))
        if op == "trust_list":
            return {"peers": [{"name": "b.vipip.net", "trust": "dns", "key": KEY}]}
        return {"removed": params["name"]}

    monkeypatch.setattr(trust_module, "ask", ask)
    return calls


def test_list_is_a_line_a_peer(asked: list[tuple[str, dict[str, object]]]) -> None:
    assert CliRunner().invoke(trust, ["list"]).output == f"b.vipip.net  dns  {KEY}\n"
    assert asked == [("trust_list", {})]


def test_list_as_json_is_one_object(asked: list[tuple[str, dict[str, object]]]) -> None:
    reply = json.loads(CliRunner().invoke(trust, ["list", "--json"]).output)
    assert reply["peers"][0]["trust"] == "dns"
    assert len(asked) == 1


def test_remove_names_the_peer(asked: list[tuple[str, dict[str, object]]]) -> None:
    result = CliRunner().invoke(trust, ["remove", "b.vipip.net"])
    assert result.output == "b.vipip.net is forgotten\n"
    assert asked == [("trust_remove", {"name": "b.vipip.net"})]
