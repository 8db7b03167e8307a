"""Changes of the path that no event on the host tells of."""

from __future__ import annotations

import re
import subprocess

import pytest
from tests.lab.conftest import LabFactory
from tests.support import need_program, need_root

COUNT = 500  # 10 ms apart: 5 s, of which the change takes more than one


@pytest.mark.parametrize(
    ("before", "change"),
    [
        pytest.param((), ("--kind", "nat"), id="nat-forgets"),
        pytest.param((("--kind", "add"),), ("--kind", "blackhole", "--lan", "1"), id="one-of-two-lans-dies"),
    ],
)
def test_nothing_is_lost(
    new_lab: LabFactory, before: tuple[tuple[str, ...], ...], change: tuple[str, ...]
) -> None:
    """B speaks all along; a's place changes behind its back."""
    need_root()
    need_program("nft", "ping", "named")
    lab = new_lab()
    for options in before:
        lab.move("a", *options)
    assert lab.can_ping("b", "a.vipip.net")
    command = lab.command_on("b", "ping", "-q", "-c", str(COUNT), "-i", "0.01", "a.vipip.net")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as ping:
        at = {peer["name"]: peer["locator"] for peer in lab.ask("b", "peers")["peers"]}
        lab.move("a", *change)
        output, _ = ping.communicate(timeout=60)
    counts = re.search(r"(\d+) packets transmitted, (\d+) received(, \+\d+ duplicates)?", output)
    assert counts is not None, output
    assert counts.groups() == (str(COUNT), str(COUNT), None)
    moved = {peer["name"]: peer["locator"] for peer in lab.ask("b", "peers")["peers"]}
    assert moved["a.vipip.net"] != at["a.vipip.net"]
