"""Packets into blocks of sealed datagrams: a super-packet stays one thing until the kernel cuts it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from vipnet.core.session import Session
from vipnet.crypto.run import Run
from vipnet.wire import tcp
from vipnet.wire.datagram import (
    BLOCK_MAX,
    HEADER_SIZE,
    KIND_IPV4,
    KIND_PARTIAL,
    SEAL_OVERHEAD,
    SEGMENTS_MAX,
    TAG_SIZE,
)
from vipnet.wire.offload import Packet, complete_checksum, is_begun

_GROWTH: Final = HEADER_SIZE + TAG_SIZE
_TRAIN_MIN: Final = 16  # segments: fewer come where TCP is slow, and mostly arrive one by one


class Block(Struct, frozen=True, gc=False):
    """Datagrams one behind the other.

    counter       of the first; the others follow
    segment_size  bytes of each but the last, which may be shorter
    repeated      of a super-packet: TCP sends by itself what is lost of it
    """

    counter: int
    payload: bytes | bytearray
    segment_size: int
    repeated: bool = False


def seal(session: Session, packets: Sequence[Packet]) -> list[Block]:
    """PACKETS, in their order, under SESSION. The memory of super-packets is overwritten."""
    blocks: list[Block] = []
    plaintexts: list[memoryview] = []  # of one block to be: equal sizes, but for the last
    size = count_max = 0
    for packet in packets:
        how = _plan(packet)
        if how is not None and how.count > 1:
            _seal_listed(session, plaintexts, blocks)
            plaintexts = []
            _seal_super(session, packet.writable(), how, blocks)
            continue
        if how is None:
            plaintext = _whole(packet)
        else:
            plaintext = tcp.one_segment(packet, how, session.sent + len(plaintexts))
        this = len(plaintext)
        if plaintexts and (this > size or len(plaintexts[-1]) < size or len(plaintexts) >= count_max):
            _seal_listed(session, plaintexts, blocks)
            plaintexts = []
        if not plaintexts:
            size = this
            count_max = min(SEGMENTS_MAX, BLOCK_MAX // (size + _GROWTH))
        plaintexts.append(plaintext)
    _seal_listed(session, plaintexts, blocks)
    return blocks


def sealed_size(packet: Packet, session: Session) -> int:
    """Bytes of the datagrams that PACKET becomes under SESSION."""
    how = _plan(packet)
    if how is None:
        return len(packet.data) + SEAL_OVERHEAD
    end = how.end_size + _GROWTH if in_train(session, packet.data, how) else 0
    return (how.count - 1) * (how.plain_size + _GROWTH) + how.last_plain_size + _GROWTH + end


def _plan(packet: Packet) -> tcp.TcpCut | None:
    """How PACKET is cut; None when it goes as it is: without payload there is nothing to cut or to join."""
    how = None if packet.offload is None else tcp.plan_cut(packet.data, packet.offload)
    return how if how is not None and how.last_size else None


def _seal_listed(session: Session, plaintexts: list[memoryview], blocks: list[Block]) -> None:
    if not plaintexts:
        return
    stride = len(plaintexts[0]) + _GROWTH
    payload = bytearray((len(plaintexts) - 1) * stride + len(plaintexts[-1]) + _GROWTH)
    counter = session.take(len(plaintexts))
    session.seal_block(counter, plaintexts, payload, stride)
    blocks.append(Block(counter, payload, stride))


def _seal_super(session: Session, room: memoryview, how: tcp.TcpCut, blocks: list[Block]) -> None:
    """As many segments as go in a train, and the rest one by one."""
    first = in_train(session, room, how)
    if first:
        blocks.append(seal_train(session, room, how, first))
    if first < how.count:
        _seal_rest(session, room, how, first, blocks)


def seal_train(session: Session, packet: bytes | memoryview, how: tcp.TcpCut, count: int) -> Block:
    """The first COUNT segments of PACKET, as many as in_train() says at most; its memory stays as it is."""
    counter, packet = session.take(count + 1), memoryview(packet)
    headers, size = packet[: how.headers_size], how.segment_size
    trailers = tcp.train_trailers(headers, how, counter, count)
    payload = packet[how.headers_size : how.headers_size + count * size]
    train = session.seal_train(counter, payload, size, trailers, tcp.train_end(*trailers))
    return Block(counter, train, how.plain_size + _GROWTH, repeated=True)


def in_train(session: Session, headers: bytes | memoryview, how: tcp.TcpCut) -> int:
    """How many segments, from the first on, may go in a train: whole ones, as many as one send takes."""
    if session.trains is None or how.count < _TRAIN_MIN or not tcp.may_be_train(headers):
        return 0
    if how.end_size >= how.plain_size:
        return 0  # what is sent together ends with the first that is shorter
    most = min(SEGMENTS_MAX - 1, (BLOCK_MAX - how.end_size - _GROWTH) // (how.plain_size + _GROWTH))
    whole = how.count - (how.last_size < how.segment_size)
    count = min(whole, most)
    return count if count >= _TRAIN_MIN else 0


def _seal_rest(session: Session, room: memoryview, how: tcp.TcpCut, first: int, blocks: list[Block]) -> None:
    """From segment FIRST on, sealed from the end: each trailer is written over what is sealed already."""
    stride = how.plain_size + _GROWTH
    most = min(SEGMENTS_MAX, BLOCK_MAX // stride)
    counter = session.take(how.count - first) - first  # of segment 0, if it were one of these
    stretches = tcp.stretches(room[: how.headers_size], how, counter, first)
    place, end, size = len(blocks), how.count, how.last_plain_size + _GROWTH
    while end > first:
        # What is full stands in front.
        begin = first + (end - 1 - first) // most * most
        payload = bytearray((end - 1 - begin) * stride + size)
        with memoryview(payload) as out:
            for stretch in reversed(stretches):
                start, after = max(stretch.first, begin), min(stretch.first + stretch.count, end)
                if start < after:
                    there = out[(start - begin) * stride :][: (after - start) * stride]
                    at = how.headers_size + start * how.segment_size
                    run = Run(room, at, stretch.size, stretch.trailer)
                    session.seal_run(counter + start, run, there, min(stride, len(there)))
        blocks.insert(place, Block(counter + begin, payload, stride, repeated=True))
        end, size = begin, stride


def _whole(packet: Packet) -> memoryview:
    data, offload, kind = packet.data, packet.offload, KIND_IPV4
    if offload is not None:
        if is_begun(data, offload):
            kind = KIND_PARTIAL
        else:
            packet = Packet(complete_checksum(data, offload))
    room, size = packet.writable(), len(packet.data)
    room[size] = kind
    return room[: size + 1]
