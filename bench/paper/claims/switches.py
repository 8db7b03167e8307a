"""Figures 2 and 3: how long a switch takes, and of what that time is made."""

from __future__ import annotations

from typing import Final

from bench.paper.claims.row import NONE, Row, by_profile, floor, in_ms, judge, steps, trials_of
from bench.paper.document import Document
from bench.paper.trial import Told, Trial
from bench.stats import Summary, shown, summarise

UDP_MS: Final = 23.0
TCP_MS: Final = 400.0
BOTH_MS: Final = (500.0, 700.0)  # the paper's 644, with its 500
TIME_OUT_MS: Final = (495.0, 520.0)
SHARE: Final = 0.9  # of a median that its parts have to explain


def udp_one_sided(document: Document) -> Row:
    ours = by_profile(document, "2a", "a", document.udp)
    other = by_profile(document, "2a", "b", document.udp)
    receives = ""
    if other["default"].runs:
        receives = (
            f" When b moves and receives: {in_ms(other['paper'])}, by default {in_ms(other['default'])}."
        )
    return Row(
        id="udp-one-sided",
        claim="For UDP, the observed switching time is about 23 ms (Figure 2a; a moves and sends)",
        paper="23 ms",
        ours_paper=in_ms(ours["paper"]),
        ours_default=in_ms(ours["default"]),
        floor=floor(document, "2a", "a"),
        why=f"Their daemon was in Perl; ours also lets the mover send before the ack.{receives}",
        verdict=judge(ours["default"], lambda ms: ms <= UDP_MS),
    )


def split(document: Document) -> Row:
    def parts(profile: str) -> str:
        told = _told(document, "2a", profile)
        out = summarise(one.hint_ms for one in told)
        back = summarise(
            one.ack_ms - one.hint_ms for one in told if one.ack_ms is not None and one.hint_ms is not None
        )
        return f"{out.text('ms')} + {back.text('ms')}" if back.runs else NONE

    ours = parts("default")
    return Row(
        id="split",
        claim="including the time to send an update to the peer (~20 ms) and acknowledgment time (~3 ms)",
        paper="20 + 3 ms",
        ours_paper=parts("paper"),
        ours_default=ours,
        why="From the movers' reports: until the hint leaves, counted from when the daemon hears of the "
        "change, and from there to its ack. The rest of the switch is the change itself, the floor.",
        verdict="" if ours != NONE else NONE,
    )


def tcp_one_sided(document: Document) -> Row:
    ours = by_profile(document, "2b", "a", document.tcp)
    return Row(
        id="tcp-one-sided",
        claim="For TCP, switching time is about 400 ms (Figure 2b)",
        paper="400 ms",
        ours_paper=in_ms(ours["paper"]),
        ours_default=in_ms(ours["default"]),
        floor=floor(document, "2b", "a"),
        why="What ended the silence, by the sender's trace: "
        f"{steps(document, '2b', 'paper')}; by default {steps(document, '2b', 'default')}. "
        "Today's TCP probes long before its time-out, where the paper's waited for it.",
        verdict=judge(ours["default"], lambda ms: ms <= TCP_MS),
    )


def kernel(document: Document) -> Row:
    cells = [cell for cell in document.cells_of("kernel") if not cell.bed.late]
    trials = [trial for cell in cells for trial in document.of(cell)]
    stories = [trial.story for trial in trials if trial.story is not None]
    first = summarise(story.time_outs_ms[0] for story in stories if story.time_outs_ms)
    switch = summarise(trial.tcp.switch_ms for trial in trials if trial.tcp is not None)
    return Row(
        id="kernel-2001",
        claim="because of a TCP retransmission timeout (200 ms) and a delayed ack timeout (200 ms)",
        paper="200 + 200 ms",
        ours_paper=f"{in_ms(switch)}; in {first.runs} of {len(stories)} runs a time-out came, "
        f"{first.text('ms')} after the move"
        if stories
        else NONE,
        ours_default="no time-out is waited for",
        why="With the kernel set back: no RACK, no tail loss probes, rto_min 200 ms, windows of 64 KB, which "
        "a sender of 105 Mbit/s loses as a whole. That is the time-out. The delayed ack after it cannot be "
        "set back: today's Linux acks the first segments after a loss at once.",
        verdict="differs" if stories else NONE,
    )


def udp_two_sided(document: Document) -> Row:
    ours = by_profile(document, "3", "ab", document.udp)
    return Row(
        id="udp-two-sided",
        claim="The switching time is about 644 ms (Figure 3, both move)",
        paper="644 ms",
        ours_paper=in_ms(ours["paper"]),
        ours_default=in_ms(ours["default"]),
        floor=floor(document, "3", "ab"),
        why="Profile paper waits its 500 ms; what comes after is faster than in 2001. By default three round "
        "trips without an ack are waited for, 10 ms at least.",
        verdict=judge(ours["paper"], lambda ms: BOTH_MS[0] <= ms <= BOTH_MS[1]),
    )


def time_out(document: Document) -> Row:
    def waited(profile: str) -> Summary:
        return summarise(
            one.lookup_ms - one.hint_ms
            for one in _told(document, "3", profile)
            if one.lookup_ms is not None and one.hint_ms is not None
        )

    paper = waited("paper")
    return Row(
        id="time-out",
        claim="which includes a 500 ms timeout by the VIP daemon waiting for the ack of the hint",
        paper="500 ms",
        ours_paper=in_ms(paper),
        ours_default=in_ms(waited("default")),
        why="By default the time-out follows the measured round trip (3 x SRTT, 10 to 500 ms).",
        verdict=judge(paper, lambda ms: TIME_OUT_MS[0] <= ms <= TIME_OUT_MS[1]),
    )


def parts(document: Document) -> Row:
    def parts(profile: str) -> tuple[str, float | None]:
        rows = [one for trial in trials_of(document, "3", profile) if (one := _phases(trial)) is not None]
        switch = by_profile(document, "3", "ab", document.udp)[profile]
        if not rows or switch.median is None:
            return NONE, None
        medians = [summarise(row[place] for row in rows).median or 0.0 for place in range(4)]
        share = sum(medians) / switch.median
        return f"{' + '.join(map(shown, medians))} ms = {share:.0%}", share

    (paper, share), (default, _) = parts("paper"), parts("default")
    return Row(
        id="parts",
        claim="fail-over time is dominated by the hint timeout, the round trip time to the DNS server, and "
        "the round trip time to the peer",
        paper="no numbers",
        ours_paper=paper,
        ours_default=default,
        why="Change of address (floor) + time-out + DNS + peer: medians, and their share of the switch.",
        verdict=NONE if share is None else "holds" if share >= SHARE else "does not hold",
    )


def _phases(trial: Trial) -> tuple[float, float, float, float] | None:
    """Of the host that asked DNS and was answered first: floor, time-out, DNS, peer; in ms."""
    found = []
    for mover, one in trial.told.items():
        answer_ms = trial.answer_ms.get(mover)
        if one and answer_ms is not None and None not in (one.hint_ms, one.lookup_ms, one.ack_ms):
            wait_ms = (one.lookup_ms or 0) - (one.hint_ms or 0)
            peer_ms = (one.ack_ms or 0) - (one.lookup_ms or 0) - answer_ms
            found.append((one.ack_ms or 0, (trial.floor_ms or 0, wait_ms, answer_ms, peer_ms)))
    return min(found)[1] if found else None


def _told(document: Document, part: str, profile: str) -> list[Told]:
    trials = trials_of(document, part, profile)
    return [one for trial in trials for one in trial.told.values() if one is not None]
