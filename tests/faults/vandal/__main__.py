"""Many seeds, or one again: ``python -m tests.faults.vandal --seeds 300 --first 0`` or ``--seed 17 --verbose``."""

from __future__ import annotations

import sys

from tests.faults import seeds
from tests.faults.vandal.scene import Scene


def begin(seed: int, url: str) -> seeds.Game:
    scene = Scene(seed, url)
    return seeds.Game(scene.play, scene.world.story)


if __name__ == "__main__":
    sys.exit(seeds.run(seeds.parser("tests.faults.vandal", 2000).parse_args(), begin))
