from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vipnet.lab.figures import (
    ByDirection,
    CaseFigures,
    PingFigures,
    TcpFigures,
    UdpFigures,
    alive,
    case_figures,
    first_arrival_ms,
    flow_figures,
    middle,
    summary,
    switch_ms,
    worst,
)
from vipnet.lab.flows import (
    INTERVAL_MS,
    LATE_S,
    MESSAGE_SIZE,
    TCP_FLOWS,
    Arrival,
    Case,
    Flow,
    Message,
    Phase,
    Sent,
    TrafficReport,
)

MS = 1_000_000  # nanoseconds


def stream(
    flow: Flow, *, hole: range = range(0), count: int = 300, sent: bool = True, twice: int = 0
) -> TrafficReport:
    """A stream whose numbers 100 to 199 are of the move; those in HOLE are lost."""
    interval_ns = int(INTERVAL_MS[flow] * MS)
    numbers = [number for number in range(count) if number not in hole] + list(range(twice))
    arrivals = tuple(
        Arrival(flow, Phase(min(number // 100, 2)), number, number * interval_ns)
        for number in sorted(numbers)
    )
    return TrafficReport((Sent(flow, count, 0, count * interval_ns),) if sent else (), arrivals)


def whole_case(**changes: TrafficReport) -> list[TrafficReport]:
    return [changes.get(flow.name, stream(flow)) for flow in Flow]


# --- one stream


def test_the_silence_counts_without_the_interval() -> None:
    figures = flow_figures([stream(Flow.UDP_A_B, hole=range(120, 137))])[Flow.UDP_A_B]
    assert figures.switch_ms == 17.0
    assert (figures.sent, figures.lost, figures.duplicated) == (300, 17, 0)


def test_a_silence_long_before_the_move_does_not_count() -> None:
    figures = flow_figures([stream(Flow.UDP_A_B, hole=range(20, 50))])[Flow.UDP_A_B]
    assert figures.switch_ms == 0.0
    assert figures.lost == 30


def test_a_stream_that_stopped_before_the_move_does_not_look_well() -> None:
    figures = flow_figures([stream(Flow.UDP_A_B, hole=range(60, 140))])[Flow.UDP_A_B]
    assert figures.switch_ms == 80.0


def test_a_stream_that_never_comes_back_has_no_switch() -> None:
    assert flow_figures([stream(Flow.UDP_A_B, hole=range(150, 300))])[Flow.UDP_A_B].switch_ms is None
    assert switch_ms([], 1.0) is None


def test_copies_are_not_arrivals_of_others() -> None:
    figures = flow_figures([stream(Flow.UDP_A_B, twice=3, hole=range(120, 122))])[Flow.UDP_A_B]
    assert (figures.lost, figures.duplicated) == (2, 3)


def test_what_comes_too_late_is_lost_but_not_for_tcp() -> None:
    for flow, lost in ((Flow.UDP_A_B, 1), (Flow.TCP_A_B, 0)):
        report = stream(flow, hole=range(299, 300))
        late = Arrival(flow, Phase.AFTER, 299, report.sent[0].last_ns + int((LATE_S + 0.001) * 1e9))
        figures = flow_figures([report, TrafficReport((), (late,))])[flow]
        assert figures.lost == lost


@given(st.lists(st.integers(0, 400), min_size=2, max_size=40, unique=True))
def test_the_longest_silence_is_found_in_any_order(times: list[int]) -> None:
    arrivals = [Arrival(Flow.UDP_A_B, Phase.AFTER, number, time * MS) for number, time in enumerate(times)]
    ordered = sorted(times)
    longest = max(later - earlier for earlier, later in pairwise(ordered))
    assert switch_ms(arrivals, 1.0) == max(0.0, longest - 1.0)


# --- a case


def test_the_slower_direction_is_the_switch() -> None:
    reports = whole_case(
        UDP_A_B=stream(Flow.UDP_A_B, hole=range(120, 130)), UDP_B_A=stream(Flow.UDP_B_A, hole=range(120, 145))
    )
    udp = case_figures(Case.ONE_SIDED, reports).udp
    assert udp.by_direction == ByDirection(10.0, 25.0)
    assert (udp.switch_ms, udp.lost, udp.sent) == (25.0, 35, 600)


def test_the_floor_is_the_movers() -> None:
    reports = whole_case(
        FLOOR_A=stream(Flow.FLOOR_A, hole=range(120, 130)), FLOOR_B=stream(Flow.FLOOR_B, hole=range(120, 150))
    )
    assert case_figures(Case.ONE_SIDED, reports).floor_ms == 10.0
    assert case_figures(Case.TWO_SIDED, reports).floor_ms == 30.0


@pytest.mark.parametrize("flow", sorted(TCP_FLOWS))
def test_a_hole_in_tcp_is_a_broken_connection(flow: Flow) -> None:
    assert case_figures(Case.ONE_SIDED, whole_case()).tcp.alive
    for hole in (range(120, 121), range(150, 300), range(300)):
        assert not case_figures(Case.ONE_SIDED, whole_case(**{flow.name: stream(flow, hole=hole)})).tcp.alive


def test_tcp_out_of_order_is_broken_too() -> None:
    report = stream(Flow.TCP_A_B)
    swapped = (report.arrivals[1], report.arrivals[0], *report.arrivals[2:])
    reports = whole_case(TCP_A_B=TrafficReport(report.sent, swapped))
    assert not case_figures(Case.ONE_SIDED, reports).tcp.alive


def test_a_connection_that_nobody_opened_is_not_alive() -> None:
    assert not case_figures(Case.ONE_SIDED, []).tcp.alive
    assert not alive([case_figures(Case.ONE_SIDED, [])])


@pytest.mark.parametrize("flow", [flow for flow in Flow if not flow.name.startswith("FLOOR")])
def test_whatever_breaks_is_a_death(flow: Flow) -> None:
    assert alive([case_figures(Case.ONE_SIDED, whole_case())])
    broken = whole_case(**{flow.name: stream(flow, hole=range(120, 300))})
    assert not alive([case_figures(Case.ONE_SIDED, broken)])


# --- all runs


def case(switch: float | None, lost: int, *, tcp_alive: bool = True) -> CaseFigures:
    directions = ByDirection(switch, switch)
    return CaseFigures(
        switch,
        UdpFigures(switch, lost, 0, 100, directions),
        TcpFigures(switch, tcp_alive, directions),
        PingFigures(switch, lost, 0, 10),
    )


def test_medians_of_times_and_sums_of_counts() -> None:
    total = summary([case(30.0, 1), case(10.0, 2), case(11.0, 3)])
    assert (total.floor_ms, total.udp.switch_ms, total.udp.lost, total.udp.sent) == (11.0, 11.0, 6, 300)
    assert total.ping.lost == 6
    assert total.tcp.alive


def test_one_death_is_not_hidden_by_two_good_runs() -> None:
    assert not alive([summary([case(10.0, 0), case(10.0, 0), case(10.0, 0, tcp_alive=False)])])
    assert summary([case(10.0, 0), case(None, 9), case(10.0, 0)]).udp.switch_ms is None


def test_nothing_is_worse_than_never() -> None:
    assert worst([3.0, 1.0]) == 3.0
    assert worst([3.0, None]) is None
    assert worst([]) is None
    assert middle([]) is None


def test_the_first_arrival_after_an_outage() -> None:
    """What came before the commands began is of the time before; what came while they ran counts."""
    reports = [stream(Flow.UDP_A_B, hole=range(100, 150)), stream(Flow.TCP_A_B)]
    assert first_arrival_ms(reports, Flow.UDP_A_B, 120 * MS, 140 * MS) == 10.0
    assert first_arrival_ms(reports, Flow.UDP_A_B, 120 * MS, 155 * MS) == -5.0
    assert first_arrival_ms(reports, Flow.UDP_A_B, 50 * MS, 140 * MS) == -90.0
    assert first_arrival_ms(reports, Flow.UDP_A_B, 300 * MS, 140 * MS) is None
    assert first_arrival_ms(reports, Flow.UDP_B_A, 0, 0) is None


# --- messages


@given(
    st.integers(0, 2**16 - 1), st.sampled_from(Case), st.sampled_from(Flow), st.sampled_from(Phase),
    st.integers(0, 2**32 - 1), st.integers(MESSAGE_SIZE, 2000),
)  # fmt: skip
def test_messages_come_back(
    run: int, case: Case, flow: Flow, phase: Phase, number: int, size_bytes: int
) -> None:
    message = Message(run, case, flow, phase, number)
    assert len(message.encode()) == MESSAGE_SIZE
    assert len(message.encode(size_bytes)) == size_bytes
    assert Message.decode(message.encode(size_bytes)) == message


@given(st.binary(max_size=MESSAGE_SIZE + 8))
def test_garbage_is_no_message(data: bytes) -> None:
    if len(data) < MESSAGE_SIZE or not data.startswith(b"vipL"):
        assert Message.decode(data) is None
