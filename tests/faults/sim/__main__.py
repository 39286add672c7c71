"""Many seeds, or one again: ``python -m tests.faults.sim --seeds 300 --first 0`` or ``--seed 17 --verbose``."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rq_sched.process.embedded import EmbeddedServer
from tests.faults.sim.play import Simulation


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=300, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--seconds", type=float, default=0, help="stop after so many seconds of real time")
    parser.add_argument("--length", type=float, default=12.0, help="simulated seconds in which things go wrong")
    parser.add_argument("--verbose", action="store_true", help="print what happened")
    parser.add_argument("--keep-going", action="store_true", help="go on after a seed that failed")
    options = parser.parse_args()
    seeds = [options.seed] if options.seed is not None else range(options.first, options.first + options.seeds)
    began = time.monotonic()
    sums: Counter[str] = Counter()
    failed: list[int] = []
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder), settings={"appendonly": "no"}) as server:
        for seed in seeds:
            if options.seconds and time.monotonic() - began > options.seconds:
                break
            simulation = Simulation(seed, server.url, seconds=options.length)
            try:
                played = simulation.play()
            except Exception as error:
                failed.append(seed)
                print(f"seed {seed}: {type(error).__name__}: {error}", flush=True)
                if options.verbose:
                    print("\n".join(simulation.world.story))
                if not options.keep_going:
                    print("\n".join(getattr(error, "__notes__", [])))
                    break
                continue
            sums.update(seeds=1, steps=played.steps, calls=played.calls, simulated_seconds=round(played.seconds))
            sums.update(played.looked)
            sums.update(played.troubles)
            if options.verbose:
                print("\n".join(simulation.world.story))
            if sums["seeds"] % 100 == 0:
                print(f"{sums['seeds']} seeds in {time.monotonic() - began:.0f} s: {dict(sums)}", flush=True)
    print(f"{sums['seeds']} seeds in {time.monotonic() - began:.0f} s, failed: {failed}; {dict(sums)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
