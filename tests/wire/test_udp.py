"""UDP super-packets: what is joined is cut again, and nothing else is joined."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnet.wire import virtio
from vipnet.wire.checksum import sum16
from vipnet.wire.offload import PACKET_MAX, Offload, Packet, complete_checksum
from vipnet.wire.udp import BEGUN, HEADERS_SIZE, cut, is_joined, join

A, B = bytes([240, 0, 0, 1]), bytes([240, 0, 0, 2])


def udp(
    payload: bytes,
    *,
    ports: tuple[int, int] = (1000, 2000),
    identification: int = 7,
    tos: int = 0,
    ttl: int = 64,
    flags: int = 0x4000,
    addresses: bytes = A + B,
    ip_options: bytes = b"",
) -> bytes:
    """A UDP datagram as the kernel hands it over: the checksum is the pseudo header's sum."""
    ip_size, udp_size = 20 + len(ip_options), 8 + len(payload)
    first = 0x40 + ip_size // 4
    ip = struct.pack("!BBHHHBBH", first, tos, ip_size + udp_size, identification, flags, ttl, 17, 0)
    ip += addresses + ip_options
    ip = ip[:10] + struct.pack("!H", ~sum16(ip) & 0xFFFF) + ip[12:]
    return ip + struct.pack("!HHHH", *ports, udp_size, sum16(addresses, 17 + udp_size)) + payload


def begun(*datagrams: bytes) -> list[Packet]:
    return [Packet(memoryview(datagram), BEGUN) for datagram in datagrams]


def separate(packets: Sequence[Packet]) -> list[bytes]:
    """What applications get of PACKETS, headers and all; identifications are 0."""
    datagrams = []
    for packet in packets:
        offload = packet.offload
        for one in cut(packet.data, offload) if is_joined(offload) else (bytes(packet.data),):
            whole = dpkt.ip.IP(complete_checksum(one, BEGUN) if offload else one)
            whole.id = whole.sum = 0
            datagrams.append(bytes(whole))
    return datagrams


datagrams = st.builds(
    udp,
    st.sampled_from((b"", b"a", b"b" * 7, b"c" * 7, b"\xff" * 8, bytes(300))),
    ports=st.sampled_from(((1000, 2000), (1000, 2001), (1001, 2000))),
    identification=st.integers(0, 0xFFFF),
    tos=st.sampled_from((0, 0, 0, 3)),
    ip_options=st.sampled_from((b"", b"", b"", bytes(4))),
)


@given(st.lists(st.tuples(datagrams, st.sampled_from((BEGUN, BEGUN, BEGUN, None))), max_size=40))
def test_what_is_joined_is_cut_again(sent: list[tuple[bytes, Offload | None]]) -> None:
    packets = [Packet(datagram, offload) for datagram, offload in sent]
    before = separate(packets)
    joined = join(packets)
    assert separate(joined) == before
    for packet in joined:
        assert len(packet.data) <= PACKET_MAX
        header = dpkt.ip.IP(bytes(packet.data))
        assert header.len == len(packet.data)
        assert sum16(bytes(packet.data[: header.hl * 4])) == 0xFFFF


def test_a_flow_is_one_super_packet_as_the_kernel_wants_it() -> None:
    payloads = [bytes((number,)) * 1200 for number in range(45)]
    (joined,) = join(begun(*(udp(one, identification=number) for number, one in enumerate(payloads))))
    whole = bytes(joined.data)
    assert joined.offload == Offload(20, 6, 1200)
    assert whole[HEADERS_SIZE:] == b"".join(payloads)
    assert whole[:HEADERS_SIZE] == udp(b"".join(payloads), identification=0)[:HEADERS_SIZE]
    # linux/virtio_net.h: VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_UDP_L4
    assert virtio.encode(whole, joined.offload) == struct.pack("=BBHHHH", 1, 5, 28, 1200, 20, 6)
    assert list(cut(whole, joined.offload)) == [udp(one, identification=n) for n, one in enumerate(payloads)]


FIRST = udp(b"payload")
PRETENDER = FIRST[:24] + struct.pack("!H", 99) + FIRST[26:]  # the UDP header lies about its length


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (FIRST, udp(b"payload", ports=(1000, 2001))),
        (FIRST, udp(b"payload", ports=(1001, 2000))),
        (FIRST, udp(b"payload", addresses=A + A)),
        (FIRST, udp(b"payload", tos=3)),
        (FIRST, udp(b"payload", ttl=63)),
        (FIRST, udp(b"payload", flags=0)),
        (FIRST, udp(b"short")),
        (FIRST, udp(b"longer payload")),
        (udp(b"payload", ip_options=bytes(4)),) * 2,
        (udp(b""),) * 2,
        (PRETENDER,) * 2,
        (FIRST[:9] + b"\x06" + FIRST[10:],) * 2,
    ],
    ids=[
        "destination port",
        "source port",
        "addresses",
        "ECN",
        "TTL",
        "DF",
        "shorter",
        "longer",
        "options",
        "empty",
        "length",
        "protocol",
    ],
)
def test_what_differs_is_not_joined(first: bytes, second: bytes) -> None:
    packets = begun(first, second)
    assert list(join(packets)) == packets


def test_what_is_complete_stays_so() -> None:
    """Nobody would look at its checksum again, were it joined."""
    for offloads in ((None, None), (None, BEGUN), (BEGUN, None)):
        packets = [Packet(FIRST, offload) for offload in offloads]
        assert list(join(packets)) == packets


def test_a_super_packet_is_no_larger_than_the_kernel_takes() -> None:
    packets = begun(*(udp(bytes(16_000)) for _ in range(9)))
    assert [len(packet.data) - HEADERS_SIZE for packet in join(packets)] == [64_000, 64_000, 16_000]
    packets = begun(*(udp(b"small") for _ in range(130)))
    assert [len(packet.data) - HEADERS_SIZE for packet in join(packets)] == [64 * 5, 64 * 5, 2 * 5]
