"""Namespaces, LANs and NICs of a lab without anything running in them; always taken away again."""

from __future__ import annotations

import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import need_program, need_root

from vipnet.lab import links, topology
from vipnet.lab.layout import ROUTER, LabSpec, Layout, plan


@contextmanager
def wires(
    *, hosts: int = 2, ipv6: bool = False, rtt_ms: float = 0.0, loss: float = 0.0, seed: int = 0
) -> Iterator[Layout]:
    need_root()
    need_program("ip")
    spec = LabSpec(
        name=f"w-{secrets.token_hex(4)}", hosts=hosts, ipv6=ipv6, rtt_ms=rtt_ms, loss=loss, seed=seed
    )
    with tempfile.TemporaryDirectory() as root:
        layout = plan(spec, Path(root))
        layout.etc(ROUTER).mkdir(parents=True)  # only a program that is a wire needs files
        forwarder = None
        try:
            topology.build(layout)
            forwarder = links.start(layout)
            yield layout
        finally:
            links.stop(layout.directory)
            if forwarder is not None:
                forwarder.wait(10)
            topology.demolish(layout.name)


def inside(layout: Layout, label: str, *command: str, check: bool = True) -> str:
    """What COMMAND prints on a host; raise CalledProcessError when it fails and `check` is set."""
    return subprocess.run(
        ["ip", "netns", "exec", layout.netns(label), *command],
        capture_output=True,
        text=True,
        timeout=20,
        check=check,
    ).stdout


def reaches(layout: Layout, label: str, address: str) -> bool:
    command = ["ip", "netns", "exec", layout.netns(label), "ping", "-c", "1", "-W", "1", address]
    return subprocess.run(command, capture_output=True, timeout=20).returncode == 0
