from __future__ import annotations

import struct
from ipaddress import IPv4Address

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnet.errors import WireError
from vipnet.wire.inner import Unreachable, icmp_unreachable, parse_ipv4

A, B = bytes([240, 0, 0, 1]), bytes([240, 0, 0, 2])
PEER = IPv4Address(B)


def ipv4(
    body: bytes = b"", source: bytes = A, destination: bytes = B, protocol: int = 17, flags: int = 0
) -> bytes:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, flags, 64, protocol, 0)
    return header + source + destination + body


@given(
    st.binary(min_size=4, max_size=4),
    st.binary(min_size=4, max_size=4),
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 0xFFFF),
    st.integers(0, 10),
    st.binary(max_size=40),
)
def test_fields(
    source: bytes, destination: bytes, protocol: int, tos: int, flags: int, words: int, body: bytes
) -> None:
    size = 20 + 4 * words
    header = struct.pack("!BBHHHBBH", 0x45 + words, tos, size + len(body), 1, flags, 64, protocol, 0)
    packet = header + source + destination + bytes(4 * words) + body
    for form in (packet, memoryview(packet)):
        parsed = parse_ipv4(form)
        assert (parsed.source, parsed.destination) == (source, destination)
        assert (parsed.protocol, parsed.tos, parsed.header_size) == (protocol, tos, size)
        assert parsed.dont_fragment is bool(flags & 0x4000)
        assert parsed.more_fragments is bool(flags & 0x2000)
        assert parsed.fragment_offset == flags & 0x1FFF
        assert parsed.is_fragment is bool(flags & 0x3FFF)


@pytest.mark.parametrize(
    ("packet", "said"),
    [
        (b"", "0 bytes"),
        (ipv4()[:19], "19 bytes"),
        (b"\x65" + ipv4()[1:], "version 6"),
        (b"\x44" + ipv4()[1:], "header of 16 bytes"),
        (b"\x46" + ipv4()[1:], "header of 24 bytes in 20"),
        (ipv4() + b"\0", "21 bytes, its header says 20"),
        (ipv4(b"body")[:-1], "23 bytes, its header says 24"),
    ],
)
def test_refused_packets(packet: bytes, said: str) -> None:
    with pytest.raises(WireError, match=said):
        parse_ipv4(packet)
    with pytest.raises(WireError, match=said):
        icmp_unreachable(packet, Unreachable.HOST, PEER)


@pytest.mark.parametrize("code", list(Unreachable))
@pytest.mark.parametrize("source", [PEER, B])
@pytest.mark.parametrize("size", [0, 8, 527, 528, 529, 1400])
def test_answer(code: Unreachable, source: bytes | IPv4Address, size: int) -> None:
    packet = ipv4(bytes(range(256)) * 6)[: 20 + size]
    packet = packet[:2] + struct.pack("!H", len(packet)) + packet[4:]
    answer = icmp_unreachable(packet, code, source, mtu=1280)
    assert answer is not None
    assert len(answer) <= 576
    parsed = parse_ipv4(answer)
    assert (parsed.source, parsed.destination, parsed.protocol) == (B, A, 1)
    # dpkt as an independent reader
    outer = dpkt.ip.IP(answer)
    assert (outer.icmp.type, outer.icmp.code, outer.ttl) == (3, code, 64)
    assert dpkt.dpkt.in_cksum(answer[:20]) == 0
    assert dpkt.dpkt.in_cksum(answer[20:]) == 0
    assert struct.unpack("!H", answer[26:28]) == (1280,)
    assert answer[28:] == packet[:548]


def icmp(kind: int) -> bytes:
    return ipv4(bytes([kind, 0]) + bytes(6), protocol=1)


@pytest.mark.parametrize("kind", [3, 4, 5, 11, 12])
def test_icmp_errors_are_not_answered(kind: int) -> None:
    assert icmp_unreachable(icmp(kind), Unreachable.HOST, PEER) is None


@pytest.mark.parametrize("kind", [0, 8, 13, 14])
def test_icmp_questions_are_answered(kind: int) -> None:
    assert icmp_unreachable(icmp(kind), Unreachable.HOST, PEER) is not None


@pytest.mark.parametrize(
    "packet",
    [
        ipv4(b"12345678", flags=1),
        ipv4(b"12345678", flags=0x2001),
        ipv4(protocol=1),  # an ICMP message without its type
        ipv4(destination=bytes([224, 0, 0, 251])),
        ipv4(destination=bytes([239, 255, 255, 250])),
        ipv4(destination=b"\xff\xff\xff\xff"),
        ipv4(source=bytes(4)),
        ipv4(source=bytes([127, 0, 0, 1])),
        ipv4(source=bytes([224, 0, 0, 1])),
        ipv4(source=b"\xff\xff\xff\xff"),
    ],
)
def test_what_may_not_be_answered(packet: bytes) -> None:
    """RFC 1122 section 3.2.2."""
    assert icmp_unreachable(packet, Unreachable.HOST, PEER) is None


@pytest.mark.parametrize(
    "packet",
    [ipv4(b"12345678", flags=0x2000), ipv4(), ipv4(source=bytes([255, 0, 0, 1])), icmp(8)],
)
def test_what_is_near_to_it_is_answered(packet: bytes) -> None:
    assert icmp_unreachable(packet, Unreachable.HOST, PEER) is not None
