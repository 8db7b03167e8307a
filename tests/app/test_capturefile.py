"""A capture is a pcapng file that others read: names, times, directions, comments, and what is missing."""

from __future__ import annotations

import io

from pcapng import FileScanner, blocks

from vipnet.app.capturefile import LINKTYPE_RAW, CaptureFile
from vipnet.app.capturing import Begun, Missed, Named, News
from vipnet.app.tap import Sighting

BEGUN = Begun("a.vipip.net", "tun0", 100)
OWN, THEIRS = Named("240.0.0.1", "a.vipip.net"), Named("240.0.0.2", "b.vipip.net", "10.201.2.20:5847")
AT_NS = 1_795_529_417_515_953_989


def written(*news: News) -> list[blocks.Block]:
    stream = io.BytesIO()
    out = CaptureFile(stream)
    for one in news:
        out.write(one)
    out.end()
    return list(FileScanner(io.BytesIO(stream.getvalue())))


def test_a_packet_keeps_its_time_its_size_and_its_direction() -> None:
    found = written(BEGUN, Sighting(AT_NS, True, b"abcde", 1500), Sighting(AT_NS + 1000, False, b"x", 20))
    section, interface, sent, delivered, _statistics = found
    assert section.options["shb_userappl"].startswith("vipnet ")
    assert (interface.link_type, interface.snaplen) == (LINKTYPE_RAW, 100)
    assert interface.options["if_name"] == "tun0"
    assert interface.timestamp_resolution == 1e-6
    assert (sent.timestamp_high << 32) + sent.timestamp_low == AT_NS // 1000
    assert (sent.packet_data, sent.captured_len, sent.packet_len) == (b"abcde", 5, 1500)
    assert (sent.options["epb_flags"].inout, delivered.options["epb_flags"].inout) == ("outbound", "inbound")
    assert (delivered.timestamp_high << 32) + delivered.timestamp_low == AT_NS // 1000 + 1


def test_names_come_once_and_comments_say_where_a_peer_is() -> None:
    packet = Sighting(AT_NS, True, b"x", 1)
    moved = Named("240.0.0.2", "b.vipip.net", "10.201.1.20:5847")
    found = written(BEGUN, OWN, THEIRS, packet, packet, moved, packet)
    records = [block.records for block in found if isinstance(block, blocks.NameResolution)]
    assert [[(one["address"], one["names"]) for one in record] for record in records] == [
        [("240.0.0.1", ["a.vipip.net"])],
        [("240.0.0.2", ["b.vipip.net"])],
    ]
    packets = [block for block in found if isinstance(block, blocks.EnhancedPacket)]
    assert [
        block.options.get_all("opt_comment") if "opt_comment" in block.options else [] for block in packets
    ] == [
        ["b.vipip.net is at 10.201.2.20:5847"],
        [],
        ["b.vipip.net is at 10.201.1.20:5847"],
    ]


def test_a_token_that_another_name_has_now_is_named_anew() -> None:
    found = written(BEGUN, THEIRS, Named("240.0.0.2", "c.vipip.net"))
    names = [block.records[0]["names"] for block in found if isinstance(block, blocks.NameResolution)]
    assert names == [["b.vipip.net"], ["c.vipip.net"]]


def test_what_is_missing_is_said_where_it_is_missing_and_at_the_end() -> None:
    packet = Sighting(AT_NS, True, b"x", 1)
    found = written(BEGUN, packet, Missed(3), packet, Missed(10), packet)
    comments = [
        block.options.get("opt_comment") for block in found if isinstance(block, blocks.EnhancedPacket)
    ]
    assert [comment and comment.split()[0] for comment in comments] == [None, "3", "7"]
    statistics = found[-1]
    assert isinstance(statistics, blocks.InterfaceStatistics)
    assert (statistics.options["isb_ifrecv"], statistics.options["isb_ifdrop"]) == (13, 10)


def test_a_capture_that_never_began_is_an_empty_file() -> None:
    assert written() == []
