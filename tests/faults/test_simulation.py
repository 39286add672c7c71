"""Deterministic simulation: 100 seeds in which machines, schedulers, the network and Redis fail; see ``sim``.

``RQ_SCHED_SEEDS=5000`` plays so many; ``make simulate-faults SEEDS=… FIRST=…`` prints what they contained.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.faults.sim.play import Simulation

SEEDS = int(os.environ.get("RQ_SCHED_SEEDS", "100"))
PARTS = 3
LENGTH = 6.0
"""Simulated seconds in which things go wrong; then everything must come to its end."""
FOUND = (100_935, 102_569, 103_335, 104_133, 104_142, 104_267, 104_446, 9_000_281)
"""Seeds beyond these in which something was found once."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_goes_wrong_the_invariants_hold(part: int, redis_url: str) -> None:
    seen: Counter[str] = Counter()
    for seed in range(part * SEEDS // PARTS, (part + 1) * SEEDS // PARTS):
        played = Simulation(seed, redis_url, seconds=LENGTH).play()
        seen += played.looked + played.troubles
    if SEEDS < 100:
        return  # too few to have met everything
    for what in (
        "placed",
        "audits",
        "ended completed",
        "ended failed",
        "ended cancelled",
        "given back in time",
        "placed by label",
        "placed after others",
        "cancelled with another",
    ):
        assert seen[what] > 0, f"a simulation of nothing: {seen}"
    for what in ("agent_killed", "machine_lost", "machine_frozen", "partition", "redis_away", "clock_jumps"):
        assert seen[what] > 0, f"nothing goes wrong: {seen}"
    for what in ("failovers that lost writes",):
        assert seen[what] > 0, f"nothing goes wrong: {seen}"


def test_what_was_found_once_is_not_found_again(redis_url: str) -> None:
    for seed in FOUND:
        Simulation(seed, redis_url, seconds=12.0).play()


def test_the_same_seed_is_the_same_story(redis_url: str) -> None:
    stories = []
    for _ in range(2):
        simulation = Simulation(11, redis_url, seconds=LENGTH)
        simulation.play()
        stories.append(simulation.world.story)
    assert stories[0] == stories[1]
    assert len(stories[0]) > 20
