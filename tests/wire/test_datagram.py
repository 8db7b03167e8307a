from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.vectors.documented import documented
from tests.wire.values import indices

from vipnet.errors import WireError
from vipnet.policy import DEFAULT_TUN_MTU
from vipnet.wire import datagram
from vipnet.wire.datagram import HEADER_SIZE, SEAL_OVERHEAD, DataHeader, is_handshake

REST = bytes(SEAL_OVERHEAD - HEADER_SIZE)  # the shortest that can follow a header


def test_data_header_vector() -> None:
    """docs/protocol.md, example D1."""
    raw = bytes.fromhex("0000002a 0000000000000007")
    assert raw == documented("D1")
    assert DataHeader(42, 7).encode() == raw
    assert DataHeader.decode(raw + REST) == DataHeader(42, 7)


@given(indices, st.integers(0, 2**64 - 1), st.binary(max_size=8))
def test_data_header_round_trip(index: int, counter: int, more: bytes) -> None:
    header = DataHeader(index, counter)
    assert DataHeader.decode(header.encode() + REST + more) == header
    assert DataHeader.decode(memoryview(header.encode() + REST + more)) == header


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "0 bytes, need 29"),
        (DataHeader(1, 0).encode(), "12 bytes, need 29"),
        (DataHeader(1, 0).encode() + REST[1:], "28 bytes, need 29"),
        (DataHeader(0, 1).encode() + REST, "index 0"),
    ],
)
def test_what_is_no_sealed_datagram(data: bytes, said: str) -> None:
    with pytest.raises(WireError, match=said):
        DataHeader.decode(data)


def test_the_first_word_tells_a_handshake() -> None:
    assert is_handshake(bytes(4))
    assert is_handshake(memoryview(bytes(40)))
    assert not is_handshake(b"\0\0\0")  # too short to tell, so no handshake either
    assert not is_handshake(DataHeader(1, 0).encode())
    assert not is_handshake(DataHeader(2**24, 0).encode())


def test_kinds_are_distinct_bytes() -> None:
    kinds = [datagram.KIND_CONTROL, datagram.KIND_IPV4, datagram.KIND_TCP, datagram.KIND_PARTIAL]
    assert kinds == [0, 1, 2, 3]


def test_a_full_inner_packet_fits_an_ethernet_frame() -> None:
    ipv6, udp, frame = 40, 8, 1500  # bytes
    assert DEFAULT_TUN_MTU + SEAL_OVERHEAD + udp + ipv6 <= frame
