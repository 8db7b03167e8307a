"""What flows without questions: an HTTP download, RTP video, ping."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct
from tests.lab.apps.program import (
    Program,
    Socket,
    program,
    sockets_of,
    tcp_connection,
    wait_until_bound,
)
from tests.lab.apps.rtp import frames, read_packets, summary
from tests.lab.apps.shells import SERVER
from tests.lab.apps.silence import instants, longest_silence_ms
from tests.lab.labs import Lab, wait_until
from tests.support import need_program

from vipnet.lab.layout import ZONE

_HTTP_PORT: Final = 8080
_RTP_PORT: Final = 5004
_VOICE_PORT: Final = 5006
_G711: Final = 0  # payload type (RFC 3551 section 6)
_HERE: Final = Path(__file__).parent
_ENOUGH_BYTES: Final = 200_000  # a tenth of a second of the stream and more than any queue below holds
_ENOUGH_PACKETS: Final = 5


class Download:
    """An endless file, until `finish`; then both ends' SHA-256 are compared."""

    name = "http"

    def __init__(self, client: Program, server: Program, received: Path, sent: Path) -> None:
        self._client, self._server, self._received, self._sent = client, server, received, sent

    def progress(self) -> int:
        self._client.check()
        self._server.check()
        return self._received.stat().st_size if self._received.exists() else 0

    def goal(self) -> int:
        return self.progress() + _ENOUGH_BYTES

    def sockets(self) -> frozenset[Socket]:
        return tcp_connection(self._client, self._server)

    def finish(self) -> str:
        self._client.check()
        self._sent.touch()
        status = self._client.wait()
        assert status == 0, f"curl: exit status {status}: {self._client.said()}"
        content = self._received.read_bytes()
        assert f"{len(content)} {hashlib.sha256(content).hexdigest()}" == self._sent.read_text()
        return f"{len(content) / 1e6:.1f} MB downloaded, SHA-256 the same"


@contextmanager
def download(lab: Lab, directory: Path) -> Iterator[Download]:
    """Curl on a, Python's http.server on b."""
    need_program("curl")
    received, sent = directory / "received", directory / "sent"
    server_command = [sys.executable, str(_HERE / "http_server.py"), str(_HTTP_PORT), str(sent)]
    curl = ["curl", "--fail", "--silent", "--show-error", "--no-buffer", "--output", str(received)]
    curl.append(f"http://{SERVER}:{_HTTP_PORT}/endless")
    with program(lab, "b", server_command, directory, name="http_server") as server:
        wait_until_bound(server, "tcp", _HTTP_PORT)
        with program(lab, "a", curl, directory, name="curl") as client:
            found = Download(client, server, received, sent)
            wait_until(lambda: found.progress() > 0, "the first bytes of the download")
            yield found


class Video:
    """Ffmpeg's test picture by RTP; what is missing is counted, never repaired."""

    name = "rtp"

    def __init__(self, sender: Program, receiver: Program) -> None:
        self._sender, self._receiver = sender, receiver

    def progress(self) -> int:
        self._sender.check()
        self._receiver.check()
        return self._receiver.out.read_bytes().count(b"\n")

    def goal(self) -> int:
        return self.progress() + _ENOUGH_PACKETS

    def sockets(self) -> frozenset[Socket]:
        return sockets_of(self._sender.pid) | sockets_of(self._receiver.pid)

    def finish(self) -> str:
        self.progress()
        packets = read_packets(self._receiver.out)
        return f"{frames(packets)}, {summary(packets)}"

    def heard_ns(self) -> list[int]:
        return instants(self._receiver.out)


@contextmanager
def video(lab: Lab, directory: Path) -> Iterator[Video]:
    """Ffmpeg on a sends, a receiver on b writes down every header."""
    need_program("ffmpeg")
    receiver_command = [sys.executable, str(_HERE / "rtp_program.py"), str(_RTP_PORT)]
    ffmpeg: list[str] = ["ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "warning"]
    ffmpeg += ["-re", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=25"]
    ffmpeg += ["-c:v", "mpeg4", "-b:v", "600k", "-threads", "1"]
    ffmpeg += ["-f", "rtp", f"rtp://{SERVER}:{_RTP_PORT}?pkt_size=1200"]
    with program(lab, "b", receiver_command, directory, name="rtp_receiver") as receiver:
        wait_until_bound(receiver, "udp", _RTP_PORT)
        with program(lab, "a", ffmpeg, directory, name="ffmpeg") as sender:
            found = Video(sender, receiver)
            wait_until(lambda: found.progress() > 0, "the first RTP packet")
            yield found


class Call:
    """A telephone call: 50 packets a second each way."""

    name = "voip"

    def __init__(self, caller: Program, callee: Program) -> None:
        self._sides = (caller, callee)

    def heard_ns(self) -> list[int]:
        """Of the side that had to wait longer."""
        return max((instants(side.out) for side in self._sides), key=longest_silence_ms)

    def progress(self) -> int:
        """Of the side that has heard less."""
        for side in self._sides:
            side.check()
        return min(side.out.read_bytes().count(b"\n") for side in self._sides)

    def goal(self) -> int:
        return max(side.out.read_bytes().count(b"\n") for side in self._sides) + _ENOUGH_PACKETS

    def sockets(self) -> frozenset[Socket]:
        return frozenset[Socket]().union(*(sockets_of(side.pid) for side in self._sides))

    def finish(self) -> str:
        """Hang up; who is still on the line hears the last words of the other."""
        self.progress()
        for side in self._sides:
            assert side.process.stdin is not None
            side.process.stdin.close()
        wait_until(lambda: all(_SENT.search(side.err.read_text()) for side in self._sides), "both hang up")
        return "; ".join(summary(read_packets(side.out), _G711) for side in self._sides)


_SENT: Final = re.compile(r"^sent (\d+)$", re.MULTILINE)


@contextmanager
def call(lab: Lab, directory: Path) -> Iterator[Call]:
    def side(label: str, other: str) -> AbstractContextManager[Program]:
        command = [sys.executable, str(_HERE / "rtp_program.py"), str(_VOICE_PORT), f"{other}.{ZONE}"]
        return program(lab, label, command, directory, name=f"voice-{label}", stdin=subprocess.PIPE)

    with side("b", "a") as callee, side("a", "b") as caller:
        found = Call(caller, callee)
        wait_until(lambda: found.progress() > 0, "a word each way")
        yield found


class PingLine(Struct, frozen=True):
    sequence: int
    duplicate: bool


class Ping:
    """One ping that goes on; numbers without an answer are counted."""

    name = "ping"

    def __init__(self, client: Program) -> None:
        self._client = client

    def progress(self) -> int:
        self._client.check()
        return max((line.sequence for line in self._answers()), default=0)

    def goal(self) -> int:
        return self.progress() + _ENOUGH_PACKETS

    def sockets(self) -> frozenset[Socket]:
        return sockets_of(self._client.pid)

    def finish(self) -> str:
        last = self.progress()
        answers = self._answers()
        assert not [line for line in answers if line.duplicate]
        assert len({line.sequence for line in answers}) == len(answers)
        return f"{last} sent, {last - len(answers)} without an answer"

    def _answers(self) -> list[PingLine]:
        return [
            PingLine(int(line["sequence"]), line["duplicate"] is not None)
            for line in _ANSWER.finditer(self._client.out.read_text())
        ]


_ANSWER: Final = re.compile(
    r"^\d+ bytes from \S+ .*icmp_seq=(?P<sequence>\d+) .*ms(?P<duplicate> \(DUP!\))?$", re.MULTILINE
)


@contextmanager
def ping(lab: Lab, directory: Path) -> Iterator[Ping]:
    need_program("ping")
    with program(lab, "a", ["ping", "-i", "0.05", SERVER], directory, name="ping") as client:
        found = Ping(client)
        wait_until(lambda: found.progress() > 0, "the first answer to ping")
        yield found
