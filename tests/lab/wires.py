"""Namespaces, LANs and NICs of a lab without anything running in them; always taken away again."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import need_program, need_root

from vipnet.lab import topology
from vipnet.lab.layout import LabSpec, Layout, plan


@contextmanager
def wires(*, hosts: int = 2, ipv6: bool = False) -> Iterator[Layout]:
    need_root()
    need_program("ip")
    spec = LabSpec(name=f"w-{secrets.token_hex(4)}", hosts=hosts, ipv6=ipv6)
    layout = plan(spec, Path("/nowhere"))  # wires need no files
    try:
        topology.build(layout)
        yield layout
    finally:
        topology.demolish(layout.name)


def inside(layout: Layout, label: str, *command: str) -> str:
    """What COMMAND prints on a host; raise CalledProcessError when it fails."""
    return subprocess.run(
        ["ip", "netns", "exec", layout.netns(label), *command],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    ).stdout


def reaches(layout: Layout, label: str, address: str) -> bool:
    command = ["ip", "netns", "exec", layout.netns(label), "ping", "-c", "1", "-W", "1", address]
    return subprocess.run(command, capture_output=True, timeout=20).returncode == 0
