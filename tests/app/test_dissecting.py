"""A capture that is opened: every kind, every link, trains, what is not cut yet, and what does not open."""

from __future__ import annotations

import contextlib
import io
import json
import struct
from typing import Any

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pcapng import FileScanner, blocks
from tests.vectors.documented import documented
from tests.wire.test_tcp import ACK, PSH, cut_up, tcp

from vipnet.app.dissecting import DISSECTOR, LINKTYPE_UPPER_PDU, Tally, dissect, split, udp
from vipnet.app.keylog import KeyLine, Keys
from vipnet.crypto.train import TrainSealing
from vipnet.crypto.transport import Cipher, SealingKey
from vipnet.errors import ConfigError
from vipnet.types import Locator
from vipnet.wire import control
from vipnet.wire.control import Hint, Report
from vipnet.wire.datagram import COUNTERS_MAX, TAG_SIZE

KEY = bytes(range(32))
LINE = KeyLine(42, Cipher.AES_256_GCM, KEY, "a.vipip.net", "b.vipip.net")
SEALING = SealingKey(KEY, Cipher.AES_256_GCM)
WITH_TRAINS = KeyLine(42, Cipher.AES_256_GCM_TRAINS, KEY, "a.vipip.net", "b.vipip.net")
PORT = 5847


def seal(plaintext: bytes, counter: int = 7, index: int = 42) -> bytes:
    return SEALING.seal(index, counter, plaintext)


def train(pieces: int, size: int, tail: bytes, end: bytes = b"end\5", counter: int = 7) -> list[bytes]:
    """The datagrams of a train, END the last."""
    together = TrainSealing(KEY).seal(42, counter, memoryview(bytes(pieces * size)), size, (tail, tail), end)
    stride = 12 + size + len(tail) + TAG_SIZE
    return [together[at * stride : (at + 1) * stride] for at in range(pieces)] + [together[pieces * stride :]]


def ip(payload: bytes, *, version: int = 4) -> dpkt.ip.IP | dpkt.ip6.IP6:
    inner = dpkt.udp.UDP(sport=PORT, dport=PORT, data=payload, ulen=8 + len(payload))
    if version == 4:
        return dpkt.ip.IP(
            src=bytes((10, 201, 1, 10)), dst=bytes((10, 201, 2, 20)), p=17, data=inner, len=28 + len(payload)
        )
    ends = {"src": bytes(15) + b"\1", "dst": bytes(15) + b"\2"}
    return dpkt.ip6.IP6(**ends, nxt=17, data=inner, plen=8 + len(payload), hlim=64)


def ethernet(payload: bytes) -> bytes:
    return bytes(dpkt.ethernet.Ethernet(data=ip(payload), type=0x0800))


def pcap(*frames: bytes, link: int = 1) -> io.BytesIO:
    stream = io.BytesIO()
    writer = dpkt.pcap.Writer(stream, linktype=link)
    for number, frame in enumerate(frames):
        writer.writepkt(frame, 1_700_000_000.25 + number)
    stream.seek(0)
    return stream


def opened(source: io.BytesIO, *lines: KeyLine) -> tuple[Tally, list[tuple[int, float, bytes]]]:
    """What became of SOURCE, and the packets of its copy: link type, time, data."""
    target = io.BytesIO()
    tally = dissect(source, target, Keys(str(line) for line in lines or (LINE,)))
    packets = [
        (block.interface.link_type, block.timestamp, block.packet_data)
        for block in FileScanner(io.BytesIO(target.getvalue()))
        if isinstance(block, blocks.EnhancedPacket)
    ]
    return tally, packets


def tags(data: bytes) -> tuple[dict[int, bytes], bytes]:
    """The tags in front of DATA, and what follows them."""
    found: dict[int, bytes] = {}
    while True:
        number, size = struct.unpack_from("!HH", data)
        found[number], data = data[4 : 4 + size], data[4 + size :]
        if number == 0:
            return found, data


def body_of(datagram: bytes, line: KeyLine = LINE) -> tuple[int, bytes]:
    """Kind and body of the record that DATAGRAM becomes, whose other fields are as expected."""
    tally, ((link, at_s, data),) = opened(pcap(ethernet(datagram)), line)
    assert (tally, link, float(at_s)) == (Tally(opened=1), LINKTYPE_UPPER_PDU, 1_700_000_000.25)
    found, record = tags(data)
    assert found == {
        12: DISSECTOR + bytes(3),
        20: bytes((10, 201, 1, 10)),
        21: bytes((10, 201, 2, 20)),
        24: (3).to_bytes(4),
        25: PORT.to_bytes(4),
        26: PORT.to_bytes(4),
        0: b"",
    }
    assert record[:12] == datagram[:12]
    names = b"\x0ba.vipip.net\x0bb.vipip.net"
    assert record[13 : 13 + len(names)] == names
    return record[12], record[13 + len(names) :]


def test_a_packet_is_there_as_it_is() -> None:
    assert body_of(seal(b"any packet\1")) == (1, b"any packet")
    assert body_of(seal(b"any packet\3")) == (3, b"any packet")
    assert body_of(seal(b"12345678" + bytes(100) + b"\4")) == (4, b"12345678" + bytes(100))
    assert body_of(seal(b"of a later version\x63")) == (99, b"of a later version")


def test_tcp_is_a_whole_segment_again() -> None:
    """D13: the second and third segments, of which one has the first one's headers."""
    plaintexts = documented("D13")
    bounds = [0, 5 + 44, 2 * (5 + 44), len(plaintexts)]
    for number, text in enumerate(("abcde", "fghij", "kl")):
        plaintext = plaintexts[bounds[number] : bounds[number + 1]]
        kind, body = body_of(seal(plaintext, counter=7 + number))
        packet = dpkt.ip.IP(body)
        assert kind == 2
        assert (packet.len, packet.id, packet.data.seq) == (40 + len(text), 7 + number, 1 + 5 * number)
        assert (packet.data.sport, packet.data.dport, packet.data.data) == (1000, 2000, text.encode())


def test_a_piece_of_a_train_is_a_whole_segment_again_and_the_end_says_what_it_does() -> None:
    """D14: each datagram alone, as if all others were lost."""
    datagrams = list(split(documented("D14")))
    for number, text in enumerate([b"abcdefghijklmnopqr"] * 6):
        kind, body = body_of(datagrams[number], WITH_TRAINS)
        packet = dpkt.ip.IP(body)
        assert kind == 2
        assert (packet.len, packet.id, packet.data.seq) == (58, 7 + number, 1 + 18 * number)
        assert (packet.data.data, packet.data.flags) == (text, ACK | PSH if number == 5 else ACK)
    kind, body = body_of(datagrams[6], WITH_TRAINS)
    (first, *_) = cut_up(tcp(b"abcdefghijklmnopqr" * 6, flags=ACK | PSH), 18, 7)
    assert (kind, body[TAG_SIZE:]) == (5, bytes((ACK | PSH,)) + first[18:-1])
    assert body_of(seal(b"not what an end is\5"), WITH_TRAINS) == (255, b"not what an end is\5")


def test_a_train_that_is_not_cut_yet_becomes_as_many_records() -> None:
    tally, packets = opened(pcap(ethernet(documented("D14"))), WITH_TRAINS)
    kinds = [tags(data)[1][12] for _, _, data in packets]
    assert (tally, kinds) == (Tally(opened=7), [2] * 6 + [5])


def test_pieces_of_trains_that_are_forged_or_have_no_such_key_stay_sealed() -> None:
    piece = next(split(documented("D14")))
    assert opened(pcap(ethernet(piece)), LINE)[0] == Tally(refused=1)
    for at in (4, 5, 11, 12, len(piece) - 1):
        frame = ethernet(piece[:at] + bytes((piece[at] ^ 1,)) + piece[at + 1 :])
        tally, ((link, _, data),) = opened(pcap(frame), WITH_TRAINS)
        assert (tally, link, data) == (Tally(refused=1), 1, frame)


def test_a_message_is_json_with_the_names_of_its_fields() -> None:
    hint = Hint(3, (Locator("10.201.2.20", PORT),), (Report(0x22222222, 2, 9, ((0, 2),)),))
    kind, body = body_of(seal(control.encode(hint) + b"\0"))
    assert (kind, json.loads(body)) == (
        0,
        {
            "Hint": {
                "move_number": 3,
                "locators": ["10.201.2.20:5847"],
                "reports": [{"index": 0x22222222, "base": 2, "highest": 9, "gaps": [[0, 2]]}],
            }
        },
    )
    assert body_of(documented("D2")) == (0, b'{"Keepalive":{}}')


@given(st.integers(0, 5), st.binary(max_size=200))
def test_whatever_a_peer_has_sealed_becomes_a_record(kind: int, body: bytes) -> None:
    tally, packets = opened(pcap(ethernet(seal(body + bytes((kind,))))))
    assert (tally.opened, len(packets)) == (1, 1)
    (piece, end) = train(1, 60, body + bytes((kind,)))
    tally, packets = opened(pcap(ethernet(piece), ethernet(end)), WITH_TRAINS)
    assert (tally.opened, len(packets)) == (2, 2)


def test_what_is_not_cut_yet_becomes_as_many_records() -> None:
    together = b"".join(seal(b"x" * 1000 + b"\1", counter) for counter in range(5)) + seal(b"short\1", 5)
    assert [len(one) for one in split(together)] == [1029] * 5 + [34]
    tally, packets = opened(pcap(ethernet(together)))
    assert (tally.opened, len(packets)) == (6, 6)
    assert tags(packets[-1][2])[1].endswith(b"short")


@given(
    st.lists(st.binary(min_size=1, max_size=100), min_size=1, max_size=8), st.integers(0, COUNTERS_MAX - 10)
)
def test_splitting_is_the_inverse_of_joining(bodies: list[bytes], counter: int) -> None:
    datagrams = [seal(body, counter + number) for number, body in enumerate(bodies)]
    assert list(split(b"".join(datagrams))) == datagrams


@given(
    pieces=st.integers(1, 62),
    size=st.integers(1, 100),
    tail=st.binary(min_size=1, max_size=255),
    before=st.integers(0, 2),
    counter=st.integers(0, COUNTERS_MAX - 70),
)
def test_trains_too_are_split_also_behind_other_datagrams(
    pieces: int, size: int, tail: bytes, before: int, counter: int
) -> None:
    datagrams = [seal(b"any packet\1", counter + number) for number in range(before)]
    datagrams += train(pieces, size, tail, counter=counter + before)
    assert list(split(b"".join(datagrams))) == datagrams


@given(st.binary(max_size=300))
def test_splitting_loses_nothing_of_anything(payload: bytes) -> None:
    found = b"".join(split(payload))
    assert payload.startswith(found)


def test_everything_else_is_copied_as_it_was() -> None:
    unknown, forged = seal(b"x\1", index=43), bytearray(seal(b"x\1"))
    forged[-1] ^= 1
    frames = [
        ethernet(documented("D6")),
        ethernet(unknown),
        ethernet(bytes(forged)),
        bytes(dpkt.ethernet.Ethernet(data=b"arp or so", type=0x0806)),
        b"\0\1",
    ]
    tally, packets = opened(pcap(*frames))
    assert tally == Tally(opened=0, unknown=1, refused=1)
    assert [(link, data) for link, _, data in packets] == [(1, frame) for frame in frames]


@pytest.mark.parametrize("version", [4, 6])
def test_every_link_that_tcpdump_takes(version: int) -> None:
    packet, ethertype = bytes(ip(seal(b"x\1"), version=version)), {4: 0x0800, 6: 0x86DD}[version]
    frames: dict[int, bytes] = {
        1: bytes(14 - 2) + ethertype.to_bytes(2) + packet,
        101: packet,
        228 if version == 4 else 229: packet,
        113: bytes(14) + ethertype.to_bytes(2) + packet,
        276: ethertype.to_bytes(2) + bytes(18) + packet,
    }
    for link, frame in frames.items():
        datagram = udp(link, frame)
        assert datagram is not None, link
        assert datagram.payload == seal(b"x\1")
        assert datagram.source == ({4: "10.201.1.10", 6: "::1"}[version], PORT)
        tally, ((copied, _, _),) = opened(pcap(frame, link=link))
        assert (tally.opened, copied) == (1, LINKTYPE_UPPER_PDU)
    assert udp(147, packet) is None


def test_behind_a_vlan_tag() -> None:
    tagged = bytes(12) + bytes.fromhex("8100 0005 0800") + bytes(ip(seal(b"x\1")))
    assert udp(1, tagged) is not None


def test_pcapng_too() -> None:
    stream = io.BytesIO()
    writer: Any = dpkt.pcapng.Writer(stream)
    writer.writepkt(ethernet(seal(b"x\1")), 1_700_000_000.25)
    stream.seek(0)
    tally, ((link, at_s, _),) = opened(stream)
    assert (tally.opened, link, float(at_s)) == (1, LINKTYPE_UPPER_PDU, 1_700_000_000.25)


@given(st.sampled_from([1, 12, 101, 113, 276]), st.binary(max_size=120))
def test_no_frame_breaks_it(link: int, frame: bytes) -> None:
    udp(link, frame)


@given(st.binary(max_size=100))
def test_only_a_capture_is_taken_for_one(data: bytes) -> None:
    with pytest.raises(ConfigError, match="neither a pcap nor a pcapng"):
        dissect(io.BytesIO(b"no capture" + data), io.BytesIO(), Keys(()))


@given(st.integers(0, 200), st.binary(max_size=30))
def test_a_damaged_capture_is_read_as_far_as_it_goes(at: int, junk: bytes) -> None:
    whole = pcap(ethernet(seal(b"x\1")), ethernet(seal(b"y\1", 8))).getvalue()
    with contextlib.suppress(ConfigError):  # the head of the file is damaged
        assert opened(io.BytesIO(whole[:at] + junk))[0].opened <= 2


def test_a_capture_that_was_cut_off_is_said_to_be_so() -> None:
    whole = pcap(ethernet(seal(b"x\1")), ethernet(seal(b"y\1", 8))).getvalue()
    assert opened(io.BytesIO(whole))[0] == Tally(opened=2)
    size = (len(whole) - 24) // 2
    assert opened(io.BytesIO(whole[: 24 + size + 10]))[0] == Tally(opened=1, cut_off=True)
