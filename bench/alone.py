"""How fast one host's daemon is when the other end costs next to nothing.

    sudo ./run bench alone [--seconds 1] [--rounds 5] [--json FILE]

`./run bench throughput` has both hosts and their programs on one machine, so that every core is busy.
Here one daemon works, as if the other host were another machine:

    send      super-packets of TCP are put into a's tun0 by a packet socket; what a reads there
              counts, once it has left by eth0. b drops all but a few, unopened
    receive   trains of datagrams that a sends are recorded and kept from b, then put on the wire
              again; what b hands to its tun0 counts

Figures are Mbit/s of packets through tun0, and seconds of CPU of the daemon for 10^9 bytes of
them. What puts packets there takes about 0.3 s of another core for as many. A busy machine
shows in the slowest rounds: look at the best, too.

Exit status 1 when something could not be measured.
"""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.environment import environment
from bench.overlays.vipnet import Vipnet
from bench.testbed import Host, TestbedError, cpu_s, testbed

from vipnet.lab import lifecycle
from vipnet.lab.namespaces import inside
from vipnet.wire import virtio
from vipnet.wire.checksum import sum16
from vipnet.wire.inner import PROTOCOL_TCP
from vipnet.wire.offload import CHECKSUM_FIELD, Offload, super_packet_max

_TUN: Final = "tun0"
_NIC: Final = "eth0"
_HEADERS: Final = 20 + 32  # bytes: IPv4, and TCP with timestamps
_SEQUENCE_AT: Final = virtio.HEADER_SIZE + 20 + 4
_UNDER_WAY: Final = 32  # super-packets: 2 MB, about what TCP has under way
_AT_ONCE: Final = 8
_STEP_S: Final = 0.0001
_STALLED_S: Final = 0.05  # then what is under way is taken for lost
_WARM_S: Final = 0.3
_TRAIN_MIN: Final = 2000  # bytes; probes of the path's MTU are smaller, and have to pass
_MOST: Final = f"meta length > {_TRAIN_MIN} limit rate over 20/second burst 5 packets drop"
_SLICE: Final = 1200  # trains: all of them lie in the receiver's replay window
_SLICES: Final = 3  # in a round
_TRIES: Final = 5
_RECORDED_BYTES: Final = 1 << 28

# linux/if_packet.h, linux/if_ether.h, asm-generic/socket.h: what the socket module has no name for
_SOL_PACKET, _PACKET_VNET_HDR, _SO_RCVBUFFORCE = 263, 15, 33
_ETH_P_ALL, _ETH_P_IP = 0x0003, 0x0800


class Traffic(NamedTuple):
    """What an interface has carried since it is there."""

    rx_bytes: int
    rx_packets: int
    tx_bytes: int
    tx_packets: int


class Rate(NamedTuple):
    mbit_s: float
    cpu_s_per_gb: float


def traffic(pid: int, interface: str) -> Traffic:
    """Of INTERFACE in PID's network namespace (proc(5))."""
    text = Path(f"/proc/{pid}/net/dev").read_text(encoding="ascii")
    fields = text.partition(f"{interface}:")[2].split(maxsplit=10)
    return Traffic(int(fields[0]), int(fields[1]), int(fields[8]), int(fields[9]))


def super_packet(source: str, destination: str, mtu: int) -> bytearray:
    """The largest of an interface with this MTU, behind its virtio header; checksum begun."""
    segment_size = mtu - _HEADERS
    payload = bytes((super_packet_max(mtu) - _HEADERS) // segment_size * segment_size)
    addresses, size = socket.inet_aton(source) + socket.inet_aton(destination), 32 + len(payload)
    begun = sum16(addresses + struct.pack("!HH", PROTOCOL_TCP, size))
    tcp = struct.pack("!HHIIBBHHH", 1000, 2000, 1, 5, 32 << 2, 16, 512, begun, 0) + bytes(12)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + size, 7, 0x4000, 64, PROTOCOL_TCP, 0) + addresses
    header = header[:10] + struct.pack("!H", ~sum16(header) & 0xFFFF) + header[12:]
    packet = header + tcp + payload
    offload = Offload(20, CHECKSUM_FIELD[PROTOCOL_TCP], segment_size)
    return bytearray(virtio.encode(packet, offload) + packet)


class Alone:
    """A testbed of vipnet, of which one daemon at a time works."""

    def __init__(self, overlay: Vipnet) -> None:
        self.a, self.b = overlay.bed.hosts
        self._pid_a, self._pid_b = overlay.pids
        mtu = int(self.a.run("cat", f"/sys/class/net/{_TUN}/mtu"))
        self._packet = super_packet(overlay.address(self.a), overlay.address(self.b), mtu)
        self._payload_size = len(self._packet) - virtio.HEADER_SIZE - _HEADERS
        self._sequence = 1
        self._into_tun = _packet_socket(self.a, _TUN, 0)

    # --- from tun0 to the wire

    def send(self, seconds: float) -> Rate:
        """Raise TestbedError when not all that was read has left."""
        with self._dropped(_MOST):
            self._flood(_WARM_S)
            began, spent = time.perf_counter(), cpu_s([self._pid_a])
            read, left = traffic(self._pid_a, _TUN).tx_bytes, traffic(self._pid_a, _NIC).tx_bytes
            self._flood(seconds)
            took, spent = time.perf_counter() - began, cpu_s([self._pid_a]) - spent
            read = traffic(self._pid_a, _TUN).tx_bytes - read
            left = traffic(self._pid_a, _NIC).tx_bytes - left
        if not read or left < read * 0.99:
            raise TestbedError(f"a read {read} bytes and sent {left}")
        return Rate(read * 8e-6 / took, spent / read * 1e9)

    def _flood(self, seconds: float) -> None:
        until = time.perf_counter() + seconds
        _paced(
            lambda: time.perf_counter() < until and self._put(), lambda: traffic(self._pid_a, _TUN).tx_packets
        )

    def _put(self) -> bool:
        """A super-packet into tun0, further on in its connection each time."""
        self._sequence = (self._sequence + self._payload_size) & 0xFFFFFFFF
        self._packet[_SEQUENCE_AT : _SEQUENCE_AT + 4] = self._sequence.to_bytes(4, "big")
        with contextlib.suppress(OSError):  # ENOBUFS: no room in tun0, and taken for lost
            self._into_tun.send(self._packet)
        return True

    # --- from the wire to tun0

    def receive(self) -> Rate:
        """Raise TestbedError when there is nothing to be received."""
        took = spent = 0.0
        size = 0
        for _ in range(_SLICES):
            trains = self._whole_trains()
            began, cpu, before = time.perf_counter(), cpu_s([self._pid_b]), traffic(self._pid_b, _TUN)
            self._replay(trains)
            took, spent = took + time.perf_counter() - began, spent + cpu_s([self._pid_b]) - cpu
            size += traffic(self._pid_b, _TUN).rx_bytes - before.rx_bytes
        if not size:
            raise TestbedError("b takes nothing of what was recorded")
        return Rate(size * 8e-6 / took, spent / size * 1e9)

    def _whole_trains(self) -> list[bytes]:
        """As _record(), once a is sure of its path: what b is kept from makes a doubt it."""
        for _ in range(_TRIES):
            with self._dropped(_MOST):
                self._flood(_WARM_S)
            trains = self._record()
            if abs(len(trains) - _SLICE) < _SLICE / 10:
                return trains
        raise TestbedError("a does not send whole trains: is the machine busy otherwise?")

    def _record(self) -> list[bytes]:
        """Trains that a makes of _SLICE super-packets; b hears nothing meanwhile."""
        trains: list[bytes] = []
        with self._dropped("drop"), _packet_socket(self.a, _NIC, _ETH_P_ALL) as tap:
            tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECORDED_BYTES)
            left = iter(range(_SLICE))
            _paced(
                lambda: next(left, None) is not None and self._put(),
                lambda: traffic(self._pid_a, _TUN).tx_packets,
            )
            time.sleep(_STALLED_S)  # the last ones are read, but not sent yet
            tap.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    train, (_, protocol, kind, *_) = tap.recvfrom(1 << 17)
                    if (kind, protocol) == (socket.PACKET_OUTGOING, _ETH_P_IP) and len(train) > _TRAIN_MIN:
                        trains.append(train)
        return trains

    def _replay(self, trains: list[bytes]) -> None:
        with _packet_socket(self.a, _NIC, 0) as wire:
            left = iter(trains)

            def put() -> bool:
                train = next(left, None)
                return train is not None and wire.send(train) > 0

            _paced(put, lambda: traffic(self._pid_b, _TUN).rx_packets)

    @contextlib.contextmanager
    def _dropped(self, rule: str) -> Iterator[None]:
        """What comes in at b by UDP and RULE matches."""
        hook = f"type filter hook ingress device {_NIC} priority 0"
        table = f"table netdev alone {{\nchain arriving {{\n{hook}\nip protocol udp {rule}\n}}\n}}\n"
        self.b.run("nft", "-f", "-", given=table)
        try:
            yield
        finally:
            self.b.run("nft", "delete table netdev alone")


def _packet_socket(host: Host, interface: str, protocol: int) -> socket.socket:
    """To put packets on INTERFACE, or take those of PROTOCOL from it: each behind a virtio header."""
    with inside(host.enter[-1]):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        sock.bind((interface, protocol))
    return sock


def _paced(put: Callable[[], bool], arrived: Callable[[], int]) -> None:
    """PUT while it says that it did, as far ahead of ARRIVED as TCP would be; wait for the last."""
    base, sent, last, at, more = arrived(), 0, 0, time.perf_counter(), True
    while more or last < sent:
        last, before = arrived() - base, last
        if last != before:
            at = time.perf_counter()
        elif time.perf_counter() - at > _STALLED_S:
            if not more:
                return
            base, at = base + last - sent, time.perf_counter()
            last = sent
        if more and sent - last < _UNDER_WAY:
            for _ in range(_AT_ONCE):
                more = more and put()
                sent += more
        else:
            time.sleep(_STEP_S)


def measure(seconds: float, rounds: int) -> tuple[dict[str, list[Rate]], list[str]]:
    """What was found in each round, and what could not be measured."""
    found: dict[str, list[Rate]] = {"send": [], "receive": []}
    failed: list[str] = []
    with lifecycle.interrupts_raise(), testbed() as bed:
        overlay = Vipnet(bed)
        overlay.start()
        alone = Alone(overlay)
        cases: dict[str, Callable[[], Rate]] = {
            "send": lambda: alone.send(seconds),
            "receive": alone.receive,
        }
        for _ in range(rounds):
            for name, case in cases.items():
                try:
                    found[name].append(case())
                except TestbedError as error:
                    failed.append(f"{name}: {error}")
    return found, failed


@click.command(help=__doc__)
@click.option("--seconds", default=1.0, show_default=True, help="Of each measurement of `send`.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(seconds: float, rounds: int, json_file: Path | None) -> None:
    found, failed = measure(seconds, rounds)
    for name, rates in found.items():
        if rates:
            fast, cost = (
                (min(all_), statistics.median(all_), max(all_)) for all_ in zip(*rates, strict=True)
            )
            print(f"{name:<9}{'{:8,.0f}{:8,.0f}{:8,.0f} Mbit/s'.format(*fast)}", end="")
            print("{:8.2f}{:8.2f}{:8.2f} s of CPU for 10^9 bytes".format(*cost))
    if json_file is not None:
        document: dict[str, Any] = {"schema": 1, "environment": msgspec.to_builtins(environment())}
        document |= {name: [rate._asdict() for rate in rates] for name, rates in found.items()}
        json_file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for line in failed:
        print(f"not measured: {line}", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
