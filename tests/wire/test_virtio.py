"""What the kernel says of a packet, and what it may not say."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.wire.test_tcp import ACK, CWR, offload_of, tcp

from vipnet.wire import virtio
from vipnet.wire.offload import Offload


@given(st.binary(max_size=3000), st.integers(0, 1500), st.sampled_from([ACK, ACK | CWR]))
def test_a_header_says_what_was_left(payload: bytes, size: int, flags: int) -> None:
    packet = tcp(payload, flags=flags)
    left = offload_of(packet, size)
    assert virtio.decode(virtio.encode(packet, left) + packet) == left
    assert virtio.decode(virtio.encode(packet, None) + packet) is None


@given(st.binary(max_size=80))
@example(b"\1\0" + bytes(4) + b"\xff\xff\xff\xff" + bytes(40))
@example(b"\1\1" + bytes(2) + b"\0\1" + b"\x1f\0\x10\0" + bytes(48))
def test_no_checksum_lies_beyond_the_packet(data: bytes) -> None:
    """Whatever a header says, what is written by it stays inside."""
    try:
        left = virtio.decode(data)
    except ValueError:
        return
    if left is not None:
        assert left.transport + left.checksum + 2 <= len(data) - virtio.HEADER_SIZE


@pytest.mark.parametrize(
    "header",
    [
        "00 01 0000 0100 0000 0000",  # TCP to be cut, its checksum complete
        "01 01 0000 0000 0000 0000",  # segments of no size
        "01 03 0000 0100 0000 0000",  # UDP fragments (UFO)
        "01 04 0000 0100 0000 0000",  # TCP over IPv6
        "01 05 0000 0100 0000 0000",  # UDP segments (USO)
    ],
)
def test_what_was_not_asked_for(header: str) -> None:
    with pytest.raises(ValueError, match="GSO type"):
        virtio.decode(bytes.fromhex(header) + bytes(100))


def test_the_fields_by_hand() -> None:
    packet = tcp(b"x" * 3000, flags=ACK | CWR)
    assert virtio.encode(packet, Offload(20, 16, 1000)) == virtio._HEADER.pack(1, 0x81, 40, 1000, 20, 16)
    assert virtio.decode(virtio._HEADER.pack(1, 0x81, 40, 1000, 20, 16) + packet) == Offload(20, 16, 1000)
    with pytest.raises(ValueError, match="9 bytes"):
        virtio.decode(bytes(9))
