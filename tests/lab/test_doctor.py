"""Faults planted one at a time: the doctor names the true cause of each, and nothing else.

The faults are in faults.py; tests/app/doctor has the verdicts that no lab can plant.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.lab.faults import DOWN, LONG_DOWN, LONG_UP, PARTNER, UP, Fault
from tests.lab.labs import Lab, running_lab
from tests.support import need_program

PATIENT = Path(__file__).parent / "apps" / "patient.py"
DOCS = Path(__file__).parents[2] / "docs/testing.md"
Checks = dict[str, dict[str, Any]]


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

    def look(self, script: str = "true", clock_s: float = 0.0) -> Checks:
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


def faults_in(checks: Checks) -> set[str]:
    return {name for name, check in checks.items() if check["state"] == "fail"}


def check_fault(hosts: dict[str, Patient], fault: Fault, healthy: Checks) -> None:
    if fault.host != "a":
        hosts[fault.host].look(fault.plant)
    checks = hosts["a"].look(fault.plant if fault.host == "a" else "true", fault.clock_s)
    verdict = checks[fault.check]
    assert verdict["state"] == fault.state, (fault.name, verdict)
    assert fault.words in verdict["found"], (fault.name, verdict)
    before = healthy[fault.check]
    assert before["state"] != fault.state or fault.words not in before["found"], "it was so before"
    if fault.state != "ok":
        assert verdict["meaning"]
        assert verdict["fix"]
    assert faults_in(checks) <= {fault.check, *fault.also}, (fault.name, checks)
    hosts[fault.host].look(fault.mend)


def test_the_table_in_the_documents_is_this_one() -> None:
    rows = re.findall(r"^\| (.+?) \| `([a-z-]+)` (fail|warn|ok) \|$", DOCS.read_text(), re.MULTILINE)
    faults = (*UP, *LONG_UP, *DOWN, *LONG_DOWN, *PARTNER)
    assert rows == [(fault.name, fault.check, fault.state) for fault in faults]


def check_faults(up: tuple[Fault, ...], down: tuple[Fault, ...]) -> None:
    with running_lab(dns="embedded") as lab, patient(lab, "a") as host:
        healthy = host.look()
        assert faults_in(healthy) == set(), healthy
        for fault in up:
            check_fault({"a": host}, fault, healthy)
        healthy = host.look("vipnet down")
        assert faults_in(healthy) == set(), healthy
        for fault in down:
            check_fault({"a": host}, fault, healthy)
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
    with running_lab(dns="embedded") as lab, patient(lab, "a") as a, patient(lab, "b") as b:
        healthy = a.look("ping -c 1 -W 5 b.vipip.net")
        assert re.match(r"b\.vipip\.net: [\d.]+ ms", healthy["partners"]["found"])
        for fault in PARTNER:
            check_fault({"a": a, "b": b}, fault, healthy)
