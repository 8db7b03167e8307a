"""What two hosts of the lab say, in tshark: inside tun0 with names, and on the network with a key log."""

from __future__ import annotations

import hashlib
import re
import signal
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from tests.app.test_wireshark import fields
from tests.lab.apps.program import Program, program
from tests.lab.conftest import LabFactory
from tests.lab.labs import VIPNET, run, wait_until
from tests.support import need_program

pytestmark = pytest.mark.stack

SERVE: Final = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=8000, bind='0.0.0.0')"


def test_a_download_a_move_and_a_ping(new_lab: LabFactory, tmp_path: Path) -> None:
    need_program("tshark", "tcpdump", "curl")
    lab = new_lab(dns="embedded")
    content = hashlib.shake_128(b"seed").digest(300_000)
    (tmp_path / "file").write_bytes(content)
    inner, outer, keys, opened = (tmp_path / name for name in ("in.pcapng", "lan.pcap", "keys", "out.pcapng"))
    watching: dict[str, list[str | Path]] = {
        "tcpdump": [
            "tcpdump",
            "--immediate-mode",
            "-B",
            "16384",
            "-U",
            "-Z",
            "root",
            "-i",
            "any",
            "-w",
            outer,
            "udp",
        ],
        "capture": [*VIPNET, "capture", inner],
        "keys": [*VIPNET, "key", "log", keys],
    }
    assert lab.can_ping("a", "b.vipip.net")
    with ExitStack() as stack:
        server = [sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r}); {SERVE}"]
        stack.enter_context(program(lab, "b", server, tmp_path, name="server"))
        programs: dict[str, Program] = {}
        # One after the other: what makes the keys has to be seen on the network, too.
        for name, said in (("tcpdump", "listening on"), ("capture", "until Ctrl-C"), ("keys", "WARNING")):
            programs[name] = stack.enter_context(program(lab, "a", watching[name], tmp_path, name=name))
            wait_until(partial(_says, programs[name], said), f"{name} is ready")
        wait_until(lambda: keys.read_text().count("\n") >= 2, "keys of a new session")
        download = ["curl", "-sS", "--retry", "20", "--retry-connrefused", "-o", str(tmp_path / "got")]
        lab.on("a", *download, "http://b.vipip.net:8000/file")
        assert (tmp_path / "got").read_bytes() == content
        lab.move("b")
        lab.on("a", "ping", "-c", "2", "-i", "0.2", "b.vipip.net")
        wait_until(
            lambda: inner.read_bytes().count(b"b.vipip.net is at 10.201.") == 2, "packets after the move"
        )
        for one in programs.values():
            one.process.send_signal(signal.SIGINT)
        assert [one.wait() for one in programs.values()] == [0, 0, 0]

    # Inside: whole names, nothing missing, super-packets, and both places of b.
    asked = ["ip.src_host", "ip.dst_host", "tcp.len", "frame.comment", "icmp.type"]
    seen = fields(inner, asked, "-N", "n")
    assert {(one["ip.src_host"], one["ip.dst_host"]) for one in seen} == {
        ("a.vipip.net", "b.vipip.net"),
        ("b.vipip.net", "a.vipip.net"),
    }
    assert sum(int(one.get("tcp.len", 0)) for one in seen) > len(content)
    assert max(int(one.get("tcp.len", 0)) for one in seen) > 3000
    assert [one["icmp.type"] for one in seen if "icmp.type" in one] == ["8", "0", "8", "0"]
    places = [one["frame.comment"] for one in seen if "frame.comment" in one]
    assert [place.rsplit(" ")[-1] for place in places] == ["10.201.2.20:5847", "10.201.1.20:5847"]

    # On the network: sealed for tshark alone, open with the keys: the hint of the move, and the same bytes.
    sealed = fields(outer, ["vipnet.counter", "tcp.len"], "-Y", "vipnet.counter")
    # Some frames hold many datagrams: whoever captures on the host itself sees them before they are cut.
    assert sum(one["vipnet.counter"].count(",") + 1 for one in sealed) > len(content) / 1400
    assert not any("tcp.len" in one for one in sealed)
    run([*VIPNET, "dissect", str(outer), str(opened), "--keys", str(keys)])
    names = ["vipnet.sealed_by", "vipnet.message", "vipnet.made_in"]
    messages = fields(opened, names, "-Y", "vipnet.message")
    assert ("b.vipip.net", "Hint") in {(one["vipnet.sealed_by"], one["vipnet.message"]) for one in messages}
    assert all(one["vipnet.made_in"] for one in messages)
    payloads = fields(opened, ["tcp.seq", "tcp.payload"], "-Y", "tcp.srcport == 8000 && tcp.len > 0")
    answer = bytearray()
    for segment in payloads:  # some of it may have been sent twice, cut otherwise
        at, payload = int(segment["tcp.seq"]) - 1, bytes.fromhex(segment["tcp.payload"])
        answer[at : at + len(payload)] = payload
    assert answer.endswith(content), "as b has sent it, byte for byte"


def test_a_reader_that_stands_still_holds_up_nothing(new_lab: LabFactory, tmp_path: Path) -> None:
    need_program("curl")
    lab = new_lab(dns="embedded")
    content = bytes(40_000_000)  # five times what may wait
    (tmp_path / "file").write_bytes(content)
    capture = tmp_path / "in.pcapng"
    server = [sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r}); {SERVE}"]
    with (
        program(lab, "b", server, tmp_path, name="server"),
        program(lab, "a", [*VIPNET, "capture", capture], tmp_path, name="capture") as reader,
    ):
        wait_until(lambda: _says(reader, "until Ctrl-C"), "the capture is ready")
        reader.process.send_signal(signal.SIGSTOP)
        got = ["curl", "-sS", "--retry", "20", "--retry-connrefused", "-o", str(tmp_path / "got")]
        lab.on("a", *got, "http://b.vipip.net:8000/file")
        assert (tmp_path / "got").read_bytes() == content
        reader.process.send_signal(signal.SIGCONT)
        lab.on("a", "ping", "-c", "1", "b.vipip.net")
        wait_until(lambda: b"packets are missing" in capture.read_bytes(), "it is told")
        reader.process.send_signal(signal.SIGINT)
        assert reader.wait() == 0
    missed = re.search(r"(\d+) packets, (\d+) missed", reader.said())
    assert missed
    assert all(int(number) > 50 for number in missed.groups())


def _says(one: Program, words: str) -> bool:
    one.check()
    return words in one.said()
