"""The embedded server on loopback, asked by the programs people use."""

from __future__ import annotations

import io
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import dns.tsig
import dns.update
import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from tests.bind import SECRET
from tests.support import need_program

from vipnet.lab.zone import UDP_SIZE, Record
from vipnet.lab.zoneserver import Faults, Settings, ZoneServer, read_faults, serve

HOST = "127.0.0.1"
RECORDS = (
    Record("vipip.net.", "SOA", "r.vipip.net. hostmaster.vipip.net. 1 3600 600 86400 1"),
    Record("vipip.net.", "NS", "r.vipip.net."),
    Record("r.vipip.net.", "A", "10.201.1.1"),
    *(Record("many.vipip.net.", "TXT", f'"{number:0100}"') for number in range(40)),
)


def settings(directory: Path, port: int) -> Settings:
    return Settings(
        "vipip.net.",
        (HOST,),
        RECORDS,
        {"a.vipip.net": SECRET, "b.vipip.net": SECRET},
        str(directory / "zone.log"),
        str(directory / "faults.json"),
        port,
    )


@contextmanager
def running(directory: Path) -> Iterator[Settings]:
    """The server in a thread, on a port that was free a moment ago."""
    chosen = settings(directory, free_port())
    ready = threading.Event()
    token: list[trio.lowlevel.TrioToken] = []
    scope = trio.CancelScope()

    async def main(server: ZoneServer) -> None:
        token.append(trio.lowlevel.current_trio_token())
        with scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(serve, server, chosen)
                ready.set()

    with Path(chosen.log).open("w") as log:
        thread = threading.Thread(target=trio.run, args=(main, ZoneServer(chosen, log)))
        thread.start()
        assert ready.wait(10)
        try:
            yield chosen
        finally:
            trio.from_thread.run_sync(scope.cancel, trio_token=token[0])
            thread.join()


def free_port() -> int:
    import socket

    with socket.socket() as tcp:
        tcp.bind((HOST, 0))
        port: int = tcp.getsockname()[1]
    return port


def udp(port: int, name: str, kind: str, timeout_s: float = 5) -> dns.message.Message:
    return dns.query.udp(dns.message.make_query(name, kind), HOST, port=port, timeout=timeout_s)


def test_udp_and_tcp_answer(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        question = dns.message.make_query("r.vipip.net", "A")
        for ask in (dns.query.udp, dns.query.tcp):
            answer = ask(question, HOST, port=server.port, timeout=5)
            assert answer.answer[0][0].to_text() == "10.201.1.1"
        lines = [json.loads(line) for line in Path(server.log).read_text().splitlines()]
    assert [(line["name"], line["transport"]) for line in lines] == [
        ("r.vipip.net.", "udp"),
        ("r.vipip.net.", "tcp"),
    ]


def test_a_long_answer_is_cut_and_whole_by_tcp(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        question = dns.message.make_query("many.vipip.net", "TXT", use_edns=0, payload=4096)
        cut = dns.query.udp(question, HOST, port=server.port, timeout=5)
        assert cut.flags & dns.flags.TC
        assert len(cut.to_wire()) <= UDP_SIZE
        whole = dns.query.tcp(question, HOST, port=server.port, timeout=5)
        assert len(whole.answer[0]) == 40


def nsupdate(port: int, *lines: str, key: str = "a.vipip.net", secret: str = SECRET) -> str:
    """What nsupdate says; empty when it is content."""
    script = "\n".join((f"server {HOST} {port}", "zone vipip.net", *lines, "send", ""))
    done = subprocess.run(
        ["nsupdate", "-y", f"hmac-sha256:{key}:{secret}"],
        input=script,
        capture_output=True,
        text=True,
        timeout=20,
    )
    return (done.stdout + done.stderr).strip()


def test_nsupdate_updates(tmp_path: Path) -> None:
    need_program("nsupdate")
    with running(tmp_path) as server:
        assert not nsupdate(server.port, "update add a.vipip.net 5 A 10.201.1.10")
        assert udp(server.port, "a.vipip.net", "A").answer[0][0].to_text() == "10.201.1.10"
        refused = nsupdate(server.port, "prereq nxdomain a.vipip.net", "update delete a.vipip.net A")
        assert "YXDOMAIN" in refused
        assert "REFUSED" in nsupdate(server.port, "update add b.vipip.net 5 A 10.201.1.10")
        assert not nsupdate(server.port, "update delete a.vipip.net A")
        assert not udp(server.port, "a.vipip.net", "A").answer


@pytest.mark.parametrize(
    ("key", "secret", "error"),
    [
        ("nobody.vipip.net", SECRET, "BADKEY"),
        ("a.vipip.net", "d3JvbmcgYnV0IGp1c3QgYXMgbG9uZyBhcyBpdCBtdXN0", "BADSIG"),
    ],
)
def test_nsupdate_understands_why_a_key_is_refused(tmp_path: Path, key: str, secret: str, error: str) -> None:
    need_program("nsupdate")
    with running(tmp_path) as server:
        said = nsupdate(server.port, "update add a.vipip.net 5 A 10.201.1.10", key=key, secret=secret)
        assert error in said
        assert not udp(server.port, "a.vipip.net", "A").answer


def test_a_wrong_clock_is_told_with_the_right_time(tmp_path: Path) -> None:
    server = ZoneServer(settings(tmp_path, 0), io.StringIO())
    key = dns.tsig.Key("a.vipip.net", SECRET, dns.tsig.HMAC_SHA256)
    message = dns.update.UpdateMessage("vipip.net.")
    message.add("a.vipip.net.", 5, "A", "10.201.1.10")
    message.use_tsig(key)
    assert message.tsig is not None
    real, wrong = time.time, time.time() - 3600
    try:
        time.time = lambda: wrong
        wire = message.to_wire()
    finally:
        time.time = real
    answer = server.answer(wire, HOST, tcp=False)
    assert answer is not None
    with pytest.raises(dns.tsig.PeerBadTime):
        dns.message.from_wire(answer, keyring={key.name: key}, request_mac=message.mac)


def test_unsigned_updates_are_refused(tmp_path: Path) -> None:
    server = ZoneServer(settings(tmp_path, 0), io.StringIO())
    message = dns.update.UpdateMessage("vipip.net.")
    message.add("a.vipip.net.", 5, "A", "10.201.1.10")
    answer = server.answer(message.to_wire(), HOST, tcp=True)
    assert answer is not None
    assert dns.message.from_wire(answer).rcode() == dns.rcode.REFUSED


def test_faults_come_and_go_while_it_runs(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        faults = Path(server.faults)
        faults.write_bytes(msgspec.json.encode(Faults(loss=1.0)))
        with pytest.raises(dns.exception.Timeout):
            udp(server.port, "r.vipip.net", "A", timeout_s=0.2)
        faults.write_bytes(msgspec.json.encode(Faults(delay_ms=200)))
        before = time.monotonic()
        assert udp(server.port, "r.vipip.net", "A").answer
        assert time.monotonic() - before >= 0.2
        faults.unlink()
        assert udp(server.port, "r.vipip.net", "A").answer


def test_a_half_written_file_of_faults_is_none(tmp_path: Path) -> None:
    (tmp_path / "faults").write_text('{"delay_ms": 1')
    assert read_faults(tmp_path / "faults") == Faults()
    assert read_faults(tmp_path / "none") == Faults()


@given(st.binary(max_size=200))
def test_garbage_never_stops_it(garbage: bytes) -> None:
    server = ZoneServer(settings(Path("/nowhere"), 0), io.StringIO())
    for wire in (garbage, b"\0\1\0\0\0\1\0\0\0\0\0\0" + garbage, b"\0\1\x28\0\0\1\0\0\0\0\0\0" + garbage):
        answer = server.answer(wire, HOST, tcp=False)
        if answer is not None:
            assert answer[:2] == wire[:2]
            assert answer[2] & 0x80
