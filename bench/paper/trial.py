"""One move, measured: packets of the receiving host, and what the daemons say of the same time."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench.attempts import Attempt, Running, traffic_of
from bench.cases import Case, Row, Step
from bench.paper import pcaps
from bench.paper.bed import Bed
from bench.paper.capture import Tap, tcpdump
from bench.paper.cells import Cell
from bench.paper.pcaps import DnsExchange, Silence, TcpStory
from bench.streams import TCP_BYTES
from msgspec import Struct

from vipnet.lab.flows import INTERVAL_MS, Flow
from vipnet.lab.layout import ROUTER, Layout

BEFORE_MS: Final = 200.0  # of a plot, before the move ...
AFTER_MS: Final = 300.0  # ... and after the silence


class Stream(Struct, frozen=True):
    """One stream of one trial.

    switch_ms   by the packets at the receiver; None: it broke
    program_ms  the same by the stamps of the receiving program; None: not to be compared
    """

    switch_ms: float | None
    program_ms: float | None
    sent: int
    lost: int
    duplicated: int


class Told(Struct, frozen=True):
    """How a mover's partner learned of it, by the mover's own report, in ms from the event."""

    hint_ms: float | None
    lookup_ms: float | None
    ack_ms: float | None
    outcome: str | None


class Trial(Struct, frozen=True, kw_only=True):
    """`cell` is a key.

    from_lans, to_lans  on how many LANs the two hosts are before and after
    asked_ms            what a question to the name server took right before the move; None: DNS was late
    answer_ms           per mover: what its question about its partner took, on the wire; None: it asked none
    offset_ms           the largest difference between packets' and program's switch
    """

    cell: str
    run: int
    rtt_ms: float
    floor_ms: float | None
    udp: Stream | None
    tcp: Stream | None
    story: TcpStory | None
    told: dict[str, Told | None]
    from_lans: int
    to_lans: int
    asked_ms: float | None
    answer_ms: dict[str, float | None]
    errors: tuple[str, ...]

    @property
    def offset_ms(self) -> float:
        streams = [one for one in (self.udp, self.tcp) if one is not None]
        return max(
            (
                abs(one.switch_ms - one.program_ms)
                for one in streams
                if one.switch_ms is not None and one.program_ms is not None
            ),
            default=0.0,
        )


class Trace(Struct, frozen=True):
    """What a plot shows of one trial: milliseconds from the move on, and packets or bytes by then."""

    cell: str
    run: int
    what: str
    points: tuple[tuple[float, float], ...]


def measure(bed: Bed, cell: Cell, run: int) -> tuple[Trial, Trace | None]:
    """Raise HostError when there is no traffic before anything moved, or packets were not captured."""
    case = Case(
        rows=(Row("", cell.flows, 0),), move=Step("switch"), movers=cell.movers, tcp_bytes=cell.tcp_bytes
    )
    from_lans = bed.lans()
    # A slow answer is seen on the wire anyway.
    asked_ms = None if cell.dns_ms else bed.ask_dns_ms("a")
    with tempfile.TemporaryDirectory(prefix="vipnet-figures-") as directory:
        files = {name: Path(directory, f"{name}.pcap") for name in ("sender", "receiver", "dns")}
        with tcpdump(bed.layout, *_taps(files)), contextlib.ExitStack() as stack:
            traffic = stack.enter_context(traffic_of(case, bed.layout, run))
            traffic.begin()
            running = Running(case, bed.layout, run, bed.rtt_ms, traffic)
            running.leave()
            # Not sooner: a question from before the move, asked again after it, would be answered too soon.
            bed.make_dns_late(cell.dns_ms)
            running.come_back()
            attempt = running.end()
            to_realtime_ns = time.time_ns() - time.monotonic_ns()
        bed.settle()
        move_ms = (attempt.moves[0].event_ns + to_realtime_ns) / 1e6
        return _judge(cell, bed, attempt, files, move_ms, (from_lans, bed.lans()), asked_ms)


def _taps(files: dict[str, Path]) -> list[Tap]:
    return [
        Tap(host="a", interface="tun0", file=files["sender"], only="tcp"),
        Tap(host="b", interface="tun0", file=files["receiver"]),
        Tap(
            host=ROUTER,
            interface="any",
            file=files["dns"],
            only="port 53",
            keep_bytes=1500,
            link="LINUX_SLL",
        ),
    ]


def _judge(
    cell: Cell,
    bed: Bed,
    attempt: Attempt,
    files: dict[str, Path],
    move_ms: float,
    lans: tuple[int, int],
    asked_ms: float | None,
) -> tuple[Trial, Trace | None]:
    exchanges = pcaps.dns_exchanges(files["dns"])
    received = pcaps.segments(files["receiver"]) if Flow.TCP_A_B in cell.flows else []
    streams: dict[Flow, tuple[Stream, Silence | None]] = {}
    points: tuple[tuple[float, float], ...] = ()
    for flow in cell.flows:
        is_tcp = flow == Flow.TCP_A_B
        times = pcaps.in_order_times(received) if is_tcp else pcaps.datagram_times(files["receiver"])
        silence = pcaps.longest_silence(times, move_ms)
        streams[flow] = _stream(cell, attempt, flow, silence), silence
        if silence is not None:
            plotted = [(one.at_ms, one.end) for one in received] if is_tcp else _counted(times)
            points = _window(plotted, move_ms, silence)
    story = None
    if Flow.TCP_A_B in streams and (found := streams[Flow.TCP_A_B][1]) is not None:
        story = pcaps.tell_story(files["sender"], received, found, move_ms, bed.rtt_ms)
    what = "bytes" if received else "packets"
    trial = Trial(
        cell=cell.key,
        run=attempt.run,
        rtt_ms=bed.rtt_ms,
        floor_ms=attempt.floor_ms,
        udp=streams[Flow.UDP_A_B][0] if Flow.UDP_A_B in streams else None,
        tcp=streams[Flow.TCP_A_B][0] if Flow.TCP_A_B in streams else None,
        story=story,
        told={mover: _told(attempt.vipnet[mover]) for mover in cell.movers},
        from_lans=lans[0],
        to_lans=lans[1],
        asked_ms=asked_ms,
        answer_ms={mover: _answer_ms(bed.layout, mover, exchanges, move_ms) for mover in cell.movers},
        errors=attempt.errors,
    )
    return trial, Trace(cell.key, attempt.run, what, points) if cell.part in ("2a", "2b", "3") else None


def _stream(cell: Cell, attempt: Attempt, flow: Flow, silence: Silence | None) -> Stream:
    """A message of many segments has arrived with the last: for the program the silence ends later."""
    figures = attempt.flows[flow.name]
    comparable = flow == Flow.UDP_A_B or cell.tcp_bytes == TCP_BYTES
    broken = silence is None or figures.switch_ms is None
    return Stream(
        None if broken or silence is None else silence.switch_ms(INTERVAL_MS[flow]),
        figures.switch_ms if comparable else None,
        figures.sent,
        figures.lost + figures.refused,
        figures.duplicated,
    )


def _counted(times: Sequence[float]) -> list[tuple[float, float]]:
    return [(at_ms, number) for number, at_ms in enumerate(times, 1)]


def _window(
    plotted: Sequence[tuple[float, float]], move_ms: float, silence: Silence
) -> tuple[tuple[float, float], ...]:
    """From shortly before the move until it flows again; counted from the first that is shown."""
    shown = [
        (round(at_ms - move_ms, 3), value)
        for at_ms, value in plotted
        if move_ms - BEFORE_MS <= at_ms <= silence.ended_ms + AFTER_MS
    ]
    zero = shown[0][1] if shown else 0
    return tuple((at_ms, value - zero) for at_ms, value in shown)


def _told(report: Any) -> Told | None:  # noqa: ANN401 - JSON of `vipnet moves`
    if not isinstance(report, dict) or not report["partners"]:
        return None
    line = report["partners"][0]
    return Told(line["hint_ms"], line["lookup_ms"], line["ack_ms"], line["outcome"])


def _answer_ms(layout: Layout, mover: str, exchanges: Sequence[DnsExchange], move_ms: float) -> float | None:
    """The first answered question of MOVER, from where it is now, about where its partner is."""
    partner = layout.host("b" if mover == "a" else "a").name
    host = layout.host(mover)
    own = {host.address(lan) for lan in (1, 2)}
    for one in exchanges:
        asks = one.client in own and one.kind == "A" and one.name == partner and one.asked_ms >= move_ms
        if asks and one.answered_ms is not None:
            return round(one.answered_ms - one.asked_ms, 3)
    return None
