"""`status`, `peers`, `moves`: their JSON as the daemon says it, their text fit to read."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
import pytest
from tests.cli.examples import MOVES, PARTNER, PEER, QUIET_PEER, STARTING, STATUS
from tests.cli.support import answering, daemon, short_directory, vipnet, write_config
from tests.schema import hold
from tests.test_messages import NEXT_STEP

from vipnet.app.metrics.families import STATES
from vipnet.cli import render, screen
from vipnet.cli.screen import Room

MOVED_PEER = PEER | {"last_move": PARTNER}
PEERS = {"peers": [PEER, QUIET_PEER]}


@pytest.mark.parametrize(("op", "reply"), [("status", STATUS), ("peers", PEERS), ("moves", MOVES)])
def test_json_is_one_object_and_nothing_else(op: str, reply: object) -> None:
    with daemon({op: answering(reply)}) as config:
        done = vipnet(op, "--json", "--config", config)
    assert (done.status, done.err) == (0, "")
    assert json.loads(done.out) == reply
    hold(json.loads(done.out), op)


@pytest.mark.parametrize("op", ["status", "peers", "moves"])
def test_without_a_daemon_the_status_is_4(op: str) -> None:
    with short_directory() as directory:
        done = vipnet(op, "--json", "--config", write_config(directory))
    assert (done.status, done.out) == (4, "")
    assert done.err.startswith("vipnet: the daemon is not running")


@pytest.mark.parametrize("op", ["status", "peers", "moves"])
def test_without_a_configuration_the_status_is_2(op: str, tmp_path: Path) -> None:
    done = vipnet(op, "--config", tmp_path / "none.toml")
    assert (done.status, done.out) == (2, "")
    assert "`vipnet init NAME`" in done.err


def test_vipnet_config_is_an_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with daemon({"status": answering(STATUS)}) as config:
        monkeypatch.setenv("VIPNET_CONFIG", str(config))
        assert vipnet("status").status == 0


def test_status_text() -> None:
    with daemon({"status": answering({**STATUS, "peers": [QUIET_PEER, MOVED_PEER]})}) as config:
        done = vipnet("status", "--config", config)
    assert done.out.splitlines() == [
        "a.vipip.net  ready                                          vipnet 0.1.0, up 3 h",
        "",
        "  token     241.2.3.4 on tun0, 240.0.0.0/4, MTU 1420",
        "  now at    10.201.1.10:5847",
        "  names     127.0.0.47:53 (hook: file)",
        "  publish   rfc2136 ok: 10.201.1.10",
        "  moved     3 min ago (link) to 10.201.1.10:5847; 2 of 3 partners know",
        "  counted   dropped_WireError 3",
        "",
        "PEER         TOKEN       STATE   TRUST  RTT",
        "b.vipip.net  240.17.4.9  active  dns    0.42 ms",
        "    at 10.201.2.20:5847, 1.2 MB in, 980 B out",
        "    told of our move in 1.2 ms, silent for 4.8 ms",
        "c.vipip.net  -           idle    -      -",
    ]


def test_status_names_what_keeps_it() -> None:
    lines = click.unstyle(screen.status(STARTING, Room())).splitlines()
    assert lines[0].startswith("a.vipip.net  starting  ")
    assert "  now at    no network" in lines
    assert "            10.201.1.1 refused the key a.vipip.net (BADKEY)" in lines
    assert lines[-1].startswith("No peers yet")


def test_what_a_reload_could_not_take_over_is_said() -> None:
    with daemon({"status": answering(STATUS | {"wants_restart": ["[tun] mtu", "state_dir"]})}) as config:
        done = vipnet("status", "--config", config)
    assert "  restart   [tun] mtu, state_dir: changed, and not in force before it\n" in done.out


@pytest.mark.parametrize("state", sorted(set(STATES) - {"ready", "stopping"}))
def test_a_state_that_is_not_well_has_its_next_step(state: str) -> None:
    lines = screen.status({**STATUS, "state": state}, Room()).splitlines()
    assert NEXT_STEP.search(lines[2].strip()) or "open any page" in lines[2]
    assert lines[3].startswith("  token ")


def test_where_a_host_begins_is_no_move() -> None:
    started = {**STATUS, "last_move": STATUS["last_move"] | {"cause": "start"}}
    assert "  moved  " in screen.status(STATUS, Room())
    assert "  moved  " not in screen.status(started, Room())


def test_trouble_with_a_peers_key_is_said_below_it() -> None:
    fingerprint = "-".join(["0123"] * 8)
    text = screen.peers([PEER | {"offered_key": fingerprint, "cloned_key": True}], Room())
    assert [line.strip() for line in click.unstyle(text).splitlines()[-2:]] == [
        "another key was offered, and refused: `vipnet trust list`",
        "two machines have its key: one is a copy of the other",
    ]


def test_moves_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "localtime", time.gmtime)
    with daemon({"moves": answering(MOVES)}) as config:
        done = vipnet("moves", "--config", config)
    assert done.out.splitlines() == [
        "#1  16:02:03  address: 10.201.1.10:5847 -> 10.201.2.10:5847",
        "  in DNS after 6.5 ms",
        "  b.vipip.net  acked  hint 0.31 ms, ack 1.2 ms, validated 2.5 ms",
        "    sent again: 12 packets, 14.4 kB; no room for 3 packets; silence of 4.8 ms",
        "",
        "#2  16:02:10  link: 10.201.2.10:5847 -> no network",
        "  b.vipip.net  pending  hint 0.31 ms",
    ]
    assert render.moves([]) == "No moves since the daemon started."


def test_colours_have_meaning_and_can_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert render.coloured("ready") == "\x1b[32mready\x1b[0m"
    assert render.coloured("refused") == "\x1b[31mrefused\x1b[0m"
    assert render.coloured("starting") == "\x1b[33mstarting\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert render.coloured("ready") == "ready"


LONG_PEER = {
    **PEER,
    "name": "a-host-with-a-long-name.department.example.org",
    "state": "shaking hands",
    "trust": "callback",
    "locator": "[2001:db8:1234:5678:9abc:def0:1234:5678]:5847",
    "heard_s": 4000.0,
    "cloned_key": True,
}
CROWD = {
    **STATUS,
    "peers": [LONG_PEER, QUIET_PEER],
    "locators": [LONG_PEER["locator"]] * 3,
    "counters": {f"dropped_{kind}Error": 123_456 for kind in ("Wire", "Crypto", "Protocol")},
}


@pytest.mark.parametrize("columns", [*range(60, 100), 150, 300])
def test_every_width_from_60_columns_on_shows_everything(columns: int) -> None:
    rates = {str(LONG_PEER["name"]): (1_234_567.0, 890.0)}
    lines = click.unstyle(screen.status(CROWD, Room(columns), rates)).splitlines()
    assert max(map(len, lines)) <= columns
    words = " ".join(lines).split()
    narrow = click.unstyle(screen.status(CROWD, Room(300), rates)).split()
    assert sorted(words) == sorted(narrow)
    assert LONG_PEER["name"] in words


def many(count: int) -> list[dict[str, Any]]:
    """Every third was never heard; of the others, later names were heard earlier."""
    return [
        PEER
        | {"name": f"host-{number:03}.example.org", "heard_s": None if number % 3 == 0 else float(number)}
        for number in range(count)
    ]


@pytest.mark.parametrize("lines", [20, 24, 50])
def test_it_is_one_screen_however_many_peers_there_are(lines: int) -> None:
    text = click.unstyle(screen.status({**STATUS, "peers": many(500)}, Room(80, lines)))
    shown = text.splitlines()
    assert lines - 4 <= len(shown) < lines  # the prompt needs a line
    names = [line.split()[0] for line in shown if line.startswith("host-")]
    assert names[:3] == ["host-001.example.org", "host-002.example.org", "host-004.example.org"]
    assert shown[-1] == f"{500 - len(names)} more: `vipnet peers`"


def test_what_fits_is_all_there() -> None:
    assert "more:" not in screen.status({**STATUS, "peers": many(10)}, Room(80, 43))
    assert "more:" not in screen.status({**STATUS, "peers": many(500)}, Room(80))
    assert "497 more:" in screen.status({**STATUS, "peers": many(500)}, Room(80, 5))


def test_an_older_daemon_is_shown_as_far_as_it_says() -> None:
    older = {key: value for key, value in STATUS.items() if key not in ("uptime_s", "last_move")}
    assert screen.status(older, Room()).splitlines()[0].endswith("vipnet 0.1.0")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1.0, "0 s"), (59.4, "59 s"), (60.0, "1 min"), (7199.0, "1 h"), (200_000.0, "2 d")],
)
def test_durations(seconds: float, text: str) -> None:
    assert screen.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0.00 ms"),
        (0.42, "0.42 ms"),
        (4.24, "4.2 ms"),
        (42.4, "42 ms"),
        (4242.0, "4,242 ms"),
    ],
)
def test_milliseconds(value: float | None, text: str) -> None:
    assert render.ms(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123_456, "123 kB"), (5 * 10**12, "5.0 TB")],
)
def test_sizes(count: int, text: str) -> None:
    assert render.size(count) == text
