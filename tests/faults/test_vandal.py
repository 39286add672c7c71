"""Whatever is changed of other tasks, innocents end rightly, without anybody's help (I14). These are the even seeds;
``test_vandal_shared.py`` plays the odd ones.

``RQ_SCHED_SEEDS=2000`` plays so many of both; ``make vandal SEEDS=… FIRST=…`` prints which failed, ``SEED=…`` what was
changed.
"""

from __future__ import annotations

import os

import pytest

from tests.faults.vandal.scene import Scene, play

SEEDS = int(os.environ.get("RQ_SCHED_SEEDS", "60"))
KINDS = ("field-odd", "field-gone", "entry-new", "entry-odd", "string-odd")
"""What must have been changed at least once, for the run to say anything."""


@pytest.mark.timeout(900)
def test_whatever_is_changed_of_other_tasks_innocents_end_rightly(redis_url: str) -> None:
    seen = play(range(0, SEEDS, 2), redis_url)
    assert seen["innocents"] > SEEDS
    assert all(seen[kind] > 0 for kind in KINDS), seen


def test_the_same_seed_is_the_same_story(redis_url: str) -> None:
    stories = []
    for _ in range(2):
        scene = Scene(2, redis_url)
        scene.play()
        stories.append([line for line in scene.world.story if "vandal: " in line and "repaired" not in line])
    assert stories[0] == stories[1]
