"""Traffic and captures between two hosts without vipnet: what programs and packets say is the same."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dpkt
import msgspec
import pytest
from tests.lab.wires import wires

from vipnet.lab import capture
from vipnet.lab.capture import Captured, Tap
from vipnet.lab.figures import flow_figures
from vipnet.lab.flows import (
    FLOOR_PORT,
    ICMP_ID,
    INTERVAL_MS,
    MESSAGE_SIZE,
    TCP_PORT,
    UDP_PORT,
    Case,
    Flow,
    Message,
    Progress,
    SenderSettings,
    Settings,
    TrafficReport,
)
from vipnet.lab.layout import ROUTER, Layout
from vipnet.lab.moves import carry_out, plan_move
from vipnet.lab.senders import TcpSender, UdpSender, internet_checksum

A, B = "10.201.1.10", "10.201.2.20"
SENDERS_A = (
    SenderSettings(Flow.UDP_A_B, "udp", B, UDP_PORT),
    SenderSettings(Flow.TCP_A_B, "tcp", B, TCP_PORT),
    SenderSettings(Flow.PING_A_B, "ping", B),
    SenderSettings(Flow.FLOOR_A, "udp", "10.201.1.1", FLOOR_PORT),
)


class Program:
    """A traffic program on a host of `wires`."""

    def __init__(self, layout: Layout, label: str, settings: Settings) -> None:
        text = msgspec.json.encode(settings).decode()
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", layout.netns(label), sys.executable, "-m", "vipnet.lab.traffic", text],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ask(self, line: str) -> bytes:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()


@contextmanager
def programs(layout: Layout, **settings: Settings) -> Iterator[dict[str, Program]]:
    running = {label: Program(layout, label, one) for label, one in settings.items()}
    try:
        for program in running.values():
            assert program.ask("progress")
        yield running
    finally:
        for program in running.values():
            program.process.kill()
            program.process.communicate()


@contextmanager
def captures(taps: list[Tap]) -> Iterator[list[Captured]]:
    done: list[Captured] = []
    process = subprocess.Popen(
        [sys.executable, "-m", "vipnet.lab.capture", msgspec.json.encode(taps).decode()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield done
        done += msgspec.json.decode(process.communicate(timeout=20)[0], type=list[Captured])
    finally:
        process.kill()
        process.communicate()


def until_arrived(program: Program, flow: Flow, number: int) -> None:
    deadline = time.monotonic() + 20
    while msgspec.json.decode(program.ask("progress"), type=Progress).newest.get(flow, -1) < number:
        assert time.monotonic() < deadline, f"{flow.name} does not arrive"


def reports(running: dict[str, Program]) -> list[TrafficReport]:
    for program in running.values():
        program.ask("stop")
    deadline = time.monotonic() + 20
    while not all(
        msgspec.json.decode(one.ask("progress"), type=Progress).tcp_ended for one in running.values()
    ):
        assert time.monotonic() < deadline, "TCP does not end"
    return [msgspec.json.decode(one.ask("report"), type=TrafficReport) for one in running.values()]


@pytest.mark.parametrize("tcp_bytes", [MESSAGE_SIZE, 1_000])
def test_all_streams_arrive_whole(tcp_bytes: int) -> None:
    both = {
        "a": Settings(1, Case.ONE_SIDED, SENDERS_A, UDP_PORT, tcp_bytes=tcp_bytes),
        "b": Settings(1, Case.ONE_SIDED, (), UDP_PORT, TCP_PORT, tcp_bytes=tcp_bytes),
        ROUTER: Settings(1, Case.ONE_SIDED, udp_port=FLOOR_PORT),
    }
    with wires() as layout, programs(layout, **both) as running:
        running["a"].ask("connect")
        running["a"].ask(f"start {time.monotonic_ns()}")
        until_arrived(running["b"], Flow.UDP_A_B, 100)
        running["a"].ask("phase 1")
        running["a"].ask("phase 2")
        until_arrived(running["b"], Flow.TCP_A_B, 60)
        figures = flow_figures(reports(running))
    for flow in (Flow.UDP_A_B, Flow.TCP_A_B, Flow.PING_A_B, Flow.FLOOR_A):
        assert figures[flow].sent > 20, flow.name
        assert (figures[flow].lost, figures[flow].duplicated, figures[flow].in_order) == (0, 0, True), (
            flow.name
        )
    # Each message has its own deadline: late ones do not make the rest late.
    interval_ms = {flow: figures[flow].sent * INTERVAL_MS[flow] for flow in (Flow.UDP_A_B, Flow.FLOOR_A)}
    assert abs(interval_ms[Flow.UDP_A_B] - interval_ms[Flow.FLOOR_A]) <= 1


def test_a_sender_without_a_network_goes_on_afterwards() -> None:
    only = {
        "a": Settings(1, Case.ONE_SIDED, SENDERS_A[3:]),
        ROUTER: Settings(1, Case.ONE_SIDED, udp_port=FLOOR_PORT),
    }
    with wires() as layout, programs(layout, **only) as running:
        running["a"].ask("connect")
        running["a"].ask(f"start {time.monotonic_ns()}")
        until_arrived(running[ROUTER], Flow.FLOOR_A, 50)
        running["a"].ask("phase 1")
        (move,) = carry_out([plan_move(layout, "a", ends=True)], 40.0)
        until_arrived(running[ROUTER], Flow.FLOOR_A, 150)
        running["a"].ask("phase 2")
        until_arrived(running[ROUTER], Flow.FLOOR_A, 300)
        floor = flow_figures(reports(running))[Flow.FLOOR_A]
    assert floor.refused > 0
    assert floor.switch_ms is not None
    assert 30 < floor.switch_ms < (move.done_ns - move.event_ns) / 1e6 + 30
    assert floor.duplicated == 0


def test_stragglers_of_another_case_are_not_counted() -> None:
    settings = {
        "a": Settings(1, Case.ONE_SIDED, SENDERS_A[3:]),
        ROUTER: Settings(1, Case.TWO_SIDED, udp_port=FLOOR_PORT),
    }
    with wires() as layout, programs(layout, **settings) as running:
        running["a"].ask("connect")
        running["a"].ask(f"start {time.monotonic_ns()}")
        with captures([Tap(layout.netns(ROUTER), "lan1", "/dev/null", capture.LINK_ETHERNET)]) as taken:
            time.sleep(0.05)  # let some go: that nothing is counted must not be for want of any
        assert taken[0].packets > 10
        assert not reports(running)[1].arrivals


def test_captured_stamps_are_those_of_the_socket(tmp_path: Path) -> None:
    """This is what bench/verify.py stands on."""
    files = [tmp_path / f"lan{lan}.pcap" for lan in (1, 2)]
    settings = {
        "a": Settings(1, Case.ONE_SIDED, SENDERS_A[3:]),
        ROUTER: Settings(1, Case.ONE_SIDED, udp_port=FLOOR_PORT),
    }
    with wires() as layout:
        taps = [
            Tap(layout.netns(ROUTER), f"lan{lan}", str(file), capture.LINK_ETHERNET)
            for lan, file in enumerate(files, 1)
        ]
        with captures(taps) as taken, programs(layout, **settings) as running:
            running["a"].ask("connect")
            running["a"].ask(f"start {time.monotonic_ns()}")
            until_arrived(running[ROUTER], Flow.FLOOR_A, 50)
            carry_out([plan_move(layout, "a")])
            until_arrived(running[ROUTER], Flow.FLOOR_A, 150)
            arrivals = reports(running)[1].arrivals
    assert [one.dropped for one in taken] == [0, 0]
    seen = {number: time_ns for file in files for number, time_ns in messages(file)}
    assert seen.keys() == {one.number for one in arrivals}
    offsets = sorted(seen[one.number] - one.at_ns for one in arrivals)
    assert offsets[-1] - offsets[0] < 1_000  # nanoseconds: pcap's reader has no more precision


def messages(file: Path) -> Iterator[tuple[int, int]]:
    with file.open("rb") as packets:
        for seconds, data in dpkt.pcap.Reader(packets):
            packet = dpkt.ethernet.Ethernet(data).data
            if isinstance(packet, dpkt.ip.IP) and isinstance(packet.data, dpkt.udp.UDP):
                message = Message.decode(bytes(packet.data.data))
                if message is not None:
                    yield message.number, round(float(seconds) * 1e9)


def test_a_capture_on_a_bridge_sees_what_passes_between_its_ports(tmp_path: Path) -> None:
    file = tmp_path / "lan1.pcap"
    with wires(hosts=3) as layout:  # a and d are both on LAN 1
        with captures([Tap(layout.netns(ROUTER), "lan1", str(file), capture.LINK_ETHERNET)]):
            command = ["ip", "netns", "exec", layout.netns("a"), "ping", "-c", "1", "10.201.1.40"]
            assert subprocess.run(command, capture_output=True, timeout=20).returncode == 0
        with file.open("rb") as packets:
            frames = [dpkt.ethernet.Ethernet(data).data for _, data in dpkt.pcap.Reader(packets)]
    kinds = [
        one.data.type for one in frames if isinstance(one, dpkt.ip.IP) and one.p == dpkt.ip.IP_PROTO_ICMP
    ]
    assert kinds == [dpkt.icmp.ICMP_ECHO, dpkt.icmp.ICMP_ECHOREPLY]


@pytest.mark.parametrize("payload", [b"", b"\0\0", bytes(range(64)), b"\xff" * 64])
def test_the_checksum_makes_the_sum_zero(payload: bytes) -> None:
    head = bytes([8, 0, 0, 0]) + ICMP_ID.to_bytes(2, "big") + b"\0\1"
    checksum = internet_checksum(head + payload)
    assert internet_checksum(head[:2] + checksum.to_bytes(2, "big") + head[4:] + payload) == 0


def test_a_thinned_out_stream_of_datagrams_keeps_its_time_and_numbers() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        one = SenderSettings(Flow.UDP_A_B, "udp", "127.0.0.1")
        sender = UdpSender(one, 1, Case.ONE_SIDED, receiver.getsockname())
        sender.start(0)
        with sender._sock:
            for step, until_ms in ((1, 2), (20, 45), (1, 64)):
                sender.thin_out(step)
                sender.send_due(until_ms * 1_000_000, 0)
        found = [Message.decode(receiver.recv(MESSAGE_SIZE)) for _ in range(sender.count)]
    assert [one.number for one in found if one] == [0, 1, 2, 3, 23, 43, 63, 64]


def test_a_tcp_stream_is_never_thinned_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = SenderSettings(Flow.TCP_A_B, "tcp", "127.0.0.1")
        sender = TcpSender(one, 1, Case.ONE_SIDED, listener.getsockname(), MESSAGE_SIZE)
        sender.start(0)
        with sender._sock:
            sender.thin_out(20)
            sender.send_due(50_000_000, 0)
    assert sender.count == 11
