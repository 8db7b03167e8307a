"""Random scenarios of 2 to 5 hosts; a seed reproduces a run: -k "[17]", or Scenario(17).run()."""

from __future__ import annotations

import pytest
from tests.sim.scenario import Scenario


@pytest.mark.parametrize("seed", range(40))
def test_nothing_breaks_and_peace_brings_everyone_together(seed: int) -> None:
    scenario = Scenario(seed)
    scenario.run(steps=30)
    assert scenario.properties.lanes, "some packets went the short way"


@pytest.mark.long
@pytest.mark.parametrize("block", range(40))
def test_nothing_breaks_in_many_more_scenarios(block: int) -> None:
    for seed in range(1000 + 25 * block, 1025 + 25 * block):
        Scenario(seed).run(steps=40)


def test_a_seed_reproduces_its_run() -> None:
    first, second = Scenario(3), Scenario(3)
    first.run()
    second.run()
    assert first.steps == second.steps
    assert first.net.trace == second.net.trace
