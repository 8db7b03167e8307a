"""A kernel, or a user, without offloads: the same bytes arrive, slower."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.lab.labs import running_lab
from tests.lab.test_sizes import SIZES, serving

_OFF = {"[tun]\n": "[tun]\noffloads = false\n", "[dns]\n": "[transport]\noffloads = false\n\n[dns]\n"}


def test_one_end_without_offloads() -> None:
    """B has neither virtio headers nor UDP_SEGMENT and UDP_GRO; a sends it trains and super-packets."""
    with running_lab(dns="embedded") as lab:
        config = Path(lab.host("b")["config"])
        text = config.read_text()
        for old, new in _OFF.items():
            assert old in text
            text = text.replace(old, new)
        config.write_text(text)
        lab.on("b", "vipnet", "down")
        lab.on("b", "vipnet", "up")
        nothing = {"tun": False, "udp_send": False, "udp_receive": False}
        assert lab.ask("b", "status")["offloads"] == nothing
        assert lab.ask("a", "status")["offloads"] == dict.fromkeys(nothing, True)
        with serving(lab, "b"):
            done = lab.on("a", sys.executable, SIZES, "check", "b.vipip.net", "100", "2")
        counts = json.loads(done.stdout)
        assert counts["tcp"] == [100, 100]
        sent, came_back = counts["udp"]
        assert came_back >= 0.9 * sent
        for host in ("a", "b"):
            counters = lab.ask(host, "status")["counters"]
            assert not counters.get("tun_refused")
            assert not any(name.startswith("dropped_") and value for name, value in counters.items())
