"""Every byte of every packet is right, whatever its size: by tun0, the offloads and the seal, and back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.lab.labs import Lab, running_lab

SIZES = Path(__file__).parent / "apps" / "sizes.py"

# In a configuration as the lab writes it.
OFFLOADS_OFF = {"[tun]\n": "[tun]\noffloads = false\n", "[dns]\n": "[transport]\noffloads = false\n\n[dns]\n"}


@contextmanager
def serving(lab: Lab, host: str) -> Iterator[None]:
    command = lab.command_on(host, sys.executable, SIZES, "serve")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            assert server.stdout.readline() == "ready\n"
            yield
        finally:
            server.kill()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with running_lab(dns="embedded") as one:
        yield one


@pytest.mark.parametrize(
    ("number", "timeout_s"),
    [
        pytest.param(400, 60.0, id="short"),
        pytest.param(500_000, 3600.0, id="million", marks=pytest.mark.long),
    ],
)
def test_all_that_arrives_is_right(lab: Lab, number: int, timeout_s: float) -> None:
    """TCP, UDP with and without fragments, ICMP; sizes are log-uniform from 0 to 65,507 bytes."""
    with serving(lab, "b"):
        check(lab, number, timeout_s)
        for size in (0, 1, 15, 1392, 1393, 20_000, 65_507):
            said = lab.on("a", "ping", "-q", "-c", "2", "-i", "0.01", "-s", str(size), "b.vipip.net").stdout
            assert " 0% packet loss" in said


def test_one_end_without_offloads(lab: Lab) -> None:
    """B has neither virtio headers nor UDP_SEGMENT and UDP_GRO; a sends it trains and super-packets."""
    config = Path(lab.host("b")["config"])
    text = config.read_text()
    for old, new in OFFLOADS_OFF.items():
        assert old in text
        text = text.replace(old, new)
    config.write_text(text)
    lab.on("b", "vipnet", "down")
    lab.on("b", "vipnet", "up")
    nothing = {"tun": False, "udp_send": False, "udp_receive": False}
    assert lab.ask("b", "status")["offloads"] == nothing
    assert lab.ask("a", "status")["offloads"] == dict.fromkeys(nothing, True)
    with serving(lab, "b"):
        check(lab, 100, 60.0)


def check(lab: Lab, number: int, timeout_s: float) -> None:
    """Exchange NUMBER messages of a with b by each of TCP and UDP."""
    done = lab.on("a", sys.executable, SIZES, "check", "b.vipip.net", str(number), "1", timeout_s=timeout_s)
    counts = json.loads(done.stdout)
    assert counts["tcp"] == [number, number]
    sent, came_back = counts["udp"]
    assert came_back >= 0.9 * sent, "a datagram of 47 fragments may lose one, but not often"
    for host in ("a", "b"):
        counters = lab.ask(host, "status")["counters"]
        assert not counters.get("tun_refused")
        assert not any(name.startswith("dropped_") and value for name, value in counters.items())
