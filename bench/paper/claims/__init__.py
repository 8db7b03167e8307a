"""Each sentence of the paper that can be tested, with the paper's number and ours.

A function a claim; what a document does not have is "not measured", never a guess.

row       a claim, and words for numbers
switches  Figures 2 and 3
latency   Figure 4
network   round trips, set-up, hosts without vipnet
rest      applications, round trips, hints, configuration
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.paper.claims import latency, network, rest, switches
from bench.paper.claims.row import Row
from bench.paper.document import Document

_CLAIMS: Final[tuple[Callable[[Document], Row], ...]] = (
    switches.udp_one_sided,
    switches.split,
    switches.tcp_one_sided,
    switches.kernel,
    switches.udp_two_sided,
    switches.time_out,
    switches.parts,
    latency.linear,
    latency.stairs,
    latency.tcp_behind,
    latency.where_latency_comes_from,
    network.round_trips,
    network.one_round_trip,
    network.one_question,
    network.legacy,
    network.legacy_moves,
    rest.applications,
    rest.dominated_by_round_trip,
    rest.hints,
    rest.active_partners,
    rest.lease,
    rest.lans,
    rest.nothing_to_configure,
    rest.tokens,
    rest.sealed,
    rest.third_party_dns,
)


def claims(document: Document) -> list[Row]:
    """In the order of the paper's section 4."""
    return [make(document) for make in _CLAIMS]
