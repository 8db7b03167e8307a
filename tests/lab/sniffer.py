"""What tcpdump sees on the lab's LANs or on a host's tun0, for tests that look for what must not be there."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final, Self

import dpkt
from msgspec import Struct
from tests.lab.labs import COMMAND_S, Lab, wait_until
from tests.support import need_program

from vipnet.lab.namespaces import inside

LANS: Final = (("r", "lan1"), ("r", "lan2"))
TUN: Final = "tun0"
VIPNET_PORT: Final = 5847
ICMP, TCP, UDP = 1, 6, 17
_EXPERIMENT: Final = b"\x88\xb5"  # an ethertype that nobody uses (IEEE 802, local experimental)


class Packet(Struct, frozen=True):
    """An IPv4 packet on an interface; ports are 0 where it has none."""

    interface: str
    source: IPv4Address
    destination: IPv4Address
    protocol: int
    source_port: int
    destination_port: int
    payload: bytes

    @property
    def ends(self) -> frozenset[str]:
        return frozenset((str(self.source), str(self.destination)))

    @property
    def ports(self) -> set[int]:
        return {self.source_port, self.destination_port}


class Frame(Struct, frozen=True):
    """What was on an interface, whatever it is; `packet` is None for what is not IPv4."""

    interface: str
    raw: bytes
    packet: Packet | None


class Capture(Struct):
    """Frames in the order of each interface; there are none before the capture has ended."""

    frames: list[Frame] = []

    @property
    def packets(self) -> list[Packet]:
        return [frame.packet for frame in self.frames if frame.packet is not None]

    def holding(self, text: bytes) -> list[Frame]:
        """The frames with TEXT somewhere in their bytes."""
        return [frame for frame in self.frames if text in frame.raw]


@contextmanager
def sniffing(lab: Lab, directory: Path, *where: tuple[str, str]) -> Iterator[Capture]:
    """Hear all that passes WHERE, pairs of host and interface, until the end of the block.

    Nothing may be lost: a capture with holes fails.
    """
    need_program("tcpdump")
    capture = Capture()
    with ExitStack() as stack:
        dumps = [stack.enter_context(_Dump(lab, host, interface, directory)) for host, interface in where]
        for dump in dumps:
            wait_until(dump.listening, f"tcpdump on {dump.interface}")
        yield capture
        for dump in dumps:
            capture.frames += dump.end()


class _Dump:
    def __init__(self, lab: Lab, host: str, interface: str, directory: Path) -> None:
        self.interface = interface
        self._netns = f"vipnet-{lab.name}-{host}"
        self._file = directory / f"{host}-{interface}.pcap"
        self._log = directory / f"{host}-{interface}.log"
        # -U: a packet is in the file when it is seen; -Z: as root, who owns the directory.
        options = ["-i", interface, "-n", "-U", "-Z", "root", "-B", "16384", "--immediate-mode"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                lab.command_on(host, "tcpdump", *options, "-w", self._file),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def listening(self) -> bool:
        words = self._log.read_text()
        assert self._process.poll() is None, words
        return "listening on" in words

    def end(self) -> Iterator[Frame]:
        """Stop and read; everything up to now is in it, because a frame sent now is."""
        last = os.urandom(16)
        with inside(self._netns), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind((self.interface, 0))
            sock.send(bytes(12) + _EXPERIMENT + last)
        wait_until(lambda: last in self._file.read_bytes(), f"the last frame on {self.interface}")
        self._process.send_signal(signal.SIGINT)
        self._process.wait(COMMAND_S)
        words = self._log.read_text()
        assert re.search(r"^0 packets dropped by kernel$", words, re.MULTILINE), words
        with self._file.open("rb") as file:
            reader = dpkt.pcap.Reader(file)
            link = reader.datalink()
            for _, raw in reader:
                if last in raw:
                    return
                yield Frame(self.interface, raw, _parse(self.interface, link, raw))


def _parse(interface: str, link: int, raw: bytes) -> Packet | None:
    if link == dpkt.pcap.DLT_EN10MB:
        ip = dpkt.ethernet.Ethernet(raw).data
    else:
        ip = dpkt.ip.IP(raw) if raw[0] >> 4 == 4 else None
    if not isinstance(ip, dpkt.ip.IP):
        return None
    inner = ip.data
    has_ports = isinstance(inner, dpkt.tcp.TCP | dpkt.udp.UDP)
    return Packet(
        interface,
        IPv4Address(ip.src),
        IPv4Address(ip.dst),
        ip.p,
        inner.sport if has_ports else 0,
        inner.dport if has_ports else 0,
        bytes(inner.data) if has_ports else bytes(inner),
    )
