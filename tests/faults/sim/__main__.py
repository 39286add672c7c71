"""Many seeds, or one again: ``python -m tests.faults.sim --seeds 300 --first 0`` or ``--seed 17 --verbose``."""

from __future__ import annotations

import sys
from collections import Counter

from tests.faults import seeds
from tests.faults.sim.play import Simulation


def begin(seed: int, url: str, length: float) -> seeds.Game:
    simulation = Simulation(seed, url, seconds=length)

    def play() -> Counter[str]:
        played = simulation.play()
        counts = Counter(steps=played.steps, calls=played.calls, simulated_seconds=round(played.seconds))
        counts.update(played.looked + played.troubles)
        return counts

    return seeds.Game(play, simulation.world.story)


def main() -> int:
    parser = seeds.parser("tests.faults.sim", 300)
    parser.add_argument("--length", type=float, default=12.0, help="simulated seconds in which things go wrong")
    options = parser.parse_args()
    return seeds.run(options, lambda seed, url: begin(seed, url, options.length))


if __name__ == "__main__":
    sys.exit(main())
