"""Round trips, set-up, and hosts without vipnet."""

from __future__ import annotations

from typing import Any

from bench.paper.claims.row import NONE, SAME, Row, Verdict
from bench.paper.document import Document
from bench.stats import shown


def round_trips(document: Document) -> Row:
    found = document.asides.get("round_trips")
    return Row(
        id="rtt",
        claim="The RTT has an average of 250 us on the same LAN and 450 us through different LANs",
        paper="0.25 / 0.45 ms",
        ours_paper=SAME,
        ours_default=NONE if found is None else _rtt_text(found, "vipnet_ms"),
        floor="" if found is None else _rtt_text(found, "bare_ms"),
        why="Medians of ping. The wires are in one kernel here; vipnet is in user space, the paper's VIP was "
        "in the kernel.",
        verdict=NONE if found is None else "",
    )


def _rtt_text(found: dict[str, Any], what: str) -> str:
    return f"{shown(found['one_lan'][what])} / {shown(found['two_lans'][what])} ms"


def one_round_trip(document: Document) -> Row:
    found = document.asides.get("set_up")
    text = NONE
    verdict: Verdict = NONE
    if found is not None:
        rtt = found["rtt_ms"]
        new, known = (found[kind]["steps_ms"]["handshake"] / rtt for kind in ("vip", "vip_known"))
        text = f"{known:.1f} round trips; {new:.1f} at very first contact"
        verdict = "holds" if known < 2 else "does not hold"
    return Row(
        id="set-up",
        claim="This negotiation typically adds one round trip time to connection set-up",
        paper="1 round trip",
        ours_paper=SAME,
        ours_default=text,
        why=f"At a round trip of {shown(found['rtt_ms'])} ms. At the very first contact the other host asks "
        "DNS who the stranger is before it answers, which takes half a round trip here."
        if found
        else "",
        verdict=verdict,
    )


def one_question(document: Document) -> Row:
    found = document.asides.get("set_up")
    asked = [] if found is None else [kind for kind, _ in found["questions"]["b"] if kind in ("A", "TXT")]
    return Row(
        id="dns-query",
        claim="It also adds one additional DNS query to each host lookup, pipelined with the standard one",
        paper="1 more",
        ours_paper=SAME,
        ours_default=NONE
        if found is None
        else f"{len(asked) - 1} more; they arrive {shown(found['together_ms'])} ms apart",
        why="A for the address, TXT at _vip.NAME for whether there is vipnet and which key.",
        verdict=NONE if found is None else "holds" if sorted(asked) == ["A", "TXT"] else "does not hold",
    )


def legacy(document: Document) -> Row:
    found = document.asides.get("legacy")
    good = found is not None and all(
        (
            found["address_as_in_dns"],
            found["works_both_ways"],
            found["vipnet_packets"] == 0,
            len(found["questions"]) == 2,
        )
    )
    return Row(
        id="legacy",
        claim="our system is backwards compatible: it allows communications with unmodified machines",
        paper="yes",
        ours_paper=SAME,
        ours_default=NONE
        if found is None
        else f"{found['vipnet_packets']} packets to its vipnet port of {found['packets_seen']} seen, "
        f"{len(found['questions'])} DNS queries, TCP works both ways",
        why="The second query says that there is no vipnet; its absence is remembered as long as DNS allows.",
        verdict=NONE if found is None else "holds" if good else "does not hold",
    )


def legacy_moves(document: Document) -> Row:
    found = document.asides.get("legacy")
    good = found is not None and not found["open_connection_survives"] and found["new_connection_works"]
    return Row(
        id="legacy-move",
        claim="our system does not support migration of connections unless both participating machines "
        "implement our extension",
        paper="breaks",
        ours_paper=SAME,
        ours_default=NONE
        if found is None
        else f"open connection {'survives' if found['open_connection_survives'] else 'breaks'}, "
        f"a new one {'works' if found['new_connection_works'] else 'does not work'}",
        why="Nothing has changed here: a host without vipnet sees addresses, and addresses change.",
        verdict=NONE if found is None else "holds" if good else "does not hold",
    )
