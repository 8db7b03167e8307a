"""Sealed datagrams into packets and messages: what came as one goes on as one."""

from __future__ import annotations

import struct
from typing import Final

from vipnet.core.session import Session
from vipnet.crypto.run import Run
from vipnet.crypto.train import TrainOpening
from vipnet.errors import PeerError, ProtocolError, WireError
from vipnet.policy import CHALLENGE_SIZE
from vipnet.wire.datagram import (
    FIRST_NUMBER,
    HEADER_SIZE,
    KIND_CONTROL,
    KIND_IPV4,
    KIND_PARTIAL,
    KIND_PROBE,
    KIND_TCP,
    KIND_TRAIN,
    NEXT_PIECE,
    SEAL_OVERHEAD,
    TAG_SIZE,
    counter_of,
    piece_size,
    position_of,
)
from vipnet.wire.inner import addresses_of
from vipnet.wire.offload import Packet, begun_checksum
from vipnet.wire.tcp import HEADERS_MAX, TcpRun, trailer_size

HEADROOM: Final = HEADERS_MAX  # bytes in front of each packet, for headers that stood behind it
_unpack_header = struct.Struct("!IQ").unpack_from


class Opened:
    """What was in a run of datagrams.

    packets   their views are valid until the buffer is used again
    messages  control messages, not decoded
    probes    the challenges of probes of the path's MTU
    errors    what was not acceptable
    size      bytes of all datagrams that opened, `count` of them
    top       the greatest of their counters
    unknown   datagrams of a kind that a later version may have
    """

    __slots__ = ("count", "errors", "messages", "packets", "probes", "size", "top", "unknown")

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self.messages: list[bytes] = []
        self.probes: list[bytes] = []
        self.errors: list[PeerError] = []
        self.size = self.count = self.unknown = 0
        self.top = -1


def buffer_size(data_size: int, stride: int) -> int:
    """Bytes that any run of DATA_SIZE bytes, in datagrams of STRIDE, may need."""
    return data_size + HEADROOM * (data_size // stride + 2)


def may_be_whole(session: Session, data: memoryview, stride: int) -> bool:
    """Whether DATA looks like a train from the first piece to the end, and nothing else."""
    (_, number), count = _unpack_header(data), (len(data) - 1) // stride
    end = count * stride
    if position_of(number) or not count or len(data) - end < SEAL_OVERHEAD + TAG_SIZE:
        return False
    if _unpack_header(data, end) != (session.local_index, counter_of(number) + count):
        return False
    # Or who withholds an end could have it opened again behind each of many forged pieces.
    last = session.local_index, number + (count - 1) * NEXT_PIECE
    return bool(_unpack_header(data, end - stride) == last)


def open_whole(
    session: Session, trains: TrainOpening, data: memoryview, stride: int, out: memoryview
) -> TcpRun | None:
    """Open to OUT what may_be_whole(); None when it is no train. The replay window is the caller's."""
    (_, number), count = _unpack_header(data), (len(data) - 1) // stride
    size, end = piece_size(stride, number), count * stride
    try:
        said = session.peek(data[end:])
        if size <= 0 or said[-1] != KIND_TRAIN:
            return None
        run = TcpRun.of_train(said[TAG_SIZE:], size, counter_of(number), count)
        trains.open_whole(data[:end], stride, said[:TAG_SIZE], out[: run.size])
    except PeerError:
        return None
    return run


class Opener:
    """One pass over datagrams of one session.

    buffer  where they are opened, buffer_size() bytes
    """

    def __init__(self, session: Session, buffer: memoryview) -> None:
        self._session, self._buffer = session, buffer
        self._position = HEADROOM
        self._run: TcpRun | None = None
        self._run_start = 0
        self._first = self._after = 0  # counters from the one to before the other: opened, not yet marked
        self.opened = Opened()

    def open(self, data: memoryview, stride: int) -> int:
        """Open datagrams from the front of DATA; return how many bytes were the session's."""
        opened = self.opened
        begin = -stride
        while (begin := begin + stride) < len(data):
            datagram = data[begin : begin + stride]
            if len(datagram) < SEAL_OVERHEAD:
                opened.errors.append(WireError(f"sealed datagram: {len(datagram)} bytes"))
                continue
            receiver, counter = _unpack_header(datagram)
            if receiver != self._session.local_index:
                break
            try:
                if counter >= FIRST_NUMBER and (trains := self._session.trains) is not None:
                    begin += stride * (self._open_train(trains, data[begin:], stride, counter) - 1)
                    continue
                self._open_one(datagram, counter)
            except PeerError as error:
                opened.errors.append(error)
                continue
            if self._run is not None and self._session.window.highest <= counter == opened.top:
                begin += stride * self._follow(data[begin + stride :], stride)
        self._mark()
        self._end_run()
        return min(begin, len(data))

    def _open_one(self, datagram: memoryview, counter: int) -> None:
        """Raise PeerError; what was opened before counts all the same."""
        session, position = self._session, self._position
        if counter < self._after:
            self._mark()
        if counter >= session.counters_max or not session.window.is_fresh(counter):
            raise ProtocolError("replayed or too old datagram")
        size = len(datagram) - HEADER_SIZE - TAG_SIZE
        session.open_into(datagram, self._buffer[position : position + size])
        self._note(counter, 1, len(datagram))
        self._sort(self._buffer[position + size - 1], position, size - 1, counter)

    def _note(self, counter: int, count: int, size: int) -> None:
        """COUNT datagrams, SIZE bytes, have been opened; the first was under COUNTER."""
        if counter != self._after:
            self._mark()
            self._first = counter
        self._after = counter + count
        opened = self.opened
        opened.top = max(opened.top, self._after - 1)
        opened.count += count
        opened.size += size

    def _open_train(self, trains: TrainOpening, data: memoryview, stride: int, number: int) -> int:
        """Open a train, or as many pieces of one as DATA begins with; return how many datagrams it were.

        Raise PeerError when the first of them does not open.
        """
        counter, window = counter_of(number), self._session.window
        self._mark()
        if counter > window.highest and may_be_whole(self._session, data, stride):
            self._end_run()
            run = open_whole(self._session, trains, data, stride, self._buffer[self._position :])
            if run is not None:
                self._note(counter, run.count + 1, len(data))
                self._run, self._run_start = run, self._position
                self._end_run()
                return run.count + 1
        if not window.is_fresh(counter):
            raise ProtocolError("replayed or too old datagram")
        stride = min(stride, len(data))
        payload, tails = trains.open_pieces(data, stride)
        size, done = len(payload) // len(tails), 0
        while done < len(tails):
            piece = payload[done * size : (done + 1) * size]
            try:
                self._take_piece(piece, tails[done], counter + done, stride)
            except PeerError as error:
                self.opened.errors.append(error)
            done += 1
            done += self._take_alike(payload[done * size :], size, tails[done:], counter + done, stride)
        return len(tails)

    def _take_piece(self, piece: bytes, tail: bytes, counter: int, stride: int) -> None:
        """One that was opened by itself. Raise PeerError."""
        if not self._session.window.is_fresh(counter):
            raise ProtocolError("replayed or too old datagram")
        position, size = self._position, len(piece) + len(tail)
        self._buffer[position : position + size] = piece + tail
        self._note(counter, 1, stride)
        self._sort(tail[-1], position, size - 1, counter)

    def _take_alike(self, payload: bytes, size: int, tails: list[bytes], counter: int, stride: int) -> int:
        """Take as many pieces of SIZE bytes as only make the run longer, the first under COUNTER."""
        run = self._run
        if run is None or run.segment_size != size or counter != self._after:
            return 0
        if counter <= self._session.window.highest:
            return 0
        most = min(run.room, len(tails))
        count = next((at for at in range(most) if tails[at] != run.trailer), most)
        end = self._position + count * size
        self._buffer[self._position : end] = payload[: count * size]
        self._position = end
        run.extend(count)
        self._note(counter, count, count * stride)
        return count

    def _mark(self) -> None:
        """Counters that were opened have been received."""
        if self._after > self._first:
            self._session.window.mark_run(self._first, self._after - self._first)
        self._first = self._after

    def _follow(self, data: memoryview, stride: int) -> int:
        """Open as many datagrams as go on with the run; their counters are above all others."""
        run = self._run
        if run is None or stride != run.segment_size + len(run.trailer) + HEADER_SIZE + TAG_SIZE:
            return 0
        plaintexts = Run(self._buffer, self._position, run.segment_size, run.trailer)
        at_most = min(run.room, self._session.counters_max - self._after)
        count = self._session.open_run(data, stride, self._after, plaintexts, at_most)
        run.extend(count)
        self._after += count
        self.opened.top = self._after - 1
        self._position += count * run.segment_size
        self.opened.count += count
        self.opened.size += count * stride
        return count

    def _sort(self, kind: int, position: int, size: int, counter: int) -> None:
        """A body of SIZE bytes at POSITION, and its KIND behind it. Raise WireError."""
        buffer = self._buffer
        if kind == KIND_TCP:
            self._take_segment(position, size + 1, counter)
            return
        self._end_run()
        body = buffer[position : position + size]
        if kind in (KIND_IPV4, KIND_PARTIAL):
            if addresses_of(body) is None:
                raise WireError(f"IPv4 packet: {size} bytes are not one")
            offload = begun_checksum(body) if kind == KIND_PARTIAL else None
            self.opened.packets.append(Packet(body, offload))
            self._position = position + size + HEADROOM
        elif kind == KIND_TRAIN:
            pass  # of a train that was not whole
        elif kind == KIND_CONTROL:
            self.opened.messages.append(bytes(body))
        elif kind == KIND_PROBE:
            if size < CHALLENGE_SIZE:
                raise WireError(f"probe: {size} bytes, need {CHALLENGE_SIZE}")
            self.opened.probes.append(bytes(body[:CHALLENGE_SIZE]))
        else:
            self.opened.unknown += 1

    def _take_segment(self, position: int, size: int, counter: int) -> None:
        """Payload and trailer, SIZE bytes together, at POSITION: right behind the run, if there is one."""
        buffer = self._buffer
        if size < 2:
            raise WireError("TCP trailer: no length")
        payload_size = size - trailer_size(buffer[position + size - 2])
        if payload_size < 0:
            raise WireError(f"TCP trailer: longer than its datagram's {size} bytes")
        trailer = bytes(buffer[position + payload_size : position + size])
        run = self._run
        if run is not None:
            if run.add(trailer, payload_size, counter):
                self._position = position + payload_size
                if run.closed:
                    self._end_run()
                return
            # Its headers will stand in front of it: not over the end of the last run.
            self._end_run()
            moved = self._position
            buffer[moved : moved + payload_size] = buffer[position : position + payload_size]
            position = moved
        self._run = run = TcpRun(trailer, payload_size, counter)
        self._run_start = position
        self._position = position + payload_size
        if run.closed:
            self._end_run()

    def _end_run(self) -> None:
        run = self._run
        if run is None:
            return
        self.opened.packets.append(run.finish(self._buffer, self._run_start))
        self._run = None
        self._position = self._run_start + run.size + HEADROOM
