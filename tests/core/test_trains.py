"""Trains: opened as a whole when all is there, piece by piece when not; only what was sealed comes out."""

from __future__ import annotations

import struct
from random import Random
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.core.test_opening import in_room, opened, sessions
from tests.wire.test_tcp import ACK, CWR, FIN, PSH, offload_of, tcp

from vipnet.core.opening import Opened, Opener, buffer_size
from vipnet.core.sealing import Block, seal
from vipnet.core.session import Session
from vipnet.crypto.train import TrainOpening
from vipnet.crypto.transport import Cipher
from vipnet.errors import CryptoError, ProtocolError, WireError
from vipnet.wire.datagram import (
    BLOCK_MAX,
    COUNTERS_MAX,
    FIRST_NUMBER,
    NEXT_PIECE,
    SEGMENTS_MAX,
    counter_of,
    piece_number,
    position_of,
    tail_size_of,
)
from vipnet.wire.offload import Packet, super_packet_max

PIECES, SIZE = 20, 100
PAYLOAD = Random(6).randbytes(PIECES * SIZE)


def pair() -> tuple[Session, Session]:
    return sessions(Cipher.AES_256_GCM_TRAINS)


def train(sender: Session, payload: bytes = PAYLOAD, size: int = SIZE, flags: int = ACK) -> Block:
    packet = tcp(payload, flags=flags)
    (block,) = seal(sender, [in_room(packet, offload_of(packet, size))])
    return block


def datagrams(block: Block) -> list[bytes]:
    stride = block.segment_size
    return [bytes(block.payload[at : at + stride]) for at in range(0, len(block.payload), stride)]


def payload_of(result: Opened) -> dict[int, bytes]:
    """Where in PAYLOAD what came out belongs, by its sequence number."""
    return {int.from_bytes(one.data[24:28], "big") - 1: bytes(one.data[40:]) for one in result.packets}


def test_a_whole_train_is_one_packet() -> None:
    sender, receiver = pair()
    block = train(sender)
    assert (len(datagrams(block)), sender.sent) == (PIECES + 1, PIECES + 1)
    result = opened(receiver, block.payload, block.segment_size)
    (packet,) = result.packets
    assert (packet.data, packet.offload) == (tcp(PAYLOAD), offload_of(tcp(PAYLOAD), SIZE))
    assert (result.count, result.size, result.top) == (PIECES + 1, len(block.payload), PIECES)
    assert receiver.window.report(64) == (PIECES, PIECES, ())
    again = opened(receiver, block.payload, block.segment_size)
    assert (again.packets, again.count, len(again.errors)) == ([], 0, PIECES + 1)


def test_the_largest_super_packet_of_tun0_is_one_send() -> None:
    """`super_packet_max` has room for the end, the kernel takes at least the headers off."""
    for mtu in (1280, 1419, 1420, 2000, 8900):
        segment = mtu - 52
        count = (super_packet_max(mtu) - 321) // segment
        packet = tcp(bytes(count * segment), options=bytes(12))
        (block,) = seal(pair()[0], [in_room(packet, offload_of(packet, segment))])
        assert len(block.payload) <= BLOCK_MAX
        assert len(datagrams(block)) == count + (count >= 16) <= SEGMENTS_MAX


@pytest.mark.parametrize("flags", [ACK, ACK | PSH, ACK | FIN, ACK | FIN | PSH, ACK | 0x40])
@pytest.mark.parametrize("rest", [0, 1, 99])
def test_flags_of_the_last_segment_stay_its_own(flags: int, rest: int) -> None:
    sender, receiver = pair()
    packet = tcp(PAYLOAD + bytes(rest), flags=flags)
    blocks = seal(sender, [in_room(packet, offload_of(packet, SIZE))])
    assert [len(datagrams(block)) for block in blocks] == [PIECES + 1] + [1] * bool(rest)
    packets = [opened(receiver, block.payload, block.segment_size).packets for block in blocks]
    assert b"".join(bytes(one.data[40:]) for (one,) in packets) == packet[40:]
    assert [one.data[33] for (one,) in packets] == [ACK | flags & 0x40] * bool(rest) + [flags]


def test_what_is_special_goes_segment_by_segment() -> None:
    for packet, size in [
        (tcp(PAYLOAD, flags=ACK | CWR), SIZE),
        (tcp(PAYLOAD[: 15 * SIZE]), SIZE),
        (tcp(bytes(60_000)), 8_000),
        (tcp(bytes(17 * 20)), 17),
    ]:
        sender, receiver = pair()
        for block in seal(sender, [in_room(packet, offload_of(packet, size))]):
            assert not any(int.from_bytes(one[4:12], "big") >= FIRST_NUMBER for one in datagrams(block))
            assert opened(receiver, block.payload, block.segment_size).packets


@settings(deadline=None)
@given(st.lists(st.integers(0, PIECES), max_size=3 * PIECES), st.booleans())
@example(list(range(PIECES + 1)), True)
@example(list(range(PIECES)), True)
@example([*range(5), *range(6, PIECES + 1)], True)
def test_whatever_arrives_and_in_whatever_order_is_opened_once(order: list[int], together: bool) -> None:
    sender, receiver = pair()
    block = train(sender)
    sent, stride = datagrams(block), block.segment_size
    groups = [[sent[n] for n in order]] if together else [[sent[n]] for n in order]
    found: dict[int, bytes] = {}
    for group in groups:
        # The kernel puts together only what has one size, the last apart.
        run: list[bytes] = []
        for one in group:
            run.append(one)
            if len(one) < stride:
                found |= payload_of(opened(receiver, b"".join(run), stride))
                run = []
        if run:
            found |= payload_of(opened(receiver, b"".join(run), stride))
    for at, piece in found.items():
        assert piece == PAYLOAD[at : at + len(piece)]
    assert sum(map(len, found.values())) == SIZE * len(set(order) - {PIECES})
    assert [n for n in range(PIECES + 1) if receiver.window.is_fresh(n)] == [
        n for n in range(PIECES + 1) if n not in order
    ]


@settings(deadline=None)
@given(st.data())
def test_of_a_forged_train_only_true_bytes_come_out(data: st.DataObject) -> None:
    """Any byte changed, any truncation: nothing that was not sealed, and nothing else is lost."""
    sender, receiver = pair()
    block = train(sender)
    stride, forged = block.segment_size, bytearray(block.payload)
    at = data.draw(st.integers(0, len(forged) - 1))
    forged[at] ^= data.draw(st.integers(1, 255))
    forged = forged[: data.draw(st.integers(at + 1, len(forged)) | st.just(len(forged)))]
    memory = bytearray(buffer_size(len(forged), stride))
    opener, view = Opener(receiver, memoryview(memory)), memoryview(forged)
    while view:
        view = view[max(opener.open(view, stride), stride) :]
    found, changed = payload_of(opener.opened), at // stride
    for where, piece in found.items():
        assert piece == PAYLOAD[where : where + len(piece)]
    come = {where + ahead for where, piece in found.items() for ahead in range(0, len(piece), SIZE)}
    whole = {n * SIZE for n in range(min(PIECES, len(forged) // stride))}
    # Changed headers and seals in the middle count for nothing when the whole verifies.
    assert come >= whole - {changed * SIZE}
    if 12 <= at - changed * stride < 12 + SIZE:
        assert changed * SIZE not in come or changed == PIECES
    assert all(isinstance(error, CryptoError | WireError | ProtocolError) for error in opener.opened.errors)


@settings(deadline=None)
@given(
    number=st.integers(0, 2**64 - 1) | st.integers(FIRST_NUMBER, 2**64 - 1),
    tail=st.binary(min_size=1, max_size=130),
    piece=st.integers(0, 60),
    count=st.integers(1, 4),
)
@example(2**64 - 1, bytes(44), 50, 3)
@example(piece_number(44, 255, COUNTERS_MAX - 1), bytes(44), 50, 3)
@example(piece_number(44, 3, 2), bytes(44), 50, 3)
def test_a_peer_that_lies_about_pieces_is_refused(number: int, tail: bytes, piece: int, count: int) -> None:
    """It holds the keys, and seals what it likes under the numbers it likes."""
    sender, receiver = pair()
    number = number & ~(255 << 56) | len(tail) << 56
    encrypt = sender._train_sealing._encrypt  # type: ignore[union-attr]
    sent = []
    for at in range(count):
        header = struct.pack("!IQ", sender.remote_index, (number + at * NEXT_PIECE) % 2**64)
        sent.append(header + bytes(piece) + encrypt(header, tail, bytes(piece)))
    stride = len(sent[0])
    memory = bytearray(b"\xee" * (buffer_size(count * stride, stride) + 64))
    opener = Opener(receiver, memoryview(memory)[:-64])
    assert opener.open(memoryview(b"".join(sent)), stride) == count * stride
    assert memory[-64:] == b"\xee" * 64
    assert all(isinstance(error, CryptoError | WireError | ProtocolError) for error in opener.opened.errors)


@settings(deadline=None)
@given(st.data())
def test_an_end_that_lies_brings_nothing_of_elsewhere(data: st.DataObject) -> None:
    sender, receiver = pair()
    block = train(sender)
    sent, stride = datagrams(block), block.segment_size
    said = bytearray(receiver.peek(sent[-1]))
    for _ in range(data.draw(st.integers(1, 3))):
        said[data.draw(st.integers(0, len(said) - 1))] = data.draw(st.integers(0, 255))
    said = said[: data.draw(st.integers(1, len(said)) | st.just(len(said)))]
    sender.sent = PIECES
    lie = sender.seal(bytes(said[:-1]), said[-1])
    everything = b"".join(sent[:-1]) + lie
    memory = bytearray(b"\xee" * (buffer_size(len(everything), stride) + 64))
    opener = Opener(receiver, memoryview(memory)[:-64])
    opener.open(memoryview(everything), stride)
    for one in opener.opened.packets:
        headers_size = (one.data[0] & 15) * 4
        headers_size += (one.data[headers_size + 12] >> 4) * 4
        assert bytes(one.data[headers_size:]) in PAYLOAD
    assert memory[-64:] == b"\xee" * 64


def test_whole_and_pieces_agree_wherever_a_piece_begins_in_a_cipher_block() -> None:
    sender, receiver = pair()
    assert receiver.trains is not None
    for size in range(90, 122):
        block = train(sender, (PAYLOAD * 2)[: 17 * size], size)
        sent, stride = datagrams(block), block.segment_size
        for at in range(17):
            piece, _ = receiver.trains.open_pieces(memoryview(sent[at]), stride)
            assert piece == (PAYLOAD * 2)[at * size : (at + 1) * size]
        (packet,) = opened(receiver, block.payload, stride).packets
        assert packet.data[40:] == (PAYLOAD * 2)[: 17 * size]


def test_what_does_not_verify_leaves_nothing() -> None:
    sender, receiver = pair()
    block = train(sender)
    out = memoryview(bytearray(b"\xee" * len(PAYLOAD)))
    assert receiver.trains is not None
    with pytest.raises(CryptoError, match="train does not verify"):
        receiver.trains.open_whole(
            memoryview(block.payload)[: PIECES * block.segment_size], block.segment_size, bytes(16), out
        )
    assert out == bytes(len(PAYLOAD))
    with pytest.raises(CryptoError, match="piece of a train does not verify"):
        TrainOpening(bytes(32)).open_pieces(memoryview(block.payload), block.segment_size)


def test_trains_and_all_else_may_follow_one_another() -> None:
    sender, receiver = pair()
    blocks = [train(sender, flags=ACK | flags) for flags in (0, PSH, 0)]
    packet = tcp(b"alone", sequence=9)
    blocks += seal(sender, [in_room(packet, offload_of(packet))])
    received = [
        one.kept() for block in blocks for one in opened(receiver, block.payload, block.segment_size).packets
    ]
    assert [len(one.data) for one in received] == [40 + len(PAYLOAD)] * 3 + [45]


@given(st.integers(1, 255), st.integers(0, 255), st.integers(0, COUNTERS_MAX - 1))
def test_numbers_of_pieces(tail_size: int, position: int, counter: int) -> None:
    number = piece_number(tail_size, position, counter)
    assert FIRST_NUMBER <= number < 2**64
    assert (tail_size_of(number), position_of(number), counter_of(number)) == (tail_size, position, counter)


def test_hosts_that_know_no_trains_take_a_piece_for_forged() -> None:
    """And what is sealed for them has none, whatever the cipher."""
    for cipher in (Cipher.AES_256_GCM, Cipher.CHACHA20_POLY1305):
        sender, receiver = sessions(cipher)
        packet = tcp(PAYLOAD)
        (block,) = seal(sender, [Packet(packet, offload_of(packet, SIZE))])
        assert len(datagrams(block)) == PIECES
        foreign = train(pair()[0])
        result = opened(receiver, foreign.payload, foreign.segment_size)
        assert result.packets == []
        assert {type(error) for error in result.errors} <= {CryptoError}


def test_an_end_is_tried_once_whatever_stands_before_it() -> None:
    """Somebody keeps a true end, and puts many pieces before it that are none."""
    sender, receiver = pair()
    block = train(sender)
    stride, end = block.segment_size, datagrams(block)[-1]
    forged = b"".join(
        struct.pack("!IQ", receiver.local_index, piece_number(44, 0, at)) + bytes(stride - 12)
        for at in range(PIECES)
    )
    with patch.object(Session, "peek", autospec=True, side_effect=Session.peek) as peeked:
        result = opened(receiver, forged + end, stride)
    assert peeked.call_count <= 1
    assert (result.packets, result.count, len(result.errors)) == ([], 1, PIECES)
