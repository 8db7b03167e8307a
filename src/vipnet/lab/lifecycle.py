"""A lab from `up` to `down`, and what `status` says in between."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

import msgspec
from msgspec import Struct

from vipnet.errors import ConfigError, HostError, VipnetError
from vipnet.lab import hosts, links, nameserver, namespaces, processes, topology
from vipnet.lab.hosts import HostStatus
from vipnet.lab.layout import DNS_ADDRESS, ZONE, LabHost, LabSpec, Layout, labs_directory, plan
from vipnet.lab.links import LinkStatus
from vipnet.lab.nameserver import log_file

_FILE = "lab.json"


class _Saved(Struct, frozen=True):
    spec: LabSpec
    hosts: tuple[LabHost, ...]


class DnsStatus(Struct, frozen=True):
    kind: str
    address: str
    zone: str
    log: str


class LabStatus(Struct, frozen=True):
    """`lab status --json`; the keys of `hosts` are labels; link None: sound wires."""

    name: str
    hosts: dict[str, HostStatus]
    dns: DnsStatus
    link: LinkStatus | None


def up(spec: LabSpec) -> Layout:
    """Build the lab and start all in it; it is whole when this returns, or gone when this raises.

    Raise ConfigError for a lab that cannot be, HostError when the machine refuses, and
    a daemon's own reason when that does not start.
    """
    layout = plan(spec, labs_directory())
    topology.need_ip()
    _claim(layout.directory)
    with interrupts_raise():
        try:
            saved = _Saved(layout.spec, layout.hosts)
            (layout.directory / _FILE).write_bytes(msgspec.json.encode(saved))
            hosts.write_files(layout)
            topology.build(layout)
            links.start(layout)
            nameserver.start(layout)
            if spec.daemons:
                hosts.start_daemons(layout)
        except BaseException:
            down(spec.name)
            raise
    return layout


def _claim(directory: Path) -> None:
    """Make the lab's directory: who makes it owns the name."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=0o755)
    except FileExistsError:
        name = directory.name
        raise HostError(
            f"lab {name} is up already: `vipnet lab down --name {name}`, or another --name"
        ) from None
    except OSError as error:
        raise HostError(f"{directory}: {error.strerror}: the lab needs root") from None


@contextlib.contextmanager
def interrupts_raise() -> Iterator[None]:
    """SIGTERM and SIGHUP as SystemExit, so that what has been built is taken down again.

    In a thread nothing: signals are the main thread's.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, _frame: FrameType | None) -> NoReturn:
        for other in signals:
            signal.signal(other, signal.SIG_IGN)  # taking down is not to be interrupted
        raise SystemExit(128 + number)

    signals = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def load(name: str) -> Layout:
    """Return the lab that is up under NAME. Raise HostError when there is none."""
    root = labs_directory()
    try:
        saved = msgspec.json.decode((root / name / _FILE).read_bytes(), type=_Saved)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        raise HostError(f"lab {name} is not up: `vipnet lab up --name {name}`") from None
    return Layout(saved.spec, saved.hosts, root)


def down(name: str) -> None:
    """Stop what the lab has started and remove all of it; no lab is no error."""
    directory = labs_directory() / name
    if os.sep in name or name in ("", ".", ".."):
        raise ConfigError(f"--name {name!r} is not a lab's name: must be a-z, 0-9 and '-'")
    with contextlib.suppress(VipnetError):
        hosts.stop_daemons(load(name))
    # What hangs, and what an interrupted `up` has only just started.
    for config in directory.glob("*/config.toml"):
        processes.stop(*processes.with_arguments(("run", "--config", str(config))))
    nameserver.stop(directory)
    links.stop(directory)
    # What `lab exec` has started there would live on in namespaces without a name.
    there = [namespaces.NETNS_DIRECTORY / netns for netns in topology.lab_namespaces(name)]
    processes.stop(*processes.in_namespaces(there))
    topology.demolish(name)
    shutil.rmtree(directory, ignore_errors=True)


def status(layout: Layout) -> LabStatus:
    return LabStatus(
        layout.name,
        {host.label: hosts.host_status(layout, host) for host in layout.hosts},
        DnsStatus(layout.spec.dns, DNS_ADDRESS, ZONE, str(log_file(layout))),
        links.status(layout),
    )
