"""Tasks with four kinds of needs, and what their runs say about a system that knows resources."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.peers.timed import Run


@dataclass(frozen=True, slots=True)
class Task:
    """A task that sleeps so many seconds, and holds so many CPUs and gigabytes meanwhile."""

    number: int
    cpus: int
    gigabytes: int
    seconds: float


CPUS, GIGABYTES = 16, 32
"""What the one node declares."""
KINDS = ((1, 1), (2, 1), (1, 4), (4, 2))
SHARES = (1, 1, 5, 1)
"""Of eight tasks so many of each kind: then both resources are equally scarce."""


def workload(count: int, seconds: float = 0.05, seed: int = 1) -> list[Task]:
    """So many tasks in a random order, the same for everybody."""
    kinds = [kind for kind, share in zip(KINDS, SHARES, strict=True) for _ in range(share)]
    drawn = [kinds[i % len(kinds)] for i in range(count)]
    random.Random(seed).shuffle(drawn)
    return [Task(number, cpus, gigabytes, seconds) for number, (cpus, gigabytes) in enumerate(drawn)]


def bound(tasks: Iterable[Task], cpus: int = CPUS, gigabytes: int = GIGABYTES) -> float:
    """Seconds that no schedule can beat: the area of the scarcer resource, or the longest task."""
    tasks = list(tasks)
    return max(
        sum(task.cpus * task.seconds for task in tasks) / cpus,
        sum(task.gigabytes * task.seconds for task in tasks) / gigabytes,
        max(task.seconds for task in tasks),
    )


def most_at_once(runs: Iterable[Run], tasks: Sequence[Task]) -> tuple[int, int]:
    """CPUs and gigabytes that running tasks held together, at most: not more than the node has, if both are counted."""
    needs: Mapping[int, Task] = {task.number: task for task in tasks}
    changes = []
    for run in runs:
        need = needs[run.number]
        changes.append((run.began, 1, need.cpus, need.gigabytes))
        if run.ended is not None:
            changes.append((run.ended, 0, -need.cpus, -need.gigabytes))
    cpus = gigabytes = most_cpus = most_gigabytes = 0
    for _, _, more_cpus, more_gigabytes in sorted(changes):
        cpus += more_cpus
        gigabytes += more_gigabytes
        most_cpus, most_gigabytes = max(most_cpus, cpus), max(most_gigabytes, gigabytes)
    return most_cpus, most_gigabytes
