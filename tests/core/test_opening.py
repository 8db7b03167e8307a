"""Packets through seal and open, by the batch: they come out as they went in, and nothing else comes out."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.test_session import KEYS, make
from tests.wire.test_tcp import ACK, A, B, offload_of, tcp

from vipnet.core.opening import Opened, Opener, buffer_size
from vipnet.core.sealing import seal, sealed_size
from vipnet.core.session import Session
from vipnet.crypto.transport import Cipher, OpeningKey, SealingKey
from vipnet.errors import CryptoError, ProtocolError, WireError
from vipnet.wire.datagram import (
    BLOCK_MAX,
    KIND_CONTROL,
    KIND_IPV4,
    KIND_PARTIAL,
    KIND_PROBE,
    KIND_TCP,
    SEGMENTS_MAX,
)
from vipnet.wire.inner import addresses_of
from vipnet.wire.offload import TRAILER_MAX, Offload, Packet, complete_checksum


def udp(body: bytes, protocol: int = 17) -> bytes:
    size = (28 + len(body)).to_bytes(2, "big")
    header = b"\x45\0" + size + bytes(5) + bytes((protocol, 0, 0)) + A + B
    return header + b"\0\1\0\2" + (8 + len(body)).to_bytes(2, "big") + b"\x12\x34" + body


def opened(session: Session, data: bytes | bytearray, stride: int) -> Opened:
    opener = Opener(session, memoryview(bytearray(buffer_size(len(data), stride))))
    opener.open(memoryview(data), stride)
    return opener.opened


def sessions(cipher: Cipher = Cipher.CHACHA20_POLY1305) -> tuple[Session, Session]:
    """The two ends of one; the second's index is the first's remote one."""
    return make(ours=True, index=1, cipher=cipher), make(ours=False, index=101, cipher=cipher)


def through(packets: list[Packet], sender: Session, receiver: Session) -> tuple[list[Packet], int]:
    """What the receiver gets, and how many bytes were sent for it."""
    received: list[Packet] = []
    size = 0
    for block in seal(sender, packets):
        assert len(block.payload) <= BLOCK_MAX
        assert len(block.payload) <= block.segment_size * SEGMENTS_MAX
        size += len(block.payload)
        result = opened(receiver, block.payload, block.segment_size)
        assert result.errors == []
        received += [packet.kept() for packet in result.packets]
    return received, size


def in_room(packet: bytes, offload: Offload | None) -> Packet:
    """As tun0 hands it over: the memory behind it holds something else."""
    memory = memoryview(bytearray(packet + b"\xaa" * TRAILER_MAX))
    return Packet(memory[: len(packet)], offload, memory)


@st.composite
def packets_of(draw: st.DrawFn) -> tuple[bytes, Offload | None]:
    size = int(2 ** draw(st.floats(0, 15.9)))
    body = Random(size).randbytes(size)
    match draw(st.sampled_from(["tcp", "super", "udp", "partial", "other"])):
        case "tcp":
            packet = tcp(body[:1380], sequence=draw(st.integers(0, 2**32 - 1)))
            return packet, offload_of(packet)
        case "super":
            packet = tcp(
                body,
                flags=draw(st.sampled_from([ACK, ACK | 8, ACK | 1, ACK | 0x40, ACK | 0x80])),
                options=bytes(12),
            )
            return packet, offload_of(packet, draw(st.sampled_from([1, 100, 1368])) if size < 5000 else 1368)
        case "udp":
            return udp(body), None
        case "partial":
            return udp(body), Offload(20, 6)
        case _:
            return udp(body, protocol=47), None


def test_a_run_ends_with_the_last_counter() -> None:
    """A peer that lies may begin where it likes."""
    sender, receiver = sessions()
    sender.sent = 2**64 - 3
    data = tcp(bytes(3000))
    (block,) = seal(sender, [Packet(data, offload_of(data, 1000))])
    again = block.payload[-block.segment_size :]
    result = opened(receiver, block.payload + again, block.segment_size)
    (packet,) = result.packets
    assert packet.data[40:] == data[40:]
    assert [type(error) for error in result.errors] == [ProtocolError]


@pytest.mark.parametrize(
    ("cipher", "refused"), [(Cipher.AES_256_GCM, 2**64), (Cipher.AES_256_GCM_TRAINS, 2**48)]
)
def test_no_counter_is_taken_that_has_no_place(cipher: Cipher, refused: int) -> None:
    sender, receiver = sessions(cipher)
    for counter in (refused - 1, refused):
        if counter < 2**64:
            sender.sent = counter
            assert opened(receiver, sender.seal(udp(b"x"), KIND_IPV4), 10_000).count == (counter < refused)


@settings(deadline=None)
@given(st.lists(packets_of(), max_size=12), st.booleans(), st.sampled_from(Cipher))
def test_what_goes_in_comes_out_in_its_order(
    packets: list[tuple[bytes, Offload | None]], room: bool, cipher: Cipher
) -> None:
    sender, receiver = sessions(cipher)
    made = [in_room(*one) if room else Packet(*one) for one in packets]
    sizes = [sealed_size(packet, sender) for packet in made]
    received, sealed = through(made, sender, receiver)
    assert sealed == sum(sizes)
    left = iter(received)
    for data, offload in packets:
        packet = next(left)
        if offload is None or offload.segment_size == 0 or packet.data == data:
            assert (packet.data, packet.offload) == (data, expected(data, offload))
            continue
        # More than one send can take: it comes in pieces.
        headers_size = 20 + (data[32] >> 4) * 4
        carried = bytes(packet.data[headers_size:])
        while len(carried) < len(data) - headers_size:
            carried += next(left).data[headers_size:]
        assert carried == data[headers_size:]
    assert next(left, None) is None
    assert receiver.window.report(64) == (sender.sent - 1, sender.sent - 1, ()) or not packets


def expected(data: bytes, offload: Offload | None) -> Offload | None:
    """One segment is no super-packet."""
    if offload is None or data[9] != 6 or len(data) - 20 - (data[32] >> 4) * 4 > offload.segment_size:
        return offload
    return Offload(offload.transport, offload.checksum)


def test_a_super_packet_is_one_send_and_one_packet() -> None:
    sender, receiver = sessions()
    packet = tcp(Random(1).randbytes(45 * 1368), options=bytes(12))
    (block,) = seal(sender, [in_room(packet, offload_of(packet, 1368))])
    assert (len(block.payload), block.segment_size, sender.sent) == (45 * 1452, 1452, 45)
    result = opened(receiver, block.payload, block.segment_size)
    (received,) = result.packets
    assert received.data == packet
    assert received.offload == offload_of(packet, 1368)
    assert (result.count, result.size, result.top) == (45, len(block.payload), 44)


def test_the_largest_super_packet_takes_two_sends() -> None:
    sender, receiver = sessions()
    packet = tcp(Random(2).randbytes(47 * 1368), options=bytes(12))
    first, second = seal(sender, [in_room(packet, offload_of(packet, 1368))])
    assert (first.counter, second.counter, sender.sent) == (0, 45, 47)
    received = [opened(receiver, block.payload, block.segment_size).packets[0] for block in (first, second)]
    assert b"".join(bytes(one.data[52:]) for one in received) == packet[52:]


def test_equal_packets_share_a_send_and_a_smaller_one_ends_it() -> None:
    sender, _ = sessions()
    packets = [Packet(udp(bytes(size))) for size in (100, 100, 100, 60, 100, 200)]
    assert [(block.counter, block.segment_size) for block in seal(sender, packets)] == [
        (0, 157),
        (4, 157),
        (5, 257),
    ]
    many = seal(sender, [Packet(udp(b"x"))] * 200)
    assert [len(block.payload) // block.segment_size for block in many] == [64, 64, 64, 8]


def test_a_checksum_that_nobody_else_could_complete_is_completed_before() -> None:
    sender, receiver = sessions()
    packet = udp(b"body", protocol=136)
    (received,), _ = through([Packet(packet, Offload(20, 6))], sender, receiver)
    assert (received.data, received.offload) == (complete_checksum(packet, Offload(20, 6)), None)


@given(st.data())
@settings(deadline=None)
def test_of_a_forged_block_only_true_datagrams_come_out(data: st.DataObject) -> None:
    """Any byte changed, any truncation: the rest is opened, and of the forged one no byte is seen."""
    sender, receiver = sessions()
    payload = Random(3).randbytes(10 * 100)
    packet = tcp(payload)
    (block,) = seal(sender, [Packet(packet, offload_of(packet, 100))])
    forged = bytearray(block.payload)
    at = data.draw(st.integers(0, len(forged) - 1))
    forged[at] ^= data.draw(st.integers(1, 255))
    forged = forged[: data.draw(st.integers(at + 1, len(forged)))]
    memory = bytearray(buffer_size(len(forged), block.segment_size))
    opener = Opener(receiver, memoryview(memory))
    view = memoryview(forged)
    while view:
        consumed = opener.open(view, block.segment_size)
        view = view[max(consumed, block.segment_size) :]  # the node has counted an index that is not ours
    for piece in opener.opened.packets:
        size = len(piece.data) - 40
        start = int.from_bytes(piece.data[24:28], "big") - 1
        assert piece.data[40:] == payload[start : start + size]
    bad = at // block.segment_size
    assert payload[bad * 100 : bad * 100 + 100] not in memory
    assert receiver.window.is_fresh(bad)
    assert all(isinstance(error, CryptoError | WireError | ProtocolError) for error in opener.opened.errors)


def test_each_datagram_opens_once_also_in_blocks() -> None:
    sender, receiver = sessions()
    packet = tcp(bytes(1000))
    (block,) = seal(sender, [Packet(packet, offload_of(packet, 100))])
    stride = block.segment_size
    third = bytes(block.payload[2 * stride : 3 * stride])
    assert opened(receiver, third, stride).count == 1
    again = opened(receiver, block.payload, stride)
    assert (again.count, len(again.packets)) == (9, 2)
    assert [str(error) for error in again.errors] == ["replayed or too old datagram"]
    assert opened(receiver, block.payload, stride).count == 0


@given(st.permutations(range(8)))
def test_any_order_brings_the_same_bytes(order: list[int]) -> None:
    sender, receiver = sessions()
    payload = Random(4).randbytes(800)
    packet = tcp(payload)
    (block,) = seal(sender, [Packet(packet, offload_of(packet, 100))])
    stride = block.segment_size
    mixed = b"".join(bytes(block.payload[n * stride : (n + 1) * stride]) for n in order)
    result = opened(receiver, mixed, stride)
    pieces = {int.from_bytes(one.data[24:28], "big"): bytes(one.data[40:]) for one in result.packets}
    assert b"".join(pieces[at] for at in sorted(pieces)) == payload
    assert result.errors == []
    assert receiver.window.report(64) == (7, 7, ())


@settings(deadline=None)
@given(st.integers(1, 1500), st.integers(0, 1200), st.integers(1, 3))
def test_a_datagram_size_that_lies_opens_only_what_is_true(stride: int, cut_off: int, copies: int) -> None:
    """Wherever the kernel, or a driver, says that datagrams begin: only whole true ones open, each once."""
    sender, receiver = sessions()
    payload = Random(5).randbytes(1000)
    packet = tcp(payload)
    (block,) = seal(sender, [Packet(packet, offload_of(packet, 100))])
    data = (bytes(block.payload) * copies)[cut_off:]
    memory = bytearray(buffer_size(len(data), stride) + 64)
    opener = Opener(receiver, memoryview(memory)[:-64])
    view = memoryview(data)
    while view:
        view = view[max(opener.open(view, stride), stride) :]
    found = [bytes(one.data[40:]) for one in opener.opened.packets]
    pieces = {payload[at : at + 100] for at in range(0, 1000, 100)}
    whole = [piece[at : at + 100] for piece in found for at in range(0, len(piece), 100)]
    assert pieces.issuperset(whole)
    assert len(set(whole)) == len(whole) == opener.opened.count
    assert memory[-64:] == bytes(64)
    if stride == block.segment_size and not cut_off:
        assert b"".join(found) == payload


@settings(deadline=None)
@given(st.data())
def test_trailers_that_lie_never_bring_bytes_of_elsewhere(data: st.DataObject) -> None:
    """A peer that holds the keys seals what it likes: out come whole packets of its own bytes, or nothing."""
    sender, receiver = sessions()
    size = data.draw(st.integers(0, 200))
    bodies, plaintexts = [], []
    for number in range(data.draw(st.integers(1, 8))):
        body = Random(number).randbytes(size)
        segment = tcp(body, sequence=1 + number * size, identification=7 + number)
        trailer = bytearray(segment[:40] + number.to_bytes(2, "big") + bytes([40]))
        for _ in range(data.draw(st.integers(0, 2))):
            trailer[data.draw(st.integers(0, 42))] = data.draw(st.integers(0, 255))
        bodies.append(body)
        plaintexts.append(body + bytes(trailer))
    block = b"".join(sender.seal(plaintext, KIND_TCP) for plaintext in plaintexts)
    stride = len(block) // len(plaintexts)
    memory = bytearray(b"\xee" * (buffer_size(len(block), stride) + 64))
    opener = Opener(receiver, memoryview(memory)[:-64])
    assert opener.open(memoryview(block), stride) == len(block)
    assert opener.opened.count == len(plaintexts)
    said = b"".join(plaintexts)
    for packet in opener.opened.packets:
        assert addresses_of(packet.data) is not None
        headers_size = (packet.data[0] & 15) * 4
        headers_size += (packet.data[headers_size + 12] >> 4) * 4
        carried = bytes(packet.data[headers_size:])
        step = packet.offload.segment_size if packet.offload else 0
        for at in range(0, len(carried), step or len(carried) or 1):
            assert carried[at : at + (step or len(carried))] in said
    assert memory[-64:] == b"\xee" * 64
    assert all(isinstance(error, WireError) for error in opener.opened.errors)


@pytest.mark.parametrize("kind", [KIND_IPV4, KIND_PARTIAL, KIND_TCP, 77])
@given(body=st.binary(max_size=200))
def test_a_peer_that_seals_garbage_is_refused(kind: int, body: bytes) -> None:
    sender, receiver = sessions()
    result = opened(receiver, sender.seal(body, kind), 10_000)
    assert result.packets == []
    assert result.count == 1
    assert bool(result.unknown) is (kind == 77)
    assert [type(error) for error in result.errors] == ([] if kind == 77 else [WireError])


def test_messages_and_packets_may_come_together() -> None:
    sender, receiver = sessions()
    first, second = tcp(b"1" * 100), tcp(b"2" * 100, sequence=101, identification=8)
    (one,) = seal(sender, [Packet(first, offload_of(first))])
    message = sender.seal(bytes(len(one.payload) - 29), KIND_CONTROL)
    (other,) = seal(sender, [Packet(second, offload_of(second))])
    result = opened(receiver, bytes(one.payload) + message + bytes(other.payload), one.segment_size)
    assert [packet.data for packet in result.packets] == [first, second]
    assert result.messages == [bytes(len(one.payload) - 29)]


@given(body=st.binary(max_size=1500))
def test_a_probe_is_its_first_bytes_whatever_fills_it(body: bytes) -> None:
    sender, receiver = sessions()
    result = opened(receiver, sender.seal(body, KIND_PROBE), 10_000)
    assert result.probes == ([body[:8]] if len(body) >= 8 else [])
    assert [type(error) for error in result.errors] == ([] if len(body) >= 8 else [WireError])
    assert not result.packets


def test_datagrams_of_another_session_are_left_for_it() -> None:
    sender, receiver = sessions()
    payload = sender.seal(udp(b"x"), KIND_IPV4)
    opener = Opener(receiver, memoryview(bytearray(buffer_size(3 * len(payload), len(payload)))))
    foreign = b"\0\0\0\7" + payload[4:]
    assert opener.open(memoryview(payload + foreign + payload), len(payload)) == len(payload)


@pytest.mark.parametrize("cipher", list(Cipher))
def test_blocks_are_what_single_datagrams_would_be(cipher: Cipher) -> None:
    """The plain way is the oracle, with either cipher."""
    key = SealingKey(KEYS[0], cipher)
    plaintexts = [bytes([number]) * 50 for number in range(5)] + [b"short"]
    out = bytearray(5 * 78 + 33)
    key.seal_each(9, 100, map(memoryview, plaintexts), memoryview(out), 78)
    assert out == b"".join(key.seal(9, 100 + n, plaintext) for n, plaintext in enumerate(plaintexts))
    opening = OpeningKey(KEYS[0], cipher)
    into = memoryview(bytearray(50))
    opening.open_into(memoryview(out)[78:156], into)
    assert into == plaintexts[1]
    forged = bytearray(out[78:156])
    forged[20] ^= 1
    with pytest.raises(CryptoError):
        opening.open_into(memoryview(forged), into)
    assert into == bytes(50), "what was not sealed is not left behind"
