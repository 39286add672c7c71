"""Whatever is changed in Redis, innocents end rightly, no process ends, no command fails, and a repair is one (I14).

``RQ_SCHED_SEEDS=2000`` plays so many; ``make vandal SEEDS=… FIRST=…`` prints what was changed.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.faults.vandal import Scene

SEEDS = int(os.environ.get("RQ_SCHED_SEEDS", "12"))
PARTS = 2


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_is_changed_innocents_end_rightly(part: int, redis_url: str) -> None:
    seen: Counter[str] = Counter()
    for seed in range(part * SEEDS // PARTS, (part + 1) * SEEDS // PARTS):
        scene = Scene(seed, redis_url)
        scene.play()
        seen += scene.vandal.count
        seen["innocents"] += scene.said["innocents"]
    assert seen["innocents"] > SEEDS // PARTS
    for what in ("field-odd", "field-gone", "entry-new", "entry-odd", "string-odd"):
        assert seen[what] > 0, f"nothing of this was changed: {what}; {seen}"


def test_the_same_seed_is_the_same_story(redis_url: str) -> None:
    stories = []
    for _ in range(2):
        scene = Scene(2, redis_url)
        scene.play()
        stories.append([line for line in scene.world.story if "vandal: " in line and "repaired" not in line])
    assert stories[0] == stories[1]
