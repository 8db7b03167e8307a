"""`resolve`, `ping`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.cli.examples import FAILED, PING, RESOLVE
from tests.cli.support import answering, daemon, vipnet
from tests.schema import hold

from vipnet.cli import render, resolve
from vipnet.errors import UnreachableError


def test_the_last_line_is_the_address_alone() -> None:
    with daemon({"resolve": answering(RESOLVE)}) as config:
        done = vipnet("resolve", "b.vipip.net", "--config", config)
    assert done.status == 0
    assert done.out.splitlines() == [
        "dns              1.2 ms  10.201.2.20, vipnet on port 5847",
        "handshake        3.4 ms  from 10.201.2.20:5847",
        "b.vipip.net: a vipnet host",
        "240.17.4.9",
    ]


def test_json_is_the_daemons() -> None:
    with daemon({"resolve": answering(RESOLVE)}) as config:
        done = vipnet("resolve", "b.vipip.net", "--json", "--config", config)
    assert json.loads(done.out) == RESOLVE
    hold(json.loads(done.out), "resolve")


@pytest.mark.parametrize("extra", [(), ("--json",)])
def test_no_address_is_a_failure_that_shows_its_steps(extra: tuple[str, ...]) -> None:
    with daemon({"resolve": answering(FAILED)}) as config:
        done = vipnet("resolve", "b.vipip.net", *extra, "--config", config)
    assert (done.status, done.err) == (1, "")
    assert "no answer from 10.201.2.20:5847" in done.out
    assert done.out.endswith("}\n" if extra else "\n-\n")


def test_what_is_wrong_stands_between_the_steps_and_the_address() -> None:
    with daemon({"resolve": answering(FAILED)}) as config:
        done = vipnet("resolve", "b.vipip.net", "--config", config)
    *steps, _, problem, _, name, address = done.out.splitlines()
    assert [step.split()[0] for step in steps] == ["dns", "handshake"]
    assert (problem, name, address) == (FAILED["problem"], "b.vipip.net: no address", "-")


def test_the_name_reaches_the_daemon() -> None:
    asked: list[dict[str, Any]] = []

    async def handler(params: dict[str, Any]) -> object:
        asked.append(params)
        return RESOLVE

    with daemon({"resolve": handler}) as config:
        vipnet("resolve", "240.17.4.9", "--config", config)
    assert asked == [{"name": "240.17.4.9"}]


def test_ping_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "_PING_EVERY_S", 0)
    with daemon({"ping": answering(PING)}) as config:
        done = vipnet("ping", "b.vipip.net", "--count", "3", "--config", config)
    assert done.status == 0
    assert done.out.splitlines()[2:] == [
        "b.vipip.net: token 240.17.4.9, now at 10.201.2.20:5847",
        "   1  0.42 ms",
        "   2  0.42 ms",
        "   3  0.42 ms",
        "3 asked, 3 answered; 0.42 ms at best, 0.42 ms median, 0.42 ms at worst",
    ]


def test_ping_without_any_answer_fails() -> None:
    with daemon({"ping": answering({**PING, "rtt_ms": None})}) as config:
        done = vipnet("ping", "b.vipip.net", "--config", config)
    assert done.status == 1
    assert done.out.splitlines()[-1] == "   1  no answer"


def test_some_answers_are_enough() -> None:
    replies = [{**PING, "rtt_ms": None}, PING, {**PING, "rtt_ms": 2.0}]
    assert render.ping_summary(replies) == (
        "3 asked, 2 answered; 0.42 ms at best, 2.0 ms median, 2.0 ms at worst"
    )


def test_an_unreachable_peer_is_one_line() -> None:
    async def handler(_params: dict[str, Any]) -> object:
        raise UnreachableError("b.vipip.net does not answer at 10.201.2.20:5847")

    with daemon({"ping": handler}) as config:
        done = vipnet("ping", "b.vipip.net", "--config", config)
    assert done == (1, "", "vipnet: b.vipip.net does not answer at 10.201.2.20:5847\n")
