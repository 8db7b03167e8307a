"""Run a population of hosts: python -m tests.sim --hosts 200 --seed 3 --minutes 5."""

from __future__ import annotations

import sys
import time

import click
from tests.sim import figures
from tests.sim.diagram import sequence
from tests.sim.population import Plan, Population
from tests.sim.properties import ViolationError, watched_seals

from vipnet.policy import Policy, paper_policy


@click.command()
@click.option("--hosts", default=100, show_default=True, type=click.IntRange(min=3))
@click.option("--seed", default=1, show_default=True)
@click.option("--minutes", default=5.0, show_default=True, help="Of virtual time.")
@click.option("--loss", default=2.0, show_default=True, help="Datagrams lost of 100.")
@click.option("--delay", default=20.0, show_default=True, help="One way, ms.")
@click.option("--moves", default=0.5, show_default=True, help="Of a host, a minute.")
@click.option("--trouble", default=1.0, show_default=True, help="How much else happens; 0: nothing.")
@click.option("--profile", default="default", show_default=True, type=click.Choice(["default", "paper"]))
@click.option("--diagram", is_flag=True, help="Draw what the two sent that began to talk last.")
def main(
    hosts: int,
    seed: int,
    minutes: float,
    loss: float,
    delay: float,
    moves: float,
    trouble: float,
    profile: str,
    *,
    diagram: bool,
) -> None:
    """Let HOSTS talk, move, sleep and crash; say what happened, and what must not have.

    The same arguments give the same run. Exit status 1: a property was violated.
    """
    plan = Plan(
        hosts=hosts,
        minutes=minutes,
        loss=loss / 100,
        latency_s=delay / 1000,
        moves=moves,
        trouble=trouble,
        policy=paper_policy() if profile == "paper" else Policy(),
    )
    begun = time.perf_counter()
    violation: ViolationError | None = None
    with watched_seals() as seals:
        population = Population(seed, plan)
        try:
            population.run(lambda passed: _progress(population, passed, begun))
        except ViolationError as error:
            violation = error
    took_s = time.perf_counter() - begun
    events = population.net.events
    click.echo(
        f"seed {seed}: {hosts} hosts, {events:,} events in {took_s:.1f} s ({events / took_s:,.0f}/s)",
        err=True,
    )
    for line in figures.lines(population, seals):
        click.echo(line)
    if diagram or violation is not None:
        pair = violation.hosts if violation is not None else population.quiet.latest or ()
        click.echo(sequence(population.net.trace, [host.name for host in pair]))
    if violation is not None:
        click.echo(f"violated at {population.net.now:.4f} with seed {seed}: {violation}")
        sys.exit(1)


def _progress(population: Population, passed: float, begun: float) -> None:
    net = population.net
    click.echo(
        f"{passed:6.2f} min  {net.datagrams:>10,} datagrams  {net.events:>10,} events"
        f"  {time.perf_counter() - begun:6.1f} s",
        err=True,
    )


if __name__ == "__main__":
    main()
