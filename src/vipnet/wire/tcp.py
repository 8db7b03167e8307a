"""TCP in the tunnel: super-packets cut into segments to be sealed, and put together again.

    payload | IPv4 header | TCP header | counter u16 | length of both headers u8 | kind u8

The headers are a trailer, so that a super-packet is sealed out of its own memory: each
segment's trailer is written over the payload behind it, which has been sealed before.
Segments in the middle have the same trailer: it holds the headers of the first of them and
the low bits of its counter, and each one's own counter says how far behind it is.
The receiver opens one segment behind the other, each over the last one's trailer, and
the payloads abut. The length is there because payload could forge a header: where one
begins must never be guessed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, Self

from msgspec import Struct

from vipnet.errors import WireError
from vipnet.wire.checksum import sum16
from vipnet.wire.datagram import KIND_TCP, KIND_TRAIN, TAG_SIZE
from vipnet.wire.inner import IPV4_HEADER_MIN, PROTOCOL_TCP, is_fragment
from vipnet.wire.offload import CHECKSUM_FIELD, PACKET_MAX, Offload, Packet, complete_checksum

HEADERS_MIN: Final = 40  # bytes: IPv4 and TCP without options
HEADERS_MAX: Final = 120
_TCP_MIN: Final = 20
_TAIL: Final = 4  # bytes: counter, length, kind

_LENGTH_AT, _ID_AT, _IP_SUM_AT = 2, 4, 10  # in the IPv4 header
_SEQUENCE_AT, _OFFSET_AT, _FLAGS_AT, _SUM_AT = 4, 12, 13, 16  # in the TCP header
_FIN, _PSH, _ACK, _ECE, _CWR = 0x01, 0x08, 0x10, 0x40, 0x80
_JOINABLE: Final = _FIN | _PSH | _ACK | _ECE | _CWR  # no SYN, RST, URG

_u16, _u32 = struct.Struct("!H"), struct.Struct("!I")
_tail = struct.Struct("!HBB")
_pack_tail, _pack_tail_into = _tail.pack, _tail.pack_into
_NO_SUM: Final = bytes(2)


class TcpCut(Struct, frozen=True, gc=False):
    """How a TCP packet is cut.

    headers_size  bytes of both headers
    segment_size  payload bytes of all segments but the last
    count         segments
    last_size     payload bytes of the last
    """

    headers_size: int
    segment_size: int
    count: int
    last_size: int

    @property
    def plain_size(self) -> int:
        """Bytes of plaintext of all segments but the last."""
        return self.segment_size + self.headers_size + _TAIL

    @property
    def last_plain_size(self) -> int:
        return self.last_size + self.headers_size + _TAIL

    @property
    def end_size(self) -> int:
        """Bytes of plaintext of the end of a train."""
        return TAG_SIZE + 1 + self.headers_size + _TAIL


def plan_cut(packet: bytes | memoryview, offload: Offload) -> TcpCut | None:
    """How to cut PACKET; None when it is not a whole TCP packet whose checksum is begun."""
    size = len(packet)
    if size < HEADERS_MIN or packet[9] != PROTOCOL_TCP or is_fragment(packet):
        return None
    ip_size = (packet[0] & 0x0F) * 4
    if (offload.transport, offload.checksum) != (ip_size, CHECKSUM_FIELD[PROTOCOL_TCP]):
        return None
    if ip_size < IPV4_HEADER_MIN or size < ip_size + _TCP_MIN:
        return None
    tcp_size = (packet[ip_size + _OFFSET_AT] >> 4) * 4
    payload = size - ip_size - tcp_size
    if tcp_size < _TCP_MIN or payload < 0:
        return None
    segment_size = offload.segment_size or payload
    if payload <= segment_size:
        return TcpCut(ip_size + tcp_size, payload, 1, payload)
    count = -(-payload // segment_size)
    return TcpCut(ip_size + tcp_size, segment_size, count, payload - (count - 1) * segment_size)


def recut(packet: Packet, size_max: int) -> Packet | None:
    """PACKET, to be cut into segments that are packets of at most SIZE_MAX bytes; itself when they are.

    None when it cannot be: no TCP whose checksum is begun, or flags that stand for one segment alone.
    """
    offload = packet.offload
    how = None if offload is None else plan_cut(packet.data, offload)
    if how is None or offload is None:
        return None
    if how.headers_size + how.segment_size <= size_max:
        return packet
    if packet.data[offload.transport + _FLAGS_AT] & ~_JOINABLE or how.headers_size >= size_max:
        return None
    smaller = Offload(offload.transport, offload.checksum, size_max - how.headers_size)
    return Packet(packet.data, smaller, packet.room)


class Stretch(Struct, frozen=True, gc=False):
    """`count` segments from number `first` on, `size` bytes of payload each, that have the same trailer."""

    first: int
    count: int
    size: int
    trailer: bytes


def stretches(headers: bytes | memoryview, how: TcpCut, counter: int, begin: int = 0) -> list[Stretch]:
    """The segments that HOW cuts, from number BEGIN to the last; number 0 is or would be under COUNTER.

    PSH and FIN go with the last segment only, CWR with the first (RFC 3168 section 6.1.2).
    """
    of_all, size, last = _Headers(headers), how.segment_size, how.count - 1
    flags = of_all.flags

    def stretch(first: int, count: int, size: int, flags: int) -> Stretch:
        identification, sequence = of_all.id + first, of_all.sequence + first * how.segment_size
        trailer = of_all.trailer(size, flags, identification, sequence, counter + first)
        return Stretch(first, count, size, trailer)

    if not last:
        return [stretch(0, 1, how.last_size, flags)]
    cut: list[Stretch] = []
    if flags & _CWR and not begin:
        cut.append(stretch(0, 1, size, flags & ~(_FIN | _PSH)))
        begin = 1
    if last > begin:
        cut.append(stretch(begin, last - begin, size, flags & ~(_FIN | _PSH | _CWR)))
    cut.append(stretch(last, 1, how.last_size, flags & ~_CWR))
    return cut


def one_segment(packet: Packet, how: TcpCut, counter: int) -> memoryview:
    """The plaintext of PACKET, which is a single segment, as it is sealed under COUNTER."""
    room, size, headers_size = packet.writable(), len(packet.data), how.headers_size
    trailer = room[size : size + headers_size + _TAIL]
    trailer[:headers_size] = room[:headers_size]
    trailer[_IP_SUM_AT : _IP_SUM_AT + 2] = _NO_SUM
    sum_at = (room[0] & 0x0F) * 4 + _SUM_AT
    trailer[sum_at : sum_at + 2] = _NO_SUM
    _pack_tail_into(trailer, headers_size, counter & 0xFFFF, headers_size, KIND_TCP)
    return room[headers_size : size + headers_size + _TAIL]


def may_be_train(headers: bytes | memoryview) -> bool:
    """Whether none of the segments under HEADERS but the last has flags of its own."""
    return not headers[(headers[0] & 0x0F) * 4 + _FLAGS_AT] & ~(_FIN | _PSH | _ACK | _ECE)


def train_trailers(headers: bytes | memoryview, how: TcpCut, counter: int, count: int) -> tuple[bytes, bytes]:
    """What stands behind each of the first COUNT segments, the first under COUNTER, and behind the last."""
    of_all, size, last = _Headers(headers), how.segment_size, count - 1
    flags = of_all.flags & ~(_FIN | _PSH)
    trailer = of_all.trailer(size, flags, of_all.id, of_all.sequence, counter)
    if count < how.count or flags == of_all.flags:
        return trailer, trailer
    identification, sequence = of_all.id + last, of_all.sequence + last * size
    return trailer, of_all.trailer(size, of_all.flags, identification, sequence, counter + last)


def train_end(trailer: bytes, last_trailer: bytes) -> bytes:
    """What the end of a train says, behind the tag: flags of the last segment, headers, its own kind."""
    flags = last_trailer[(trailer[0] & 0x0F) * 4 + _FLAGS_AT]
    return bytes((flags,)) + trailer[:-1] + bytes((KIND_TRAIN,))


class _Headers:
    """IPv4 and TCP header, of which only the fields that differ from segment to segment change."""

    def __init__(self, headers: bytes | memoryview) -> None:
        self.size, self.ip_size = len(headers), (headers[0] & 0x0F) * 4
        self._bytes = bytearray(headers)
        self._bytes[_IP_SUM_AT : _IP_SUM_AT + 2] = bytes(2)
        self._bytes[self.ip_size + _SUM_AT : self.ip_size + _SUM_AT + 2] = bytes(2)
        (self.id,) = _u16.unpack_from(headers, _ID_AT)
        (self.sequence,) = _u32.unpack_from(headers, self.ip_size + _SEQUENCE_AT)
        self.flags = headers[self.ip_size + _FLAGS_AT]

    def trailer(self, size: int, flags: int, identification: int, sequence: int, counter: int) -> bytes:
        """What stands behind SIZE bytes of payload; both checksums are 0."""
        return bytes(self._with(size, flags, identification, sequence)) + _pack_tail(
            counter & 0xFFFF, self.size, KIND_TCP
        )

    def whole(self, size: int, flags: int, number: int = 0, at: int = 0) -> bytes:
        """Headers of one packet with SIZE bytes of payload; the TCP checksum is begun (pseudo header).

        number, at  which segment it is, and where its payload begins in that of all
        """
        headers, ip_size = self._with(size, flags, self.id + number, self.sequence + at), self.ip_size
        _u16.pack_into(headers, _IP_SUM_AT, ~sum16(headers[:ip_size]) & 0xFFFF)
        begun = sum16(headers[12:20], PROTOCOL_TCP + self.size - ip_size + size)
        _u16.pack_into(headers, ip_size + _SUM_AT, begun)
        return bytes(headers)

    def _with(self, size: int, flags: int, identification: int, sequence: int) -> bytearray:
        headers, ip_size = bytearray(self._bytes), self.ip_size
        _u16.pack_into(headers, _LENGTH_AT, self.size + size)
        _u16.pack_into(headers, _ID_AT, identification & 0xFFFF)
        _u32.pack_into(headers, ip_size + _SEQUENCE_AT, sequence & 0xFFFFFFFF)
        headers[ip_size + _FLAGS_AT] = flags
        return headers


class TcpRun:
    """Segments that were opened one behind the other, while each goes on where the last ended.

    trailer  of the first segment
    counter  under which it was sealed

    Raise WireError when the trailer does not hold the headers of one such TCP segment.
    """

    __slots__ = (
        "_headers",
        "_last_flags",
        "_next_counter",
        "closed",
        "count",
        "segment_size",
        "size",
        "trailer",
    )

    def __init__(self, trailer: bytes, payload_size: int, counter: int) -> None:
        _check(trailer, payload_size)
        self._headers = headers = _Headers(trailer[:-_TAIL])
        # The trailer may be that of a segment before this one.
        ahead = _ahead(trailer, counter)
        headers.id += ahead
        headers.sequence += ahead * payload_size
        self.segment_size = self.size = payload_size  # bytes of payload: of the first, of all
        self.count = 1
        self.trailer = trailer  # that the next segment has, unless it is the last
        self._next_counter = counter + 1
        self._last_flags = headers.flags
        self.closed = not payload_size or bool(headers.flags & ~(_ACK | _ECE | _CWR))

    def add(self, trailer: bytes, payload_size: int, counter: int) -> bool:
        """Whether the segment with this TRAILER goes on where the last one ended; if so it is taken in."""
        if self.closed or self._headers.size + self.size + payload_size > PACKET_MAX:
            return False
        alike = trailer == self.trailer and payload_size == self.segment_size
        if not (alike and counter == self._next_counter) and not self._turn(trailer, payload_size, counter):
            return False
        self.size += payload_size
        self.count += 1
        self._next_counter = counter + 1
        return True

    def _turn(self, trailer: bytes, payload_size: int, counter: int) -> bool:
        """Whether a segment with a TRAILER of its own goes on: the last one, or one of another stretch."""
        headers = self._headers
        if not 0 < payload_size <= self.segment_size or len(trailer) != headers.size + _TAIL:
            return False
        flags = trailer[headers.ip_size + _FLAGS_AT]
        if flags & ~(_FIN | _PSH) != headers.flags & ~_CWR:
            return False
        ahead = _ahead(trailer, counter)
        identification = headers.id + self.count - ahead
        sequence = headers.sequence + self.size - ahead * payload_size
        if trailer != headers.trailer(payload_size, flags, identification, sequence, counter - ahead):
            return False
        self.trailer, self._last_flags = trailer, flags
        self.closed = payload_size < self.segment_size or bool(flags & (_FIN | _PSH))
        return True

    @property
    def room(self) -> int:
        """How many more whole segments there may be."""
        if self.closed:
            return 0
        return (PACKET_MAX - self._headers.size - self.size) // self.segment_size

    def extend(self, count: int) -> None:
        """Take in COUNT whole segments with the same trailer under the next counters."""
        self.count += count
        self.size += count * self.segment_size
        self._next_counter += count

    @classmethod
    def of_train(cls, end: bytes, payload_size: int, counter: int, count: int) -> Self:
        """COUNT segments of PAYLOAD_SIZE bytes, the first under COUNTER, as END says behind the tag.

        Raise WireError when it does not say it as train_end() does.
        """
        if len(end) < 1 + HEADERS_MIN + _TAIL or len(end) != 1 + trailer_size(end[-2]):
            raise WireError(f"end of a train: {len(end)} bytes")
        run = cls(end[1:-1] + bytes((KIND_TCP,)), payload_size, counter)
        flags = end[0]
        if count - 1 > run.room or flags & ~(_FIN | _PSH) != run._headers.flags:
            raise WireError(f"end of a train: {count} segments of {payload_size} bytes, flags {flags:#x}")
        run.extend(count - 1)
        run._last_flags = flags
        run.closed = bool(flags & (_FIN | _PSH))
        return run

    def finish(self, buffer: memoryview, start: int) -> Packet:
        """Write the headers in front of the payloads, which begin at START; at least HEADERS_MAX are free."""
        headers = self._headers
        first, end = start - headers.size, start + self.size
        buffer[first:start] = headers.whole(self.size, headers.flags | self._last_flags)
        segment_size = self.segment_size if self.count > 1 else 0
        return Packet(buffer[first:end], Offload(headers.ip_size, _SUM_AT, segment_size))


def _ahead(trailer: bytes, counter: int) -> int:
    """How many segments lie between that with TRAILER's headers and the one of COUNTER."""
    of_headers: int
    (of_headers,) = _u16.unpack_from(trailer, len(trailer) - _TAIL)
    return (counter - of_headers) & 0xFFFF


def first_segment(packet: Packet) -> Packet:
    """A copy of PACKET, whole TCP, or of what its first segment would be; the rest may be missing."""
    how = None if packet.offload is None else plan_cut(packet.data, packet.offload)
    if how is None or _u16.unpack_from(packet.data, _LENGTH_AT) == (how.headers_size + how.last_size,):
        return packet.kept()
    headers = _Headers(packet.data[: how.headers_size])
    payload = packet.data[how.headers_size : how.headers_size + how.segment_size]
    whole = headers.whole(how.segment_size, headers.flags & ~(_FIN | _PSH))
    return Packet(whole + bytes(payload), Offload(headers.ip_size, _SUM_AT))


def complete(packet: bytes | memoryview, offload: Offload) -> Iterator[bytes]:
    """PACKET as a kernel without offloads wants it: one segment after the other, all checksums right.

    The plain and slow way. OFFLOAD must be true of PACKET, as it is of what was opened.
    """
    how = plan_cut(packet, offload)
    if how is None or how.count == 1:
        yield complete_checksum(packet, offload)
        return
    headers, last = _Headers(packet[: how.headers_size]), how.count - 1
    for number in range(how.count):
        at = number * how.segment_size
        payload = packet[how.headers_size + at : how.headers_size + at + how.segment_size]
        flags = headers.flags & ~(_CWR if number else 0) & ~(_FIN | _PSH if number < last else 0)
        whole = headers.whole(len(payload), flags, number, at)
        yield complete_checksum(whole + bytes(payload), offload)


def trailer_size(plaintext_tail: int) -> int:
    """Bytes of the trailer whose length byte is PLAINTEXT_TAIL. Raise WireError when there is none such."""
    if not HEADERS_MIN <= plaintext_tail <= HEADERS_MAX:
        raise WireError(f"TCP trailer: headers of {plaintext_tail} bytes")
    return plaintext_tail + _TAIL


def _check(trailer: bytes, payload_size: int) -> None:
    """Raise WireError unless TRAILER holds the headers of a TCP segment with PAYLOAD_SIZE bytes."""
    headers_size = len(trailer) - _TAIL
    ip_size = (trailer[0] & 0x0F) * 4
    if trailer[0] >> 4 != 4 or ip_size < IPV4_HEADER_MIN or ip_size + _TCP_MIN > headers_size:
        raise WireError("TCP trailer: no IPv4 header")
    tcp_size = (trailer[ip_size + _OFFSET_AT] >> 4) * 4
    if tcp_size < _TCP_MIN or ip_size + tcp_size != headers_size:
        raise WireError(f"TCP trailer: {headers_size} bytes, headers of {ip_size} and {tcp_size}")
    if trailer[9] != PROTOCOL_TCP or is_fragment(trailer):
        raise WireError("TCP trailer: another protocol, or a fragment")
    (length,) = _u16.unpack_from(trailer, _LENGTH_AT)
    if length != headers_size + payload_size:
        raise WireError(f"TCP trailer: {headers_size + payload_size} bytes, its header says {length}")
