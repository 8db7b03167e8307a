"""Figure 4: what the latency of DNS does to a two-sided switch."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from bench.paper.claims.row import NONE, Row, steps
from bench.paper.document import Document
from bench.paper.pcaps import TcpStory
from bench.stats import Line, shown, straight_line

SLOPE: Final = (0.9, 1.2)
R_SQUARED: Final = 0.98
TCP_BEHIND_MS: Final = 30.0  # and a round trip
BACK_OFF: Final = (1.8, 2.2)  # a pause against the one before: doubled, by a clock of a few ms
MOST: Final = 0.9  # of the runs


def linear(document: Document) -> Row:
    lines = {profile: document.udp_line(profile) for profile in ("paper", "default")}
    paper = lines["paper"]
    fits = paper is not None and paper.r_squared >= R_SQUARED and SLOPE[0] <= paper.slope <= SLOPE[1]
    return Row(
        id="udp-linear",
        claim="UDP switching time increases almost linearly with DNS latency (Figure 4)",
        paper="linear",
        ours_paper=_line_text(paper),
        ours_default=_line_text(lines["default"]),
        why="One look-up after the time-out; by default after 10 ms instead of 500. The latency is the one "
        "that was measured on the wire.",
        verdict=NONE if paper is None else "holds" if fits else "does not hold",
    )


def _line_text(line: Line | None) -> str:
    if line is None:
        return NONE
    return f"{line.slope:.2f} x latency + {1000 * line.intercept:.0f} ms, R² = {line.r_squared:.4f}"


def stairs(document: Document) -> Row:
    cells = [cell for cell in document.cells_of("4", "paper") if document.of(cell)]
    names = dict.fromkeys(name for cell in cells if (name := document.step_name(cell)))
    stories = [trial.story for cell in cells for trial in document.of(cell) if trial.story is not None]
    by_kernel = sum(story.came_by.startswith(("time-out", "early")) for story in stories)
    ratios = [ratio for story in stories for ratio in _ratios(story)]
    doubled = sum(BACK_OFF[0] <= ratio <= BACK_OFF[1] for ratio in ratios)
    holds = by_kernel >= MOST * len(stories) and doubled >= MOST * len(ratios)
    return Row(
        id="tcp-stepwise",
        claim="TCP exhibits a stepwise exponential curve corresponding to an exponential back off in "
        "retransmission",
        paper="steps",
        ours_paper=f"in {by_kernel} of {len(stories)} runs a retransmission ended the silence; {doubled} of "
        f"{len(ratios)} pauses doubled; the steps: {', '.join(names)}"
        if stories
        else NONE,
        ours_default=f"no steps: {steps(document, '4', 'default')}",
        why="The kernel still doubles its time-out, from 200 ms on. By default vipnet keeps the segment that "
        "the kernel waits with, and sends it as soon as there is a path.",
        verdict=NONE if not stories else "holds" if holds else "does not hold",
    )


def _ratios(story: TcpStory) -> list[float]:
    """Each pause between time-outs against the one before."""
    pauses = [later - earlier for earlier, later in pairwise(story.time_outs_ms)]
    return [later / earlier for earlier, later in pairwise(pauses)]


def tcp_behind(document: Document) -> Row:
    cells = [cell for cell in document.cells_of("4", "default") if document.of(cell)]
    behind = []
    for cell in cells:
        udp, tcp = document.udp(cell).median, document.tcp(cell).median
        if udp is not None and tcp is not None:
            behind.append((tcp - udp, document.rtt_ms(cell)))
    within = sum(late <= TCP_BEHIND_MS + rtt for late, rtt in behind)
    return Row(
        id="tcp-with-udp",
        claim="(ours) TCP is back within a round trip + 30 ms of UDP, at every DNS latency",
        paper="up to seconds later",
        ours_paper="steps, as above",
        ours_default=f"{within} of {len(cells)} latencies; at most {shown(max(behind)[0])} ms"
        if behind
        else NONE,
        why="What the partner reports missing is sent again, and the oldest segment of each connection.",
        verdict=NONE if not behind else "holds" if within == len(cells) else "does not hold",
    )


def where_latency_comes_from(document: Document) -> Row:
    cells = [cell for cell in document.cells_of("sleep") if document.of(cell)]
    pairs = [(document.dns_s(cell), (document.udp(cell).median or 0) / 1000) for cell in cells]
    line = straight_line(*zip(*pairs, strict=True)) if len(pairs) > 1 else None
    alone = f"{shown(1000 * pairs[0][1])} ms with {1000 * pairs[0][0]:.0f} ms of sleep" if pairs else NONE
    return Row(
        id="sleep",
        claim="The delays were simulated by inserting an artificial usleep into the local VIP daemon",
        paper="usleep",
        ours_paper=_line_text(line) if line else alone,
        ours_default="a forwarder before the name server, as in the rows above",
        why="For comparison, with the sleep where the paper had it; updates are not late then.",
        verdict="" if pairs else NONE,
    )
