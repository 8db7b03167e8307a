"""Faults planted one at a time: the doctor names the true cause of each, and nothing else.

The faults are in faults.py; tests/app/doctor has the verdicts that no lab can plant.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.lab.faults import DOWN, LONG_DOWN, LONG_UP, UP, Fault
from tests.lab.labs import Lab, running_lab
from tests.support import need_program

PATIENT = Path(__file__).parent / "apps" / "patient.py"
DOCS = Path(__file__).parents[2] / "docs/testing.md"


class Patient:
    """A host with faults; close() ends it."""

    def __init__(self, lab: Lab, host: str) -> None:
        config = Path(lab.host(host)["config"])
        found = dict(re.findall(r'^(\w+) = "(.*)"$', config.read_text(), re.MULTILINE))
        files = {"state_dir": "STATE", "run_dir": "RUN", "key_file": "KEY", "key_secret_file": "TSIG"}
        self._words = {name: found[key] for key, name in files.items()} | {"CONFIG": str(config)}
        self._process = subprocess.Popen(
            lab.command_on(host, sys.executable, "-P", PATIENT),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def look(self, script: str = "true", clock_s: float = 0.0) -> dict[str, dict[str, Any]]:
        """Run SCRIPT on the host and have it examined: verdicts by check."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for name, value in self._words.items():
            script = script.replace(f"${name}", value)
        self._process.stdin.write(json.dumps({"script": script, "clock_s": clock_s}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        checks = {check["id"]: check for check in answer["checks"]}
        assert answer["ok"] is not any(check["state"] == "fail" for check in checks.values())
        return checks

    def close(self) -> None:
        with self._process:  # which waits for the end
            assert self._process.stdin is not None
            self._process.stdin.close()


@contextmanager
def patient(lab: Lab, host: str) -> Iterator[Patient]:
    one = Patient(lab, host)
    try:
        yield one
    finally:
        one.close()


def faults_in(checks: dict[str, dict[str, Any]]) -> set[str]:
    return {name for name, check in checks.items() if check["state"] == "fail"}


def check_fault(host: Patient, fault: Fault, healthy: dict[str, dict[str, Any]]) -> None:
    checks = host.look(fault.plant, fault.clock_s)
    verdict = checks[fault.check]
    assert verdict["state"] == fault.state, (fault.name, verdict)
    assert fault.words in verdict["found"], (fault.name, verdict)
    assert verdict["meaning"]
    assert verdict["fix"]
    assert healthy[fault.check]["state"] != fault.state, "it was so before"
    assert faults_in(checks) <= {fault.check, *fault.also}, (fault.name, checks)
    host.look(fault.mend)


def test_the_table_in_the_documents_is_this_one() -> None:
    rows = re.findall(r"^\| (.+?) \| `([a-z-]+)` (fail|warn) \|$", DOCS.read_text(), re.MULTILINE)
    assert rows == [(fault.name, fault.check, fault.state) for fault in (*UP, *LONG_UP, *DOWN, *LONG_DOWN)]


def check_faults(up: tuple[Fault, ...], down: tuple[Fault, ...]) -> None:
    with running_lab(dns="embedded") as lab, patient(lab, "a") as host:
        healthy = host.look()
        assert faults_in(healthy) == set(), healthy
        for fault in up:
            check_fault(host, fault, healthy)
        healthy = host.look("vipnet down")
        assert faults_in(healthy) == set(), healthy
        for fault in down:
            check_fault(host, fault, healthy)
        assert faults_in(host.look()) == set(), "all is mended"


def test_each_fault_is_named() -> None:
    need_program("nft", "sysctl")
    check_faults(UP, DOWN)


@pytest.mark.long
def test_more_faults_are_named() -> None:
    need_program("nft", "sysctl", "socat", "dnsmasq", "ping")
    check_faults(LONG_UP, LONG_DOWN)


@pytest.mark.long
def test_what_is_wrong_with_partners() -> None:
    """B goes away; then somebody comes back under its name with another key."""
    with running_lab(dns="embedded") as lab, patient(lab, "a") as host:
        assert lab.can_ping("a", "b.vipip.net")
        well = host.look()["partners"]
        assert well["state"] == "ok"
        assert re.match(r"b\.vipip\.net: [\d.]+ ms", well["found"])
        lab.on("b", "vipnet", "down")
        gone = host.look()["partners"]
        assert gone["state"] == "warn"
        silence = r"b\.vipip\.net: no answer from 10\.201\.2\.20:5847, last heard \d+ s ago"
        assert re.match(silence, gone["found"])
        assert "vipnet resolve b.vipip.net" in gone["fix"]
        found = lab.host("b")
        config = Path(found["config"]).read_text()
        key = re.search(r'^key_file = "(.*)"$', config, re.MULTILINE)
        assert key is not None
        Path(key[1]).write_text(base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
        lab.on("b", "rm", "-rf", found["state_dir"])
        lab.on("b", "vipnet", "up")
        assert not lab.can_ping("b", "a.vipip.net")
        trust = host.look()["trust"]
        assert trust["state"] == "warn"
        assert "with another key" in trust["found"]
