"""bench/alone.py and bench/cores.py: a super-packet as the kernel makes them; a helper does its half."""

from __future__ import annotations

import threading

import pytest
from bench.alone import super_packet
from bench.cores import Helper, handed
from bench.packets import session

from vipnet.core.sealing import seal
from vipnet.crypto.transport import Cipher
from vipnet.wire import virtio
from vipnet.wire.checksum import sum16
from vipnet.wire.inner import PROTOCOL_TCP, addresses_of
from vipnet.wire.offload import Packet, complete_checksum
from vipnet.wire.tcp import first_segment

MTUS = (1219, 1419, 8919)


@pytest.mark.parametrize("mtu", MTUS)
def test_a_super_packet_is_one_train_of_full_segments(mtu: int) -> None:
    memory = super_packet("240.0.0.1", "240.0.0.2", mtu)
    data, offload = memoryview(memory)[virtio.HEADER_SIZE :], virtio.decode(memory)
    assert offload is not None
    assert addresses_of(data) is not None
    assert len(first_segment(Packet(data, offload)).data) == mtu
    (block,) = seal(session(Cipher.AES_256_GCM, ours=True), [Packet(data, offload)])
    assert len(block.payload) % block.segment_size == 0


@pytest.mark.parametrize("mtu", MTUS)
def test_its_checksums_are_what_the_kernel_goes_on_from(mtu: int) -> None:
    memory = super_packet("240.0.0.1", "240.0.0.2", mtu)
    offload = virtio.decode(memory)
    assert offload is not None
    segment = first_segment(Packet(memoryview(memory)[virtio.HEADER_SIZE :], offload))
    assert segment.offload is not None
    whole = bytes(complete_checksum(segment.data, segment.offload))
    assert sum16(whole[:20]) == 0xFFFF
    pseudo = whole[12:20] + bytes((0, PROTOCOL_TCP)) + (len(whole) - 20).to_bytes(2, "big")
    assert sum16(pseudo + whole[20:]) == 0xFFFF


def test_a_helper_seals_what_it_is_handed() -> None:
    helper = Helper(threading.Thread)
    for number in (1, 2):
        helper.begin(number)
        assert helper.wait() == number
    helper.close()
    assert handed(threading.Thread, 0.001) > handed(threading.Thread, 0) == 0
