"""The Lua dissector in tshark: documented datagrams, trains, what is no handshake, and opened captures."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from tests.app.test_dissecting import LINE, WITH_TRAINS, ethernet, pcap, seal
from tests.support import need_program
from tests.vectors.documented import documented
from tests.wire.test_tcp import ACK, PSH, cut_up, tcp

from vipnet.app.dissecting import dissect, split
from vipnet.app.keylog import KeyLine, Keys
from vipnet.types import Locator
from vipnet.wire import control
from vipnet.wire.control import Hint

pytestmark = pytest.mark.stack

SCRIPT: Final = Path(__file__).parents[2] / "examples/wireshark/vipnet.lua"


def tshark(capture: Path, *options: str) -> str:
    need_program("tshark")
    command = ["tshark", "-X", f"lua_script:{SCRIPT}", "-r", str(capture), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "Lua" not in done.stderr, done.stderr
    return done.stdout


def fields(capture: Path, names: Sequence[str], *options: str) -> list[dict[str, str]]:
    """The fields NAMES of each packet that has any."""
    asked = [word for name in names for word in ("-e", name)]
    rows = [line.split("\t") for line in tshark(capture, "-T", "fields", *asked, *options).splitlines()]
    found = [dict(zip(names, row, strict=True)) for row in rows]
    return [{name: value for name, value in row.items() if value} for row in found]


def written(tmp_path: Path, *payloads: bytes) -> Path:
    path = tmp_path / "lan.pcap"
    path.write_bytes(pcap(*map(ethernet, payloads)).getvalue())
    return path


def dissected(tmp_path: Path, line: KeyLine, *payloads: bytes) -> Path:
    target = io.BytesIO()
    dissect(pcap(*map(ethernet, payloads)), target, Keys([str(line)]))
    path = tmp_path / "opened.pcapng"
    path.write_bytes(target.getvalue())
    return path


def test_the_documented_handshakes(tmp_path: Path) -> None:
    capture = written(tmp_path, *map(documented, ("D6", "D7", "D10", "D11", "D2")))
    names = [
        "vipnet.type",
        "vipnet.sender",
        "vipnet.index",
        "vipnet.made_in",
        "vipnet.mac2",
        "vipnet.counter",
    ]
    zeros = "0" * 32
    assert fields(capture, names) == [
        {"vipnet.type": "1", "vipnet.sender": "0x11111111", "vipnet.mac2": zeros},
        {
            "vipnet.type": "2",
            "vipnet.sender": "0x22222222",
            "vipnet.index": "0x11111111",
            "vipnet.made_in": "1",
            "vipnet.mac2": zeros,
        },
        {"vipnet.type": "3", "vipnet.sender": "0x11111111", "vipnet.mac2": zeros},
        {"vipnet.type": "6", "vipnet.index": "0x11111111", "vipnet.made_in": "1"},
        {"vipnet.index": "0x0000002a", "vipnet.counter": "7"},
    ]
    noise = [
        "vipnet.ephemeral",
        "vipnet.static",
        "vipnet.payload",
        "vipnet.mac1",
        "vipnet.nonce",
        "vipnet.cookie",
    ]
    init, response, xx, cookie, _ = fields(capture, noise)
    sent = documented("D6")
    parts = [init[name] for name in noise[:4]]
    assert [len(part) // 2 for part in parts] == [32, 48, 1062 + 16, 16]
    assert bytes.fromhex("".join(parts)) == sent[10:-16], "nothing is left out and nothing told twice"
    assert set(response) == {"vipnet.ephemeral", "vipnet.payload", "vipnet.mac1"}
    assert set(xx) == {"vipnet.ephemeral", "vipnet.mac1"}
    assert cookie["vipnet.nonce"] == bytes(range(24)).hex()


def test_datagrams_that_are_still_to_be_cut_and_the_same_once_more(tmp_path: Path) -> None:
    datagrams = [seal(b"x" * 700 + b"\1", counter) for counter in range(254, 259)]
    looks_like_two = seal(bytes(100) + b"\1", 259)[:40] + datagrams[0][:12] + bytes(40)
    capture = written(tmp_path, b"".join(datagrams), datagrams[2], looks_like_two)
    names = ["vipnet.count", "vipnet.counter", "vipnet.again"]
    assert fields(capture, names) == [
        {"vipnet.count": "5", "vipnet.counter": "254,255,256,257,258"},
        {"vipnet.counter": "256", "vipnet.again": "1"},
        {"vipnet.counter": "259"},
    ]


def test_trains_whole_and_in_pieces(tmp_path: Path) -> None:
    together = documented("D14")
    one = list(split(together))
    before = seal(b"x\1", 6)
    tail_too_long = one[1][:4] + b"\xff" + one[1][5:]
    capture = written(tmp_path, together, one[2], one[6], before + one[0] + one[1], tail_too_long)
    names = ["vipnet.count", "vipnet.counter", "vipnet.tail_size", "vipnet.position", "vipnet.again"]
    assert fields(capture, names) == [
        {
            "vipnet.count": "7",
            "vipnet.counter": "7,8,9,10,11,12,13",
            "vipnet.tail_size": ",".join(["44"] * 6),
            "vipnet.position": "0,1,2,3,4,5",
        },
        {"vipnet.counter": "9", "vipnet.tail_size": "44", "vipnet.position": "2", "vipnet.again": "1"},
        {"vipnet.counter": "13", "vipnet.again": "1"},
        {
            "vipnet.count": "3",
            "vipnet.counter": "6,7,8",
            "vipnet.tail_size": "44,44",
            "vipnet.position": "0,1",
            "vipnet.again": "1,1",
        },
        {"vipnet.counter": "8", "vipnet.tail_size": "255", "vipnet.position": "1"},
    ]
    _, piece, end, _, malformed = fields(capture, ["vipnet.piece", "vipnet.ciphertext", "vipnet.tag"])
    assert [len(value) // 2 for value in piece.values()] == [18, 44, 16]
    assert bytes.fromhex("".join(piece.values())) == one[2][12:], "nothing is left out and nothing told twice"
    assert bytes.fromhex("".join(end.values())) == one[6][12:]
    assert malformed == {}
    assert fields(capture, ["frame.number"], "-Y", "vipnet.malformed") == [{"frame.number": "5"}]
    assert "counter 9\n" in tshark(capture, "-Y", "frame.number == 2")


def test_what_is_not_of_the_form_is_said_to_be_so_and_nothing_breaks(tmp_path: Path) -> None:
    init = documented("D6")
    payloads = [
        init[:-1],
        init[:4] + b"\2" + init[5:],
        init[:5] + b"\x07" + init[6:],
        b"\0\0\0\1" + bytes(20),
        bytes(12),
        *(init[:size] for size in (12, 40, 66, 100)),
    ]
    capture = written(tmp_path, *payloads)
    text = tshark(capture, "-V")
    assert "Another version: dropped" in text
    assert text.count("Not of the form of its type: dropped") >= 3
    assert "Lua Error" not in text
    assert "Malformed Packet" not in text


def test_a_handshake_is_known_on_any_port_and_what_follows_it_too(tmp_path: Path) -> None:
    frames = [
        frame.replace((5847).to_bytes(2) * 2, (40000).to_bytes(2) + (50000).to_bytes(2))
        for frame in map(ethernet, (seal(b"x\1"), documented("D6"), seal(b"x\1")))
    ]
    capture = tmp_path / "lan.pcap"
    capture.write_bytes(pcap(*frames).getvalue())
    assert fields(capture, ["vipnet.type", "vipnet.counter"]) == [
        {},
        {"vipnet.type": "1"},
        {"vipnet.counter": "7"},
    ]


def test_what_was_opened_is_dissected_as_what_it_is(tmp_path: Path) -> None:
    hint = Hint(3, (Locator("10.201.2.20", 5847),))
    thirteen = documented("D13")
    payloads = [
        documented("D6"),
        seal(control.encode(hint) + b"\0", 1),
        seal(thirteen[:49], 7),
        seal(thirteen[49:98], 8),
        seal(b"12345678" + bytes(30) + b"\4", 9),
        seal(b"x\1", 10, index=43),
    ]
    capture = dissected(tmp_path, LINE, *payloads)
    names = ["vipnet.kind", "vipnet.counter", "vipnet.sealed_by", "vipnet.sealed_for", "vipnet.message"]
    both = {"vipnet.sealed_by": "a.vipip.net", "vipnet.sealed_for": "b.vipip.net"}
    assert fields(capture, names) == [
        {},
        {"vipnet.kind": "0", "vipnet.counter": "1", "vipnet.message": "Hint", **both},
        {"vipnet.kind": "2", "vipnet.counter": "7", **both},
        {"vipnet.kind": "2", "vipnet.counter": "8", **both},
        {"vipnet.kind": "4", "vipnet.counter": "9", **both},
        {"vipnet.counter": "10"},
    ]
    # The outer addresses as well, and TCP of the inner packets, put together.
    inner = fields(capture, ["ip.src", "tcp.seq_raw", "tcp.dstport", "tcp.payload"], "-Y", "tcp")
    assert inner == [
        {
            "ip.src": "10.201.1.10,240.0.0.1",
            "tcp.seq_raw": str(sequence),
            "tcp.dstport": "2000",
            "tcp.payload": text.hex(),
        }
        for sequence, text in ((1, b"abcde"), (6, b"fghij"))
    ]
    text = tshark(capture, "-V", "-Y", "vipnet.message")
    assert "Key: move_number" in text
    assert "String value: 10.201.2.20:5847" in text


def test_an_opened_train_is_its_segments_and_its_end(tmp_path: Path) -> None:
    capture = dissected(tmp_path, WITH_TRAINS, documented("D14"))
    names = ["vipnet.kind", "vipnet.counter", "vipnet.position", "tcp.seq_raw", "tcp.payload"]
    segments = [
        {
            "vipnet.kind": "2",
            "vipnet.counter": str(7 + position),
            "vipnet.position": str(position),
            "tcp.seq_raw": str(1 + 18 * position),
            "tcp.payload": b"abcdefghijklmnopqr".hex(),
        }
        for position in range(6)
    ]
    assert fields(capture, names) == [*segments, {"vipnet.kind": "5", "vipnet.counter": "13"}]
    (end,) = fields(capture, ["vipnet.last_flags", "vipnet.trailer"], "-Y", "vipnet.whole_tag")
    assert end["vipnet.last_flags"] == "0x18"
    (first, *_) = cut_up(tcp(b"abcdefghijklmnopqr" * 6, flags=ACK | PSH), 18, 7)
    assert bytes.fromhex(end["vipnet.trailer"]) == first[18:-1]
    assert "a.vipip.net to b.vipip.net: end of a train" in tshark(capture, "-Y", "vipnet.kind == 5")
