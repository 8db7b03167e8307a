"""What a packet costs in the core, by pyperf: sealed, opened, and through a whole node.

    ./run bench packets [--fast] [-o FILE] [pyperf's other options]

No kernel and no I/O is in these figures. `tcp` is one segment of a super-packet of 64 KB, `udp` one
of 48 datagrams of 64 bytes that came together, `ping` a packet that comes alone; all are seconds for
one of them. `seal` and `open` are the cipher and what surrounds it, `out` and `in` all that a node
does between tun0 and the socket.
"""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import pyperf

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the simulator is in `tests`

from tests.core.pairs import locator, pair, peer_at
from tests.sim.network import Network

from vipnet.core.opening import Opener, buffer_size
from vipnet.core.outputs import Transmit
from vipnet.core.sealing import seal
from vipnet.core.session import Session
from vipnet.crypto.transport import Cipher
from vipnet.types import Instant, PublicKey
from vipnet.wire.checksum import sum16
from vipnet.wire.inner import PROTOCOL_TCP, PROTOCOL_UDP
from vipnet.wire.offload import CHECKSUM_FIELD, TRAILER_MAX, Offload, Packet

_SEGMENT: Final = 1379 - 12  # bytes of payload: with timestamps, in a tunnel of 1,419
_SEGMENTS: Final = 45
_TOGETHER: Final = 48
_AT_ONCE: Final = 64  # inputs that are made before they are timed: all of them would not fit into memory


_Input = TypeVar("_Input")


class Load:
    """Packets between two addresses, as tun0 hands them over."""

    def __init__(self, name: str, packets: Callable[[bytes], list[Packet]], number: int) -> None:
        self.name, self.packets, self.number = name, packets, number


def _room(packet: bytes, offload: Offload) -> Packet:
    memory = memoryview(bytearray(packet + bytes(TRAILER_MAX)))
    return Packet(memory[: len(packet)], offload, memory)


def _ipv4(addresses: bytes, protocol: int, body: bytes) -> bytes:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 7, 0x4000, 64, protocol, 0) + addresses
    return header[:10] + struct.pack("!H", ~sum16(header) & 0xFFFF) + header[12:] + body


def _super_packet(addresses: bytes) -> list[Packet]:
    size = _SEGMENT * _SEGMENTS
    header = struct.pack("!HHIIBBHHH", 1000, 2000, 1, 5, 32 << 2, 16, 512, 0, 0) + bytes(12)
    packet = _ipv4(addresses, PROTOCOL_TCP, header + bytes(size))
    return [_room(packet, Offload(20, CHECKSUM_FIELD[PROTOCOL_TCP], _SEGMENT))]


def _datagrams(addresses: bytes) -> list[Packet]:
    packet = _ipv4(addresses, PROTOCOL_UDP, struct.pack("!HHHH", 1000, 2000, 72, 0) + bytes(64))
    return [_room(packet, Offload(20, CHECKSUM_FIELD[PROTOCOL_UDP])) for _ in range(_TOGETHER)]


LOADS: Final = (
    Load("tcp", _super_packet, _SEGMENTS),
    Load("udp", _datagrams, _TOGETHER),
    Load("ping", lambda addresses: _datagrams(addresses)[:1], 1),
)


def main() -> None:
    runner = pyperf.Runner()
    for cipher in Cipher:
        for load in LOADS:
            name = f"{load.name} {cipher.name.lower()}"
            runner.bench_time_func(f"seal {name}", _seal, cipher, load, inner_loops=load.number)
            runner.bench_time_func(f"open {name}", _open, cipher, load, inner_loops=load.number)
    for load in LOADS:
        runner.bench_time_func(f"out {load.name}", _out, load, inner_loops=load.number)
        runner.bench_time_func(f"in {load.name}", _in, load, inner_loops=load.number)


def session(cipher: Cipher, *, ours: bool) -> Session:
    keys = bytes(range(32)), bytes(range(32, 64))
    return Session(
        local_index=1,
        remote_index=1,
        keys=keys,
        cipher=cipher,
        begun_at=Instant(0),
        begun_by_us=ours,
        boot_id=bytes(8),
        own_key=PublicKey(bytes(32)),
        peer_key=PublicKey(bytes(32)),
    )


def _timed(loops: int, make: Callable[[], _Input], act: Callable[[_Input], object]) -> float:
    """Seconds that ACT takes for LOOPS inputs that MAKE makes."""
    spent = 0.0
    while loops > 0:
        inputs = [make() for _ in range(min(loops, _AT_ONCE))]
        loops -= len(inputs)
        begun = time.perf_counter()
        for one in inputs:
            act(one)
        spent += time.perf_counter() - begun
    return spent


def _seal(loops: int, cipher: Cipher, load: Load) -> float:
    sender = session(cipher, ours=True)
    return _timed(loops, lambda: load.packets(bytes(8)), lambda packets: seal(sender, packets))


def _open(loops: int, cipher: Cipher, load: Load) -> float:
    sender, receiver = session(cipher, ours=True), session(cipher, ours=False)
    buffer = memoryview(bytearray(buffer_size(1 << 17, 100)))

    def act(blocks: list[tuple[memoryview, int]]) -> None:
        for data, size in blocks:
            Opener(receiver, buffer).open(data, size)

    def make() -> list[tuple[memoryview, int]]:
        return [
            (memoryview(block.payload), block.segment_size) for block in seal(sender, load.packets(bytes(8)))
        ]

    return _timed(loops, make, act)


class _Pair:
    """Two hosts that have met; the network between them is asked no more."""

    def __init__(self) -> None:
        self.net = Network(1)
        self.a, self.b = pair(self.net)
        self.a.send(self.b, bytes(1300))
        self.net.run_for(1)  # what the path carries is known
        self.addresses = peer_at(self.b, self.a).inbound_addresses

    def out(self, packets: list[Packet]) -> list[Transmit]:
        outputs = self.a.node.handle_packets(packets, self.net.now)
        return [output for output in outputs if isinstance(output, Transmit)]

    def come_in(self, transmits: list[Transmit]) -> None:
        source = locator(self.a)
        for transmit in transmits:
            payload, size = transmit.payload, transmit.segment_size
            self.b.node.handle_datagrams(memoryview(payload), size or len(payload), source, self.net.now)


def _out(loops: int, load: Load) -> float:
    hosts = _Pair()
    return _timed(loops, lambda: load.packets(hosts.addresses), hosts.out)


def _in(loops: int, load: Load) -> float:
    hosts = _Pair()
    return _timed(loops, lambda: hosts.out(load.packets(hosts.addresses)), hosts.come_in)


if __name__ == "__main__":
    main()
