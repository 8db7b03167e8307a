"""A real daemon as its operator sees it: status, metrics by socket and port, its log without secrets."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.app.machine import Machine, machine
from tests.support import need_program
from tests.test_observing import SAMPLES

PORT = 9847


def secret_file(one: Machine, name: str, content: bytes) -> tuple[Path, str]:
    """A file with CONTENT in base64, and that."""
    path, text = one.directory / name, base64.b64encode(content).decode()
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path, text


@pytest.fixture
def one() -> Iterator[Machine]:
    need_program("unshare")
    with machine() as made:
        yield made


def test_what_an_operator_sees(one: Machine) -> None:
    psk, psk_text = secret_file(one, "psk", b"the pre-shared key of this test.")
    peer_key = base64.b64encode(bytes(range(32))).decode()
    one.configure(
        f"""\
[metrics]
port = {PORT}
[[peer]]
name = "b.vipip.test"
key = "{peer_key}"
psk_file = "{psk}"
address = "192.0.2.1"
"""
    )
    up = one.vipnet("up", "--log-level", "debug", "--log-json")
    assert (up.status, up.err) == (0, "")
    status = one.vipnet("status")
    assert status.out.startswith("a.vipip.test  ready")
    assert "b.vipip.test" in status.out

    text = one.vipnet("metrics").out
    names = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    assert names <= SAMPLES
    assert 'vipnet_peer_connected{peer="b.vipip.test"} 0.0' in text
    assert 'vipnet_publish_updates_total{outcome="ok"} 0.0' in text

    def scrape() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=10) as reply:
            said: bytes = reply.read()
        return said.decode()

    by_port = one.space.call(scrape)
    assert "vipnet_locators 1.0\n" in by_port
    assert 'vipnet_state{state="ready"} 1.0\n' in by_port
    assert one.vipnet("down").status == 0

    lines = [json.loads(line) for line in (one.run / "vipnet.log").read_text().splitlines()]
    events = {line["event"] for line in lines}
    assert {"daemon.started", "move.begun", "daemon.stopping"} <= events
    log = json.dumps(lines)
    private = one.key.read_text().strip()
    for secret in (private, psk_text):
        for form in (secret, base64.b64decode(secret).hex(), repr(base64.b64decode(secret))[2:-1]):
            assert form not in log
            assert form not in text
            assert form not in status.out
