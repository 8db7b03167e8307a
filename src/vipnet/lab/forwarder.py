"""The wires of a lab whose network is slow and loses packets: a program between hosts and LANs.

    python -m vipnet.lab.forwarder SETTINGS.json

A wire is two TAP interfaces: one is what the host's NIC stands on, the other is the
LAN's port. What the host sends passes an Impairment; what it gets, comes as it is: on
every way from one host to another there is one impairment, also inside a LAN, also
with IPv6. Says `ready` when all wires are there. What gets lost is a line of JSON in the log.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec
from msgspec import Struct

from vipnet.lab.impairment import Impairment, describe, is_impaired

_DEVICE: Final = "/dev/net/tun"
_TUNSETIFF: Final = 0x4004_54CA  # linux/if_tun.h
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
READY: Final = "ready"
_FRAME_MAX: Final = 65_549  # bytes
_READS_MAX: Final = 64  # frames of one wire before the others have their turn


class Wire(Struct, frozen=True):
    """Names of the two interfaces between a host's NIC and its LAN."""

    host: str
    lan: int
    nic: str
    port: str


class Settings(Struct, frozen=True):
    """`loss` is a share of the packets; `log` a file."""

    wires: tuple[Wire, ...]
    delay_ns: int
    loss: float
    seed: int
    log: str


class Forwarder:
    """One thread, one select; every frame twice through here: from the NIC's end, and from the port's."""

    def __init__(self, settings: Settings, log: BinaryIO) -> None:
        self._wires, self._log = settings.wires, log
        self._impairment = Impairment(settings.delay_ns, settings.loss, settings.seed)
        self._nics = [_open_tap(wire.nic) for wire in settings.wires]
        self._ports = [_open_tap(wire.port) for wire in settings.wires]
        self._from_nic = {nic: number for number, nic in enumerate(self._nics)}
        self._from_port = dict(zip(self._ports, self._nics, strict=True))

    def run(self) -> None:
        waiting = [*self._nics, *self._ports]
        while True:
            due_ns = self._impairment.next_due_ns
            timeout_s = None if due_ns is None else max(0, due_ns - time.monotonic_ns()) / 1e9
            # Not epoll: its time-outs are whole milliseconds.
            ready, _, _ = select.select(waiting, [], [], timeout_s)
            for tap in ready:
                if tap in self._from_nic:
                    self._take_from_nic(tap, self._from_nic[tap])
                else:
                    self._pass_to_nic(tap, self._from_port[tap])
            for number, frame in self._impairment.take_due(time.monotonic_ns()):
                self._pass_to_port(frame, number)
            self._log.flush()

    def _take_from_nic(self, tap: int, number: int) -> None:
        now_ns = time.monotonic_ns()
        for frame in _frames(tap):
            if not is_impaired(frame):
                self._pass_to_port(frame, number)
            elif not self._impairment.handle_frame(frame, number, now_ns):
                self._note(frame, number, "loss")

    def _pass_to_port(self, frame: bytes, number: int) -> None:
        if not _write(self._ports[number], frame):
            self._note(frame, number, "refused")

    def _pass_to_nic(self, tap: int, nic: int) -> None:
        for frame in _frames(tap):
            _write(nic, frame)  # a NIC that is down takes nothing, here as elsewhere

    def _note(self, frame: bytes, number: int, cause: Literal["loss", "refused"]) -> None:
        wire = self._wires[number]
        drop = describe(frame, wire.host, wire.lan, cause, time.monotonic_ns())
        self._log.write(msgspec.json.encode(drop) + b"\n")


def _open_tap(name: str) -> int:
    """Take hold of an interface that is there; without us it has no carrier."""
    tap = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return tap


def _frames(tap: int) -> Iterator[bytes]:
    for _ in range(_READS_MAX):
        try:
            yield os.read(tap, _FRAME_MAX)
        except BlockingIOError:
            return


def _write(tap: int, frame: bytes) -> bool:
    try:
        os.write(tap, frame)
    except OSError:
        return False
    return True


def _go_first() -> None:
    """A network does not wait for its turn: run before everything else, where that is allowed."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def main() -> None:
    settings = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Settings)
    with Path(settings.log).open("ab") as log:
        forwarder = Forwarder(settings, log)
        print(READY, flush=True)
        _go_first()
        forwarder.run()


if __name__ == "__main__":
    main()
