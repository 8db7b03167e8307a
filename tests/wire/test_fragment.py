from __future__ import annotations

import struct

from dpkt.dpkt import in_cksum
from hypothesis import example, given
from hypothesis import strategies as st

from vipnet.wire.fragment import fragments, may_fragment
from vipnet.wire.inner import parse_ipv4

ADDRESSES = bytes((240, 0, 0, 1, 240, 0, 0, 2))
COPIED, NOT_COPIED, NOP, END = bytes((0x83, 4, 1, 2)), bytes((0x07, 4, 3, 4)), b"\1", b"\0"


def packet(body: bytes, options: bytes = b"", word: int = 0) -> bytes:
    options += bytes(-len(options) % 4)
    size = 20 + len(options)
    header = struct.pack("!BBHHHBBH", 0x40 | size // 4, 4, size + len(body), 99, word, 64, 17, 0)
    header += ADDRESSES + options
    return header[:10] + struct.pack("!H", in_cksum(header)) + header[12:] + body


def put_together(pieces: list[bytes]) -> bytes:
    """As a receiver does (RFC 791 section 3.2): the whole, of which no byte may be missing or come twice."""
    content: dict[int, bytes] = {}
    end = None
    for piece in pieces:
        header = parse_ipv4(piece)
        assert in_cksum(piece[: header.header_size]) == 0
        begin, body = header.fragment_offset * 8, piece[header.header_size :]
        content[begin] = body
        if header.more_fragments:
            assert len(body) % 8 == 0
        else:
            assert end is None
            end = begin + len(body)
    first = parse_ipv4(pieces[0])
    whole, at = b"", first.fragment_offset * 8
    while at in content and (end is None or at < end):
        whole += content[at]
        at += len(content[at])
    assert end in (None, at)
    assert len(whole) == sum(map(len, content.values()))
    return whole


@given(
    body=st.binary(min_size=1, max_size=300),
    repeat=st.integers(1, 200),
    options=st.lists(st.sampled_from([COPIED, NOT_COPIED, NOP]), max_size=8).map(
        lambda all_: b"".join(all_)[:40]
    ),
    size_max=st.integers(120, 1400),
)
@example(body=bytes(1), repeat=97, options=b"", size_max=120)
def test_what_is_cut_is_the_same_put_together(
    body: bytes, repeat: int, options: bytes, size_max: int
) -> None:
    body *= repeat
    whole = packet(body, options)
    pieces = fragments(whole, size_max)
    assert all(len(piece) <= size_max for piece in pieces)
    assert put_together(pieces) == body
    assert all(
        piece[:2] != b"" and piece[4:6] == whole[4:6] and piece[8:10] == whole[8:10] for piece in pieces
    )
    assert all(piece[12:20] == ADDRESSES for piece in pieces)
    if len(whole) <= size_max:
        assert pieces == [whole]


@given(st.integers(1, 4000), st.integers(0, 500), st.booleans())
def test_a_fragment_can_be_cut_again(units: int, offset: int, more: bool) -> None:
    body = bytes(range(256)) * (units * 8 // 256 + 1)
    body = body[: units * 8]
    pieces = fragments(packet(body, word=offset | (0x2000 if more else 0)), 576)
    assert put_together(pieces) == body
    assert parse_ipv4(pieces[0]).fragment_offset == offset
    assert parse_ipv4(pieces[-1]).more_fragments == more
    assert all(parse_ipv4(piece).more_fragments for piece in pieces[:-1])


def test_only_options_that_say_so_are_in_every_fragment() -> None:
    first, *later = fragments(packet(bytes(2000), NOP + NOT_COPIED + COPIED), 576)
    assert NOT_COPIED in first[20:32]
    assert {piece[20:24] for piece in later} == {COPIED}
    assert {piece[0] for piece in later} == {0x46}


@given(st.binary(max_size=40))
def test_any_options_leave_packets_whole(options: bytes) -> None:
    pieces = fragments(packet(bytes(3000), options), 576)
    assert put_together(pieces) == bytes(3000)


def test_df_is_read() -> None:
    assert may_fragment(packet(b""))
    assert may_fragment(packet(b"", word=0x2000))
    assert not may_fragment(packet(b"", word=0x4000))
