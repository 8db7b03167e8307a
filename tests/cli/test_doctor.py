"""`vipnet doctor`: text, JSON, exit status; what it finds is tried elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.support import vipnet
from tests.schema import hold

from vipnet.app.doctor import examine

REPORT: dict[str, Any] = {
    "ok": False,
    "checks": [
        {"id": "kernel", "state": "ok", "found": "Linux 6.1.0", "meaning": None, "fix": None},
        {
            "id": "firewall-udp",
            "state": "fail",
            "found": 'UDP to port 5847 is dropped: table inet t, chain c: "udp dport 5847 drop"',
            "meaning": "Partners cannot begin: only answers to what this host sends come in.",
            "fix": "nft insert rule inet t c handle 7 udp dport 5847 accept",
        },
        {"id": "clock", "state": "warn", "found": "90 s behind", "meaning": "It will fail.", "fix": "x"},
        {"id": "firewalld", "state": "skip", "found": "does not run", "meaning": None, "fix": None},
    ],
}


def test_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examine, "examine", lambda _path: REPORT)
    done = vipnet("doctor")
    assert (done.status, done.err) == (1, "")
    assert done.out.splitlines() == [
        "ok       kernel            Linux 6.1.0",
        "FAULT    firewall-udp      UDP to port 5847 is dropped: table inet t, chain c:",
        '                           "udp dport 5847 drop"',
        "                           Partners cannot begin: only answers to what this host",
        "                           sends come in.",
        "                           mend: nft insert rule inet t c handle 7 udp dport 5847 accept",
        "warning  clock             90 s behind",
        "                           It will fail.",
        "                           mend: x",
        "-        firewalld         does not run",
        "",
        "1 fault, 1 warning.",
    ]


def test_the_json_is_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examine, "examine", lambda _path: REPORT)
    done = vipnet("doctor", "--json")
    assert done.status == 1
    assert json.loads(done.out) == REPORT
    hold(REPORT, "doctor")


def test_warnings_alone_are_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    report = {"ok": True, "checks": REPORT["checks"][:1]}
    monkeypatch.setattr(examine, "examine", lambda _path: report)
    done = vipnet("doctor")
    assert (done.status, done.out.splitlines()[-1]) == (0, "Nothing is wrong.")


def test_it_works_without_a_configuration(tmp_path: Path) -> None:
    done = vipnet("doctor", "--json", "--config", tmp_path / "none.toml")
    assert (done.status, done.err) == (1, "")
    report = json.loads(done.out)
    hold(report, "doctor")
    found = {check["id"]: check for check in report["checks"]}
    assert found["config"]["state"] == "fail"
    assert "`vipnet init NAME`" in found["config"]["found"]
    assert found["kernel"]["state"] == "ok"
