"""Metrics and the log cost nothing where packets go: none of their code runs there."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType

from tests.app.metrics.test_collect import metrics_of, read
from tests.app.test_trusting import A, B, Machine, text, with_machines

import vipnet
from vipnet.core.outputs import LookupResult
from vipnet.types import Token

PACKAGE = Path(vipnet.__file__).parent
OBSERVERS = ("app/metrics/", "app/logs.py", "app/logpace.py", "app/movehistory.py", "system/journal.py")
PACKETS = 200


def packet(source: Token, destination: Token) -> bytes:
    """20 bytes of header (RFC 791), no payload that anybody reads."""
    return b"\x45\0\0\x1c\0\0\0\0\x40\x11\0\0" + source.packed + destination.packed + bytes(8)


def test_no_packet_calls_anything_that_observes(tmp_path: Path) -> None:
    called: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and (path := frame.f_code.co_filename).startswith(str(PACKAGE)):
            called[path.removeprefix(f"{PACKAGE}/")] += 1

    async def main(a: Machine, b: Machine) -> None:
        await a.do("trust_add", name=B, key=text(b.key), address="192.0.2.2")
        await b.do("trust_add", name=A, key=text(a.key))
        remote = await a.engine.bind(LookupResult(B))
        binding = a.engine.node.peers[B].binding
        assert binding is not None
        before = b.engine.node.peers[A].rx_bytes
        sys.setprofile(note)
        try:
            for _ in range(PACKETS):
                a.tun.outgoing.send_nowait(packet(binding.local_token, remote))
            while len(b.tun.delivered) < PACKETS:
                await b.engine.ping(A, 1.0)
        finally:
            sys.setprofile(None)
        assert called["core/outbound.py"]
        assert called["core/inbound.py"]
        assert not [path for path in called if path.startswith(OBSERVERS)]
        # They have been counted all the same.
        assert read(metrics_of(b))["vipnet_peer_receive_bytes_total", A] - before > PACKETS * 28

    with_machines(tmp_path, main)
