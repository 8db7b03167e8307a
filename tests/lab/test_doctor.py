"""Faults planted one at a time: the doctor names the true cause of each, and nothing else.

The table in docs/testing.md is that of UP, DOWN and LONG here; tests/app/doctor has the verdicts
that no lab can plant.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.lab.labs import Lab, running_lab
from tests.support import need_program

PATIENT = Path(__file__).parent / "apps" / "patient.py"
DOCS = Path(__file__).parents[2] / "docs/testing.md"


class Fault(NamedTuple):
    """PLANT and MEND are shell scripts on the host; $CONFIG, $STATE, $KEY, $TSIG are its files."""

    name: str
    plant: str
    mend: str
    check: str
    state: str
    words: str
    clock_s: float = 0.0


FILTER = "nft add table inet t; nft add chain inet t c '{{ type filter hook {} priority 0; {} }}'"
NO_FILTER = "nft delete table inet t"
UP = (
    Fault(
        "the UDP port is closed by a rule",
        FILTER.format("input", "") + "; nft add rule inet t c udp dport 5847 drop",
        NO_FILTER,
        "firewall-udp",
        "fail",
        'chain c: "udp dport 5847 drop"',
    ),
    Fault(
        "240.0.0.0/4 is in a set of bogons",
        FILTER.format("prerouting", "")
        + "; nft add set inet t bogons '{ type ipv4_addr; flags interval; elements = { 240.0.0.0/4 }; }'"
        + "; nft add rule inet t c ip saddr @bogons drop",
        NO_FILTER,
        "firewall-tokens",
        "fail",
        'chain c: "ip saddr @bogons drop"',
    ),
    Fault(
        "no default route",
        "ip route del default",
        "ip route add default via 10.201.1.1",
        "default-route",
        "warn",
        "there is none",
    ),
    Fault(
        "strict reverse path filter, two networks",
        "sysctl -qw net.ipv4.conf.eth1.rp_filter=1; ip addr add 10.201.2.10/24 dev eth1; ip link set eth1 up",
        "ip link set eth1 down; ip addr flush dev eth1; sysctl -qw net.ipv4.conf.eth1.rp_filter=0",
        "rp-filter",
        "fail",
        "strict on eth1",
    ),
    Fault(
        "/etc/hosts has this host's own name",
        "cp /etc/hosts $STATE/hosts; echo '127.0.1.1 a.vipip.net a' >> /etc/hosts",
        "cat $STATE/hosts > /etc/hosts",
        "own-name",
        "warn",
        "/etc/hosts says 127.0.1.1 for a.vipip.net",
    ),
    Fault(
        "the clock is ten minutes ahead",
        "true",
        "true",
        "clock",
        "fail",
        "10 minutes ahead of the clock of 10.201.1.1:53",
        clock_s=600.0,
    ),
)
DOWN = (
    Fault(
        "wrong TSIG secret",
        "cp $TSIG $STATE/tsig; echo AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= > $TSIG",
        "cat $STATE/tsig > $TSIG",
        "publish",
        "fail",
        "BADSIG",
    ),
    Fault(
        "a route lies in the subnet",
        "ip route add 250.0.0.0/8 via 10.201.1.1",
        "ip route del 250.0.0.0/8",
        "subnet",
        "fail",
        "240.0.0.0/4 overlaps 250.0.0.0/8 dev eth0",
    ),
    Fault(
        "the state directory is read-only",
        "mount -t tmpfs -o ro none $STATE",
        "umount $STATE",
        "state",
        "fail",
        "Read-only file system",
    ),
    Fault(
        "the key may be read by everybody",
        "chmod 644 $KEY",
        "chmod 600 $KEY",
        "secrets",
        "fail",
        "mode 0644",
    ),
    Fault(
        "somebody else's tun0",
        "ip tuntap add mode tun name tun0; ip link set tun0 up",
        "ip link del tun0",
        "interface",
        "fail",
        "tun0 exists, and no daemon runs",
    ),
    Fault(
        "a killed daemon left resolv.conf",
        "cp /etc/resolv.conf $STATE/resolv; echo 'nameserver 127.0.0.47' > /etc/resolv.conf",
        "cat $STATE/resolv > /etc/resolv.conf",
        "resolver",
        "fail",
        "names 127.0.0.47, and no daemon runs",
    ),
)


class Patient:
    """A host with faults; close() ends it."""

    def __init__(self, lab: Lab, host: str) -> None:
        config = Path(lab.host(host)["config"])
        found = dict(re.findall(r'^(\w+) = "(.*)"$', config.read_text(), re.MULTILINE))
        files = {"state_dir": "STATE", "key_file": "KEY", "key_secret_file": "TSIG"}
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
    assert faults_in(checks) <= {fault.check}, (fault.name, checks)
    host.look(fault.mend)


def test_the_table_in_the_documents_is_this_one() -> None:
    rows = re.findall(r"^\| (.+?) \| `([a-z-]+)` (fail|warn) \|$", DOCS.read_text(), re.MULTILINE)
    assert rows == [(fault.name, fault.check, fault.state) for fault in (*UP, *DOWN)]


def test_each_fault_is_named() -> None:
    need_program("nft", "sysctl")
    with running_lab(dns="embedded") as lab, patient(lab, "a") as host:
        healthy = host.look()
        assert faults_in(healthy) == set(), healthy
        for fault in UP:
            check_fault(host, fault, healthy)
        healthy = host.look("vipnet down")
        assert faults_in(healthy) == set(), healthy
        for fault in DOWN:
            check_fault(host, fault, healthy)
