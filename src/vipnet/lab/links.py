"""The forwarder of a lab that was asked to be slow or lossy: start it, wait for it, stop it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from vipnet.errors import HostError
from vipnet.lab import processes
from vipnet.lab.forwarder import READY, Settings, Wire
from vipnet.lab.layout import LANS, ROUTER, Layout
from vipnet.lab.namespaces import enter_command
from vipnet.lab.topology import lans_are_up, port_name, wire_name

READY_S: Final = 10.0
_POLL_S: Final = 0.02
_RECORD: Final = "pid.json"


class LinkStatus(Struct, frozen=True):
    """In `lab status`: what was asked for, and where the lost packets are written down."""

    rtt_ms: float
    loss: float
    seed: int
    log: str


def start(layout: Layout) -> subprocess.Popen[bytes] | None:
    """Return when the wires carry frames: the program that does it, or None where they need no help.

    Raise HostError.
    """
    spec = layout.spec
    if not spec.impaired:
        return None
    directory = layout.link_directory
    directory.mkdir()
    wires = (
        Wire(host.label, lan, wire_name(host, lan), port_name(host, lan))
        for host in layout.hosts
        for lan in LANS
    )
    settings = Settings(
        tuple(wires), int(spec.rtt_ms / 2 * 1e6), spec.loss / 100, spec.seed, str(_log(layout))
    )
    file, output = directory / "settings.json", directory / "output.log"
    file.write_bytes(msgspec.json.encode(settings))
    _log(layout).touch()
    command = [sys.executable, "-P", "-m", "vipnet.lab.forwarder", str(file)]
    inside_router = enter_command(layout.netns(ROUTER), layout.etc(ROUTER), command)
    forwarder = processes.start(inside_router, output, directory / _RECORD)
    deadline = time.monotonic() + READY_S
    while processes.last_line(output) != READY or not lans_are_up(layout):
        if forwarder.poll() is not None:
            raise HostError(f"the lab's forwarder ended: {processes.last_line(output)}; see {output}")
        if time.monotonic() > deadline:
            raise HostError(f"the lab's forwarder is not ready within {READY_S:g} s: see {output}")
        time.sleep(_POLL_S)
    return forwarder


def stop(lab_directory: Path) -> None:
    """Stop the forwarder of a lab, if it runs; the lab may be half built."""
    process = processes.recorded(lab_directory / "link" / _RECORD)
    if process is not None:
        processes.stop(process)


def status(layout: Layout) -> LinkStatus | None:
    spec = layout.spec
    return LinkStatus(spec.rtt_ms, spec.loss, spec.seed, str(_log(layout))) if spec.impaired else None


def _log(layout: Layout) -> Path:
    return layout.link_directory / "drops.jsonl"
