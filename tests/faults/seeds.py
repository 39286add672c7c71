"""Seeds from the command line: so many, or one again with its story.

python -m tests.faults.sim --seeds 300 --first 0
python -m tests.faults.vandal --seed 17 --verbose
"""

from __future__ import annotations

import argparse
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rq_sched.process.embedded import EmbeddedServer

PROGRESS = 100
"""Seeds after which it is said how far it is."""


@dataclass(frozen=True, slots=True)
class Game:
    """One seed, ready to be played.

    Parameters:
        play: plays it; what is to be counted. It raises what isn't as it must be.
        story: what happened, line by line.
    """

    play: Callable[[], Mapping[str, int]]
    story: list[str]


@dataclass
class Tally:
    """What was played."""

    counts: Counter[str]
    failed: list[int]
    began: float

    def __str__(self) -> str:
        seconds = time.monotonic() - self.began
        return f"{self.counts['seeds']} seeds in {seconds:.0f} s, failed: {self.failed}; {dict(self.counts)}"


def parser(module: str, seeds: int) -> argparse.ArgumentParser:
    """The options that each such program has.

    Parameters:
        seeds: how many are played by default.
    """
    made = argparse.ArgumentParser(prog=f"python -m {module}")
    made.add_argument("--seeds", type=int, default=seeds, help="how many")
    made.add_argument("--first", type=int, default=0, help="the first one")
    made.add_argument("--seed", type=int, help="only this one")
    made.add_argument("--seconds", type=float, default=0, help="stop after so many seconds of real time")
    made.add_argument("--verbose", action="store_true", help="print what happened")
    made.add_argument("--keep-going", action="store_true", help="go on after a seed that failed")
    return made


def run(options: argparse.Namespace, begin: Callable[[int, str], Game]) -> int:
    """Play what the options ask for, on a server of its own; the exit code: 1 if a seed failed.

    Parameters:
        begin: makes the game of a seed, on the server with this address.
    """
    seeds = [options.seed] if options.seed is not None else range(options.first, options.first + options.seeds)
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder), settings={"appendonly": "no"}) as server:
        tally = _play(seeds, lambda seed: begin(seed, server.url), options)
    print(tally, flush=True)
    return 1 if tally.failed else 0


def _play(seeds: Iterable[int], begin: Callable[[int], Game], options: argparse.Namespace) -> Tally:
    tally = Tally(Counter(), [], time.monotonic())
    for seed in seeds:
        if options.seconds and time.monotonic() - tally.began > options.seconds:
            break
        game = begin(seed)
        try:
            tally.counts.update(game.play())
        except Exception as error:
            tally.failed.append(seed)
            _report(seed, error, options.verbose)
        tally.counts["seeds"] += 1
        if options.verbose:
            print("\n".join(game.story))
        if tally.failed and not options.keep_going:
            break
        if tally.counts["seeds"] % PROGRESS == 0:
            print(tally, flush=True)
    return tally


def _report(seed: int, error: Exception, verbose: bool) -> None:
    """What failed; its notes say what had happened, and how to see it again."""
    print(f"seed {seed}: {type(error).__name__}: {error}", flush=True)
    if verbose:
        traceback.print_exception(error)
    else:
        print("\n".join(getattr(error, "__notes__", [])), flush=True)
