"""What becomes of packets on a path that is too narrow for them."""

from __future__ import annotations

import struct
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.test_tcp import cut_up

from vipnet.core.fitting import fit
from vipnet.core.icmp import IcmpAnswers
from vipnet.core.outputs import Deliver, Output
from vipnet.core.pathmtu import PathMtu
from vipnet.policy import MTU_BASE, Policy
from vipnet.types import Instant, Locator
from vipnet.wire import tcp
from vipnet.wire.checksum import sum16
from vipnet.wire.datagram import HEADER_SIZE, TAG_SIZE, TCP_OVERHEAD
from vipnet.wire.inner import PROTOCOL_TCP, PROTOCOL_UDP
from vipnet.wire.offload import CHECKSUM_FIELD, TRAILER_MAX, Offload, Packet

NOW = Instant(1000.0)
POLICY = Policy()
INNER_MAX = MTU_BASE - 28 - TCP_OVERHEAD
ADDRESSES = bytes((240, 0, 0, 1, 240, 0, 0, 2))
DF = 0x4000
ACK, SYN, URG, PSH = 0x10, 0x02, 0x20, 0x08


def path(*, searched: bool = False) -> PathMtu:
    """One that carries 1,280 bytes, which is known, or not yet."""
    found = PathMtu((Locator("192.0.2.1", 5847), None), 1420, POLICY, Random(1).randbytes)
    if searched:
        now = NOW - 100
        found.want(Instant(now))
        while (at := found.next_timeout()) is not None:
            now = max(now, at)
            for probe in found.handle_timeout(Instant(now), 0.1, Instant(now + 1)).probes:
                if probe.size <= MTU_BASE:
                    found.handle_answer(probe.data, Instant(now))
        assert found.size == MTU_BASE
        assert not found.undecided
    return found


def ipv4(protocol: int, body: bytes, word: int = DF) -> bytes:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 7, word, 64, protocol, 0) + ADDRESSES
    return header[:10] + struct.pack("!H", ~sum16(header) & 0xFFFF) + header[12:] + body


def tcp_packet(payload: bytes, segment_size: int = 0, flags: int = ACK | PSH) -> Packet:
    head = struct.pack("!HHIIBBHHH", 1000, 2000, 5, 1, 5 << 4, flags, 512, 0, 0)
    packet = ipv4(PROTOCOL_TCP, head + payload)
    memory = memoryview(bytearray(packet + bytes(TRAILER_MAX)))
    offload = Offload(20, CHECKSUM_FIELD[PROTOCOL_TCP], segment_size)
    return Packet(memory[: len(packet)], offload, memory)


def udp_packet(size: int, word: int = DF) -> Packet:
    body = struct.pack("!HHHH", 1000, 2000, size - 20, 0) + Random(size).randbytes(size - 28)
    return Packet(ipv4(PROTOCOL_UDP, body, word))


def fitted(
    to: PathMtu, packets: list[Packet], now: Instant = NOW, icmp: IcmpAnswers | None = None
) -> tuple[list[Packet], list[Output]]:
    return fit(to, packets, icmp or IcmpAnswers(), POLICY, now)


def answers(outputs: list[Output]) -> list[int]:
    """The MTUs that applications are told."""
    packets = [bytes(one.packet) for one in outputs if isinstance(one, Deliver)]
    assert all(packet[20:22] == b"\3\4" for packet in packets)
    return [int.from_bytes(packet[26:28], "big") for packet in packets]


@given(payload=st.integers(1, 60_000), segment_size=st.integers(0, 1380), searched=st.booleans())
def test_tcp_is_cut_so_that_it_fits_and_says_the_same(
    payload: int, segment_size: int, searched: bool
) -> None:
    content = Random(payload).randbytes(payload)
    packet = tcp_packet(content, min(segment_size, payload))
    to = path(searched=searched)
    (result,), told = fitted(to, [packet])
    assert not told
    assert result.offload is not None
    how = tcp.plan_cut(result.data, result.offload)
    assert how is not None
    assert how.headers_size + how.segment_size <= max(INNER_MAX, 0) or len(packet.data) <= INNER_MAX
    if segment_size and segment_size + 40 <= INNER_MAX:
        assert result is packet, "it fitted"
    pieces = cut_up(bytes(result.data), result.offload.segment_size)
    assert b"".join(piece[: -how.headers_size - 4] for piece in pieces) == content
    assert max(map(len, pieces)) + HEADER_SIZE + TAG_SIZE + 28 <= MTU_BASE or len(packet.data) <= INNER_MAX


@pytest.mark.parametrize("flags", [SYN, ACK | URG])
def test_a_segment_that_stands_alone_is_not_cut(flags: int) -> None:
    packet = tcp_packet(bytes(1380), flags=flags)
    assert tcp.recut(packet, INNER_MAX) is None
    result, told = fitted(path(), [packet])
    assert result == [packet], "it is carried as it is"
    assert not told


def test_complete_tcp_is_answered_as_anything_else() -> None:
    packet = Packet(bytes(tcp_packet(bytes(1380)).data))
    _, told = fitted(path(searched=True), [packet])
    assert answers(told) == [INNER_MAX]


def test_what_fits_is_what_it_was() -> None:
    to, packets = path(), [udp_packet(INNER_MAX), tcp_packet(bytes(50_000), INNER_MAX - 40)]
    result, told = fitted(to, packets)
    assert result == packets
    assert all(one is other for one, other in zip(result, packets, strict=True))
    assert not told
    assert to.next_timeout() is None, "and nobody has to search"


@pytest.mark.parametrize("packet", [udp_packet(INNER_MAX + 1), udp_packet(1420, 0), tcp_packet(bytes(1380))])
def test_what_does_not_fit_begins_the_search(packet: Packet) -> None:
    to = path()
    fitted(to, [packet])
    assert to.next_timeout() == NOW


@pytest.mark.parametrize("searched", [False, True])
def test_without_df_packets_become_fragments(searched: bool) -> None:
    result, told = fitted(path(searched=searched), [udp_packet(1420, word=0)])
    assert [len(piece.data) <= INNER_MAX for piece in result] == [True, True]
    assert b"".join(bytes(piece.data[20:]) for piece in result) == udp_packet(1420).data[20:]
    assert not told


def test_a_begun_checksum_is_completed_before_a_packet_is_cut() -> None:
    whole = bytearray(udp_packet(1420, word=0).data)
    struct.pack_into("!H", whole, 26, sum16(whole[12:20], PROTOCOL_UDP + 1400))
    result, _ = fitted(path(), [Packet(bytes(whole), Offload(20, CHECKSUM_FIELD[PROTOCOL_UDP]))])
    body = b"".join(bytes(piece.data[20:]) for piece in result)
    assert sum16(body, PROTOCOL_UDP + 1400 + sum16(ADDRESSES)) == 0xFFFF
    assert all(piece.offload is None for piece in result)


def test_with_df_a_packet_is_carried_until_its_sender_can_know() -> None:
    packet = udp_packet(1420)
    assert fitted(path(), [packet]) == ([packet], []), "nobody knows yet"
    to = path(searched=True)
    result, told = fitted(to, [packet, packet])
    assert result == [packet, packet], "both left before anyone was told"
    assert answers(told) == [INNER_MAX, INNER_MAX]
    later = Instant(NOW + POLICY.mtu_told_s)
    result, told = fitted(to, [packet], later)
    assert not result
    assert answers(told) == [INNER_MAX]


def test_a_flood_is_not_answered_packet_by_packet() -> None:
    to, icmp = path(searched=True), IcmpAnswers()
    told = [one for _ in range(1000) for one in fitted(to, [udp_packet(1420)], icmp=icmp)[1]]
    assert 0 < len(told) <= 100
