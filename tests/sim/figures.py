"""What a run of a population comes to, in lines for people."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from tests.sim.population import Population
from tests.sim.properties import QUIET_BOUND_S, Seals

from vipnet.core.outputs import PartnerMove


def fingerprint(population: Population) -> str:
    """The same for two runs exactly if the same random numbers were drawn, and as much was sent."""
    net = population.net
    state = repr((net.random.getstate(), net.events, net.datagrams, net.datagram_bytes))
    return hashlib.blake2s(state.encode(), digest_size=8).hexdigest()


def lines(population: Population, seals: Seals) -> Iterator[str]:
    net, quiet = population.net, population.quiet
    hosts = net.hosts.values()
    partners = [line for report in quiet.reports for line in report.partners]
    yield f"happened    {_counts(population.happened)}"
    yield f"packets     {population.sent:,} sent, {population.properties.delivered:,} delivered, each once"
    yield f"datagrams   {net.datagrams:,}, {net.datagram_bytes / 1e6:,.1f} MB; {net.lost:,} lost on the way"
    yield f"messages    {_counts(seals.messages)}"
    yield f"keys        {len(seals.last):,}"
    yield f"DNS         {sum(len(host.lookups) for host in hosts):,} look-ups, {net.updates:,} updates"
    yield f"told        {len(partners):,} partners of {len(quiet.reports):,} moves: {_outcomes(partners)}"
    yield f"hint to ack {_spread([_answer_ms(line) for line in partners], 'ms')}"
    yield f"gap         {_spread([line.gap_ms for line in partners], 'ms')}"
    yield f"right after {_spread(quiet.settled_s, 's')}, of at most {QUIET_BOUND_S:g} s of quiet"
    yield f"fingerprint {fingerprint(population)}"


def _answer_ms(line: PartnerMove) -> float | None:
    return None if line.ack_ms is None or line.hint_ms is None else line.ack_ms - line.hint_ms


def _outcomes(partners: Iterable[PartnerMove]) -> str:
    found = [line.outcome or "none yet" for line in partners]
    return _counts({name: found.count(name) for name in sorted(set(found))})


def _counts(numbers: dict[str, int]) -> str:
    most_first = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {number:,}" for name, number in most_first) or "nothing"


def _spread(values: Iterable[float | None], unit: str) -> str:
    found = sorted(value for value in values if value is not None)
    if not found:
        return "none"
    median, most = found[len(found) // 2], found[len(found) * 99 // 100]
    return (
        f"median {median:.3g} {unit}, 99 in 100 within {most:.3g} {unit}, longest {found[-1]:.3g} {unit}"
        f" ({len(found):,})"
    )
