"""Packets of several interfaces in several namespaces into pcap files, by one process.

    python -m vipnet.lab.capture TAPS      (JSON, as an argument)

Says `ready` when all interfaces are heard, ends at the end of its standard input, and
then prints what it wrote. The stamps are the kernel's own, in nanoseconds, the same as
a receiving socket's: figures from the packets and from a program can be compared.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from msgspec import Struct

from vipnet.lab.namespaces import inside
from vipnet.lab.stamps import ANCILLARY_SIZE, stamp_ns, stamped

LINK_ETHERNET: Final = 1  # https://www.tcpdump.org/linktypes.html
LINK_RAW: Final = 101  # IP without anything in front
_MAGIC_NS: Final = 0xA1B23C4D  # a pcap file whose stamps have nanoseconds
_ETH_P_ALL: Final = 0x0003
_SOL_PACKET: Final = 263
_PACKET_ADD_MEMBERSHIP: Final = 1
_PACKET_STATISTICS: Final = 6
_PACKET_MR_PROMISC: Final = 1
_BUFFER: Final = 2**25  # bytes: a second or more without this process
_SNAP: Final = 65_535
_RECORD: Final = struct.Struct("=IIII")
_READS_MAX: Final = 256  # packets of one interface before the others have their turn


class Tap(Struct, frozen=True):
    """What to hear, and where to write it."""

    netns: str
    interface: str
    file: str
    link: int


class Captured(Struct, frozen=True):
    """What became of a tap; `dropped` packets never reached us."""

    file: str
    packets: int
    dropped: int


class _Recorder:
    def __init__(self, tap: Tap) -> None:
        self.tap = tap
        self.packets = 0
        with inside(tap.netns):
            # Protocol 0: nothing is heard before the bind.
            self.sock = stamped(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0), _BUFFER)
        self.sock.bind((tap.interface, _ETH_P_ALL))
        if tap.link == LINK_ETHERNET:
            # A bridge shows what passes between its ports only when it is promiscuous.
            with inside(tap.netns):
                index = socket.if_nametoindex(tap.interface)
            request = struct.pack("iHH8s", index, _PACKET_MR_PROMISC, 0, b"")
            self.sock.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, request)
        self._file: BinaryIO = Path(tap.file).open("wb", buffering=2**18)  # noqa: SIM115 - closed by close()
        self._file.write(struct.pack("=IHHiIII", _MAGIC_NS, 2, 4, 0, 0, _SNAP, tap.link))

    def fileno(self) -> int:
        return self.sock.fileno()

    def record(self) -> bool:
        """Write what is there; True when there may be more."""
        for _ in range(_READS_MAX):
            try:
                packet, ancillary, _, _ = self.sock.recvmsg(_SNAP, ANCILLARY_SIZE)
            except OSError:  # no more, or the interface has gone
                return False
            seconds, nanoseconds = divmod(stamp_ns(ancillary), 1_000_000_000)
            self._file.write(_RECORD.pack(seconds, nanoseconds, len(packet), len(packet)) + packet)
            self.packets += 1
        return True

    def close(self) -> Captured:
        while self.record():
            pass
        self._file.close()
        return Captured(self.tap.file, self.packets, self._read_statistics())

    def _read_statistics(self) -> int:
        """What the kernel had no room for (packet(7))."""
        _, dropped = struct.unpack("II", self.sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        return int(dropped)


def capture(taps: Sequence[Tap]) -> list[Captured]:
    """Write until standard input ends."""
    recorders = [_Recorder(tap) for tap in taps]
    print("ready", flush=True)
    waiting: list[_Recorder | int] = [0, *recorders]
    while True:
        ready, _, _ = select.select(waiting, [], [])
        for one in ready:
            if not isinstance(one, int):
                one.record()
        if 0 in ready and not os.read(0, 4096):
            return [recorder.close() for recorder in recorders]


def main() -> None:
    taps = msgspec.json.decode(sys.argv[1], type=tuple[Tap, ...])
    print(msgspec.json.encode(capture(taps)).decode())


if __name__ == "__main__":
    main()
