"""bench/peers.py: one turn works, is told as documented, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.schema import hold
from tests.support import need_module, need_program, need_root

need_module("scipy", "matplotlib")

from bench import peers  # noqa: E402 - scipy has to be there


@pytest.mark.stack
def test_a_look_at_vipnet_and_a_peer(tmp_path: Path) -> None:
    need_root()
    need_program("ip", "named", "nsupdate", "tincd")
    file, plot = tmp_path / "peers.json", tmp_path / "peers.svg"
    command = [sys.executable, str(peers.__file__), "--quick", "--cap", "3", "--cases", "udp-two-sided"]
    command += ["--only", "vipnet", "--only", "tinc", "--json", str(file), "--plot", str(plot)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        output, progress = process.communicate(timeout=150)
    assert process.returncode == 0, progress
    document = json.loads(file.read_bytes())
    hold(document, "bench-peers")
    ours, theirs = document["cells"]
    assert (ours["variant"], theirs["variant"]) == ("vipnet", "tinc")
    assert (ours["recovered"], ours["lost"]["median"]) == (1, 0)
    assert theirs["recovered"] == 0  # tinc looks for the other after a minute of silence
    assert theirs["vipnet_is"] == "ahead"
    assert "two-sided UDP" in output
    assert "<svg" in plot.read_text()
    assert not [*Path("/run/netns").glob(f"vipnet-peers-{process.pid}-*")]
    assert not [*Path("/run/vipnet-lab").glob(f"peers-{process.pid}-*")]
