"""`vipnet reload`: what was taken over, what wants a restart, and a refusal."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.support import answering, daemon, vipnet

from vipnet.errors import ConfigError

REPLY = {"taken": ["[accept] from", "[publish] ttl"], "restart": ["[tun] mtu"]}


def test_what_was_taken_and_what_was_not() -> None:
    with daemon({"reload": answering(REPLY)}) as config:
        done = vipnet("reload", "--config", config)
        assert json.loads(vipnet("reload", "--json", "--config", config).out) == REPLY
    assert done.status == 0
    assert done.out == "taken over: [accept] from, [publish] ttl\n"
    assert done.err == "not before a restart (`vipnet down`, `vipnet up`): [tun] mtu\n"


def test_more_is_logged_if_asked_for() -> None:
    asked: list[object] = []

    async def take(params: dict[str, Any]) -> object:
        asked.append(params)
        return {"taken": ["log level"], "restart": []}

    with daemon({"reload": take}) as config:
        done = vipnet("reload", "--log-level", "debug", "--config", config)
    assert asked == [{"log_level": "debug"}]
    assert (done.status, done.out) == (0, "taken over: log level\n")


def test_nothing_new() -> None:
    with daemon({"reload": answering({"taken": [], "restart": []})}) as config:
        done = vipnet("reload", "--config", config)
    assert (done.status, done.out, done.err) == (0, "nothing to take over\n", "")


def test_a_mistake_is_one_line_and_says_that_nothing_has_changed() -> None:
    async def refuse(_params: dict[str, Any]) -> object:
        raise ConfigError("psk_file = /nowhere: no such file")

    with daemon({"reload": refuse}) as config:
        refused = vipnet("reload", "--config", config)
        config.write_text("name = 7\n")
        wrong = vipnet("reload", "--config", config)
    assert (refused.status, refused.err) == (
        2,
        "vipnet: psk_file = /nowhere: no such file; nothing has changed\n",
    )
    assert wrong.status == 2
    assert wrong.err.endswith("; nothing has changed\n")
    assert str(config) in wrong.err
