"""TCP super-packets: what is cut is put together again, and nothing else is."""

from __future__ import annotations

import struct

import dpkt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vipnet.errors import WireError
from vipnet.wire.checksum import sum16
from vipnet.wire.datagram import KIND_TCP
from vipnet.wire.offload import Offload, Packet, complete_checksum
from vipnet.wire.tcp import TcpCut, TcpRun, complete, one_segment, plan_cut, stretches, trailer_size

A, B = bytes([240, 0, 0, 1]), bytes([240, 0, 0, 2])
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))


def tcp(
    payload: bytes,
    *,
    flags: int = ACK,
    sequence: int = 1,
    options: bytes = b"",
    ip_options: bytes = b"",
    identification: int = 7,
    tos: int = 0,
) -> bytes:
    """A TCP packet as the kernel hands it over: the checksum is the pseudo header's sum."""
    ip_size, tcp_size = 20 + len(ip_options), 20 + len(options)
    total = ip_size + tcp_size + len(payload)
    ip = struct.pack("!BBHHHBBH", 0x40 + ip_size // 4, tos, total, identification, 0x4000, 64, 6, 0)
    ip += A + B + ip_options
    ip = ip[:10] + struct.pack("!H", ~sum16(ip) & 0xFFFF) + ip[12:]
    begun = sum16(A + B, 6 + tcp_size + len(payload))
    header = struct.pack("!HHIIBBHHH", 1000, 2000, sequence, 5, tcp_size << 2, flags, 512, begun, 0)
    return ip + header + options + payload


def offload_of(packet: bytes, segment_size: int = 0) -> Offload:
    return Offload((packet[0] & 15) * 4, 16, segment_size)


def cut_up(packet: bytes, segment_size: int, counter: int = 0) -> list[bytes]:
    """The plaintexts of PACKET's segments, first to last; the first is sealed under COUNTER."""
    how = plan_cut(packet, offload_of(packet, segment_size))
    assert how is not None
    pieces = []
    for stretch in stretches(packet[: how.headers_size], how, counter):
        for number in range(stretch.first, stretch.first + stretch.count):
            at = how.headers_size + number * how.segment_size
            pieces.append(packet[at : at + stretch.size] + stretch.trailer)
    return pieces


def segments_by_kernel_rules(packet: bytes, size: int) -> list[bytes]:
    """The oracle: every segment as a whole packet, as Linux cuts it (net/ipv4/tcp_offload.c)."""
    ip_size = (packet[0] & 15) * 4
    headers_size = ip_size + (packet[ip_size + 12] >> 4) * 4
    payload = packet[headers_size:]
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
    (identification,) = struct.unpack_from("!H", packet, 4)
    (sequence,) = struct.unpack_from("!I", packet, ip_size + 4)
    flags = packet[ip_size + 13]
    whole = []
    for number, piece in enumerate(pieces):
        own = flags
        if number < len(pieces) - 1:
            own &= ~(FIN | PSH)
        if number:
            own &= ~CWR
        options, ip_options = packet[ip_size + 20 : headers_size], packet[20:ip_size]
        whole.append(
            tcp(
                piece,
                flags=own,
                sequence=(sequence + number * size) % 2**32,
                options=options,
                ip_options=ip_options,
                identification=(identification + number) % 2**16,
            )
        )
    return whole


def join(plaintexts: list[bytes], counter: int = 0) -> list[Packet]:
    """What a receiver makes of PLAINTEXTS, the plain way: each in memory of its own."""
    packets: list[Packet] = []
    run: TcpRun | None = None
    payloads = b""

    def finish() -> None:
        if run is not None:
            memory = memoryview(bytearray(bytes(120) + payloads))
            packets.append(run.finish(memory, 120).kept())

    for number, plaintext in enumerate(plaintexts, counter):
        size = len(plaintext) - trailer_size(plaintext[-2])
        payload, trailer = plaintext[:size], plaintext[size:]
        if run is not None and run.add(trailer, size, number):
            payloads += payload
            continue
        finish()
        run, payloads = TcpRun(trailer, size, number), payload
    finish()
    return packets


options_of = st.integers(0, 10).map(lambda words: bytes(range(1, 4 * words + 1)))
flags_of = st.sampled_from([ACK, ACK | PSH, ACK | FIN, ACK | PSH | FIN | ECE, ACK | CWR, ACK | CWR | PSH])


@given(
    st.binary(max_size=3000),
    st.integers(1, 1500),
    flags_of,
    st.integers(0, 2**32 - 1),
    options_of,
    options_of,
    st.integers(0, 2**16 - 1),
)
@example(b"x" * 200, 100, ACK | PSH | CWR, 2**32 - 50, b"", b"", 2**16 - 1)
def test_what_was_cut_is_the_same_together_again(
    payload: bytes, size: int, flags: int, sequence: int, options: bytes, ip_options: bytes, number: int
) -> None:
    packet = tcp(
        payload,
        flags=flags,
        sequence=sequence,
        options=options,
        ip_options=ip_options,
        identification=number,
    )
    plaintexts = cut_up(packet, size)
    (joined,) = join(plaintexts)
    assert joined.data == packet
    assert joined.offload == offload_of(packet, size if len(payload) > size else 0)


@given(st.binary(min_size=1, max_size=3000), st.integers(1, 1500), flags_of, st.integers(0, 2**32 - 1))
def test_segments_are_those_the_kernel_would_cut(
    payload: bytes, size: int, flags: int, sequence: int
) -> None:
    packet = tcp(payload, flags=flags, sequence=sequence)
    plaintexts = cut_up(packet, size)
    oracle = segments_by_kernel_rules(packet, size)
    alone = [join([plaintext], number)[0] for number, plaintext in enumerate(plaintexts)]
    assert [one.data for one in alone] == oracle
    for one in alone:
        assert one.offload is not None
        parsed = dpkt.ip.IP(complete_checksum(one.data, one.offload))
        expected = parsed.data.sum
        parsed.data.sum = 0
        assert dpkt.ip.IP(bytes(parsed)).data.sum in (0, expected)


@given(
    st.binary(max_size=3000),
    st.integers(1, 1500),
    flags_of,
    st.integers(0, 2**32 - 1),
    options_of,
    options_of,
)
@example(b"x" * 200, 100, ACK | PSH | CWR, 2**32 - 50, b"", b"")
def test_a_kernel_without_offloads_gets_the_same_segments(
    payload: bytes, size: int, flags: int, sequence: int, options: bytes, ip_options: bytes
) -> None:
    packet = tcp(payload, flags=flags, sequence=sequence, options=options, ip_options=ip_options)
    oracle = segments_by_kernel_rules(packet, size)
    expected = [complete_checksum(segment, offload_of(segment)) for segment in oracle]
    assert list(complete(memoryview(packet), offload_of(packet, size))) == expected


def test_a_complete_checksum_is_right() -> None:
    packet = tcp(b"odd")
    done = complete_checksum(packet, offload_of(packet))
    pseudo = A + B + struct.pack("!HH", 6, len(done) - 20)
    assert sum16(pseudo + done[20:] + b"\0") == 0xFFFF


@pytest.mark.parametrize(
    "changed",
    [
        {"sequence": 1102},
        {"sequence": 1100},
        {"identification": 9},
        {"tos": 1},
        {"options": b"\1\1\1\1"},
        {"flags": ACK | CWR},
        {"flags": ACK | ECE},
        {"flags": ACK | URG},
        {"flags": ACK | SYN},
        {"flags": ACK | RST},
    ],
)
def test_only_what_goes_on_is_joined(changed: dict[str, int]) -> None:
    first = cut_up(tcp(b"1" * 1100), 1100)
    following = {"sequence": 1101, "identification": 8}
    second = tcp(b"2" * 1100, **{**following, **changed})  # type: ignore[arg-type]
    assert len(join(first + cut_up(tcp(b"2" * 1100, **following), 1100, 1))) == 1  # type: ignore[arg-type]
    assert [packet.data for packet in join(first + cut_up(second, 1100, 1))] == [tcp(b"1" * 1100), second]


def test_nothing_comes_after_the_last_segment() -> None:
    short = cut_up(tcp(b"1" * 150), 100)
    after = cut_up(tcp(b"2" * 50, sequence=151, identification=9), 100, 2)
    assert len(join(short + after)) == 2
    pushed = cut_up(tcp(b"1" * 200, flags=ACK | PSH), 100)
    after = cut_up(tcp(b"2" * 100, sequence=201, identification=9), 100, 2)
    assert len(join(pushed + after)) == 2
    longer = cut_up(tcp(b"2" * 150, sequence=101, identification=8), 150, 1)
    assert len(join(cut_up(tcp(b"1" * 100), 100) + longer)) == 2


def test_a_run_never_becomes_longer_than_a_packet_can_be() -> None:
    pieces = []
    for number in range(70):
        pieces += cut_up(
            tcp(b"x" * 1000, sequence=1 + number * 1000, identification=7 + number), 1000, number
        )
    packets = join(pieces)
    assert [len(packet.data) for packet in packets] == [65 * 1000 + 40, 5 * 1000 + 40]


def test_middle_segments_are_recognised_by_their_trailer() -> None:
    plaintexts = cut_up(tcp(b"y" * 64_000, flags=ACK | CWR, sequence=2**32 - 1000), 1000, 65_530)
    run = TcpRun(plaintexts[0][1000:], 1000, 65_530)
    assert run.room == (65_535 - 40) // 1000 - 1
    assert run.add(plaintexts[1][1000:], 1000, 65_531)
    assert {plaintext[1000:] for plaintext in plaintexts[1:63]} == {run.trailer}
    run.extend(61)
    assert (run.count, run.size) == (63, 63_000)
    assert not run.add(run.trailer, 1000, 65_530 + 64), "one is missing before it"
    assert run.add(plaintexts[63][1000:], 1000, 65_530 + 63)


@given(st.integers(0, 62), st.integers(0, 2**40))
def test_any_segment_can_be_the_first_that_arrives(first: int, counter: int) -> None:
    packet = tcp(b"y" * 64_000, flags=ACK | CWR, sequence=2**32 - 1000)
    (joined,) = join(cut_up(packet, 1000, counter)[first:], counter + first)
    expected = tcp(
        b"y" * (64_000 - first * 1000),
        flags=ACK | (0 if first else CWR),
        sequence=(2**32 - 1000 + first * 1000) % 2**32,
        identification=7 + first,
    )
    assert joined.data == expected


@pytest.mark.parametrize("kept", [b"", b"\1\1\1\1"])
def test_one_segment_is_what_a_cut_would_be(kept: bytes) -> None:
    packet = tcp(b"payload", options=kept, ip_options=kept)
    how = plan_cut(packet, offload_of(packet))
    assert how is not None
    assert [one_segment(Packet(packet), how, 77)] == cut_up(packet, 0, 77)


@given(st.binary(min_size=44, max_size=124), st.integers(0, 1500))
def test_garbage_raises_only_wire_error(trailer: bytes, size: int) -> None:
    with pytest.raises(WireError):
        TcpRun(trailer[:-2] + bytes((len(trailer) - 4, KIND_TCP)), size, 0)


@pytest.mark.parametrize("at", [0, 2, 3, 6, 7, 9, 32])
def test_every_field_that_says_what_it_is_counts(at: int) -> None:
    (plaintext,) = cut_up(tcp(b"payload"), 1000)
    trailer = bytearray(plaintext[7:])
    TcpRun(bytes(trailer), 7, 0)
    trailer[at] ^= 0x21
    with pytest.raises(WireError):
        TcpRun(bytes(trailer), 7, 0)


@pytest.mark.parametrize("size", [0, 39, 121, 255])
def test_a_trailer_has_two_headers(size: int) -> None:
    with pytest.raises(WireError):
        trailer_size(size)


def test_what_cannot_be_cut() -> None:
    packet = tcp(b"payload")
    assert plan_cut(packet, Offload(20, 16)) == TcpCut(40, 7, 1, 7)
    assert plan_cut(packet[:39], Offload(20, 16)) is None
    assert plan_cut(packet, Offload(20, 6)) is None
    assert plan_cut(packet, Offload(24, 16)) is None
    for at, value in ((9, 17), (6, 0x20), (7, 1), (32, 0x40), (32, 0xF0), (0, 0x44)):
        other = bytearray(packet)
        other[at] = value
        assert plan_cut(bytes(other), Offload((other[0] & 15) * 4, 16)) is None, (at, value)
