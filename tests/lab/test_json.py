"""The JSON that others rely on, from real daemons: as the schemas say, which demand every documented key."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.lab.labs import VIPNET, Lab, run, running_lab, wait_until
from tests.schema import hold, validator
from tests.support import need_root

_PEER = (
    "name token local_token state trust offered_key cloned_key locator path_mtu srtt_ms lease_s heard_s "
    "rx_bytes tx_bytes last_move"
)
_FIGURES = (
    "udp.switch_ms udp.lost udp.duplicated udp.sent udp.by_direction.mover_sends "
    "udp.by_direction.mover_receives tcp.switch_ms tcp.alive ping.lost ping.sent"
)


def below(table: str, keys: str) -> str:
    return " ".join(f"{table}.{key}" for key in keys.split())


# Every key that is promised, by schema; after `[]` come keys of each element of a list, after `*` of each
# value of a table. Written from the documented formats: the schemas are held against this too.
PROMISED = {
    "status": (
        "name state version tun.interface tun.token tun.subnet tun.mtu offloads.tun offloads.udp_send "
        "offloads.udp_receive locators dns.listen dns.hook "
        "publish.provider publish.state publish.address publish.error peers counters.token_refused "
        + below("peers[]", _PEER)
    ),
    "peers": "peers " + below("peers[]", _PEER),
    "moves": (
        "moves "
        + below("moves[]", "id cause at old new dns_ms partners")
        + " "
        + below(
            "moves[].partners[]",
            "name hint_ms ack_ms lookup_ms validated_ms replayed replayed_bytes dropped gap_ms outcome",
        )
    ),
    "resolve": "name kind address locator problem steps " + below("steps[]", "id ms ok detail"),
    "doctor": "ok checks " + below("checks[]", "id state found meaning fix"),
    "lab-status": (
        "name hosts dns.kind dns.address dns.zone dns.log "
        + below("hosts.*", "netns pid config state_dir address token")
    ),
    "lab-move": "moves " + below("moves[]", "host from to event_ns done_ns"),
    "demo": (
        "schema version profile runs floor_ms runs_detail "
        + below("one_sided", _FIGURES)
        + " "
        + below("two_sided", _FIGURES)
    ),
}


def places(document: Any, path: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Every table of DOCUMENT in which PATH's last key stands, and that key."""
    head, _, rest = path.partition(".")
    if not rest:
        yield document, head
        return
    for child in children(document, head):
        yield from places(child, rest)


def children(document: Any, step: str) -> list[Any]:
    if step == "*":
        return list(document.values())
    return list(document[step.removesuffix("[]")]) if step.endswith("[]") else [document[step]]


def check(document: Any, schema: str) -> None:
    """DOCUMENT is as SCHEMA says, and would not be without any of the promised keys."""
    hold(document, schema)
    for path in PROMISED[schema].split():
        spoilt = copy.deepcopy(document)
        found = list(places(spoilt, path))
        assert found, f"{schema}: the document has no {path} to try"
        for table, key in found:
            del table[key]
        assert not validator(schema).is_valid(spoilt), f"{schema} takes a document without {path}"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with running_lab("--hosts", "3", "--legacy", dns="embedded") as one:
        yield one


def asked(lab: Lab, host: str, *command: str, status: int = 0) -> Any:
    """The one object on standard output, with nothing beside it."""
    done = lab.on(host, "vipnet", *command, "--json", check=False)
    assert (done.returncode, done.stderr) == (status, "")
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


def test_status_peers_and_moves(lab: Lab) -> None:
    assert lab.can_ping("a", "b.vipip.net")
    moved = json.loads(run(lab.command("move", "both")).stdout)
    check(moved, "lab-move")
    assert [move["host"] for move in moved["moves"]] == ["a", "b"]
    assert all(move["from"] != move["to"] for move in moved["moves"])
    wait_until(lambda: lab.can_ping("a", "b.vipip.net"), "a reaches b")

    status = asked(lab, "a", "status")
    check(status, "status")
    assert status["state"] == "ready"
    assert status["locators"] == ["10.201.2.10:5847"]
    check(asked(lab, "a", "peers"), "peers")
    for host in "ab":
        check(asked(lab, host, "moves"), "moves")
    last = asked(lab, "a", "moves")["moves"][-1]
    assert last["new"] == status["locators"]
    assert [line["name"] for line in last["partners"]] == ["b.vipip.net"]
    assert last["partners"][0]["outcome"] in ("acked", "dns")
    assert last["dns_ms"] > 0


def test_doctor(lab: Lab) -> None:
    report = asked(lab, "d", "doctor")
    check(report, "doctor")
    assert report["ok"]
    assert {verdict["state"] for verdict in report["checks"]} == {"ok", "skip"}


def test_resolve(lab: Lab) -> None:
    vip = asked(lab, "a", "resolve", "b.vipip.net")
    check(vip, "resolve")
    assert (vip["kind"], vip["address"]) == ("vip", lab.host("b")["token"])
    assert vip["problem"] is None
    by_token = asked(lab, "a", "resolve", vip["address"])
    assert (by_token["name"], by_token["locator"]) == ("b.vipip.net", f"{lab.host('b')['address']}:5847")

    legacy = asked(lab, "a", "resolve", "c.vipip.net")
    check(legacy, "resolve")
    assert (legacy["kind"], legacy["address"]) == ("legacy", "10.201.1.30")

    failed = asked(lab, "a", "resolve", "nobody.vipip.net", status=1)
    check(failed, "resolve")
    assert (failed["kind"], failed["address"]) == ("failed", None)


def test_lab_status(lab: Lab) -> None:
    lab.on("d", "vipnet", "down")
    done = run(lab.command("status", "--json"))
    assert (done.stderr, done.stdout.count("\n")) == ("", 1)
    status = json.loads(done.stdout)
    check(status, "lab-status")
    hosts = status["hosts"]
    assert set(hosts) == set("abcd")
    nulls = {host: {key for key, value in hosts[host].items() if value is None} for host in hosts}
    # d is a host with vipnet on which none runs; c has none.
    assert nulls == {
        "a": set(),
        "b": set(),
        "c": {"pid", "config", "state_dir", "token"},
        "d": {"pid", "token"},
    }
    assert len({host["netns"] for host in hosts.values()}) == len(hosts)


def test_no_daemon_no_json(lab: Lab) -> None:
    lab.on("d", "vipnet", "down")
    for command in (("status",), ("peers",), ("moves",), ("resolve", "a.vipip.net")):
        done = lab.on("d", "vipnet", *command, "--json", check=False)
        assert (done.returncode, done.stdout) == (4, "")
        assert done.stderr.startswith("vipnet: the daemon is not running")
        assert done.stderr.endswith("`vipnet up`\n")


def test_demo() -> None:
    need_root()
    done = run([*VIPNET, "demo", "--runs", "1", "--json"])
    assert done.stdout.count("\n") == 1
    check(json.loads(done.stdout), "demo")
