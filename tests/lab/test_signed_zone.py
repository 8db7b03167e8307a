"""A zone that BIND signs as it changes: keys are validated, and followed without a question."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest
from tests.lab.conftest import LabFactory
from tests.lab.labs import Lab, run, wait_until
from tests.lab.test_dns_trouble import dig
from tests.lab.test_rotation import described
from tests.support import need_program

from vipnet.lab.layout import ZONE

_SIGN = f"""
    dnssec-policy default;
    inline-signing yes;
    file "{{directory}}/{ZONE}.zone";"""


def sign_zone(lab: Lab) -> str:
    """Have the running BIND sign the zone; return its keys as trust anchors."""
    (pid,) = [
        int(pid)
        for pid in run(["ip", "netns", "pids", f"vipnet-{lab.name}-r"]).stdout.split()
        if "named" in Path(f"/proc/{pid}/cmdline").read_text()
    ]
    config = Path(Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")[-1])
    text = config.read_text()
    signed = re.sub(r'\n    file "[^"]*";', _SIGN.format(directory=config.parent), text, count=1)
    assert signed != text
    config.write_text(signed)
    os.kill(pid, signal.SIGHUP)
    wait_until(lambda: "257" in dig(lab, ZONE, "DNSKEY"), "the zone has keys")
    wait_until(lambda: "TXT" in dig(lab, f"_vip.b.{ZONE}", "RRSIG"), "its records are signed")
    keys = dig(lab, ZONE, "DNSKEY").splitlines()
    return "".join(f"{ZONE}. IN DNSKEY {key}\n" for key in keys)


def trust_zone(lab: Lab, host: str, anchors: str) -> None:
    """Start HOST anew, with nothing in its store, and strict about the zone."""
    found = lab.host(host)
    config = Path(found["config"])
    file = config.with_name("anchors")
    file.write_text(anchors)
    text, strict = config.read_text(), f'[dns]\ndnssec = "yes"\ntrust_anchors = "{file}"\n'
    assert "[dns]\n" in text
    if strict not in text:
        config.write_text(text.replace("[dns]\n", strict))
    lab.on(host, "vipnet", "down")
    for path in Path(found["state_dir"]).glob("state.db*"):
        path.unlink()
    lab.on(host, "vipnet", "up")


@pytest.mark.stack
def test_keys_of_a_signed_zone(new_lab: LabFactory) -> None:
    need_program("dnssec-keygen")
    lab = new_lab()
    anchors = sign_zone(lab)
    trust_zone(lab, "a", anchors)
    resolved = lab.ask("a", "resolve", f"b.{ZONE}")
    assert resolved["kind"] == "vip"
    assert "validated by DNSSEC" in next(
        step["detail"] for step in resolved["steps"] if step["id"] == "dns_vip"
    )
    assert described(lab, "a", "b")["trust"] == "dnssec"
    assert lab.can_ping("a", f"b.{ZONE}")

    # Nobody is told: what DNS says, signed, is enough.
    lab.on("b", "vipnet", "key", "rotate", "--forget-old", "--yes")
    new = lab.ask("b", "key", "show")["fingerprint"]
    assert described(lab, "a", "b")["fingerprint"] != new
    lab.on("b", "vipnet", "down")
    lab.on("b", "vipnet", "up")
    wait_until(lambda: described(lab, "a", "b")["fingerprint"] == new, "a takes b's new key")
    wait_until(lambda: lab.can_ping("b", f"a.{ZONE}"), "they speak")
    known = described(lab, "a", "b")
    assert (known["fingerprint"], known["trust"]) == (new, "dnssec")

    # An anchor that is not the zone's: nothing of it is believed, and nothing is reached in clear.
    forged = re.sub(r"\S+\n$", "A" * 86 + "==\n", anchors)
    trust_zone(lab, "a", forged)
    refused = json.loads(lab.on("a", "vipnet", "resolve", f"b.{ZONE}", "--json", check=False).stdout)
    assert (refused["kind"], refused["address"]) == ("failed", None)
    assert "DNSSEC" in refused["problem"]
    assert lab.ask("a", "trust", "list")["peers"] == []
