"""A limit and cards, while nodes and schedulers are killed: ``python -m tests.faults.limits --tasks 2000``.

Five nodes with four cards each. So many tasks take one of a limit of 20, half as many cards: one, two, or half of one.
Each writes to one file when it begins, with the cards that it sees, and when it ends; a node that was killed is noted
there once none of its processes runs. From that alone follows how much of the limit was in use at each instant, and
whether a card was given twice.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rq_sched import Client
from rq_sched.model.states import State
from rq_sched.model.task import TaskRequest
from rq_sched.process.embedded import EmbeddedServer
from rq_sched.store import Store
from tests.faults.cluster import Cluster
from tests.faults.jobs import note
from tests.faults.kills import Kills
from tests.support import wait_for

TTL = 2.0
NODES, CPU, CARDS = 5, 12, 4
LIMIT = "seats"
PATIENCE = 10.0
"""Seconds for which less than the limit may be in use while tasks wait for it: what a dead node holds comes back."""


class Taken(NamedTuple):
    """What a task that runs has: of the limit, and thousandths of cards."""

    node: str
    of_limit: int
    cards: dict[str, int]


@dataclass
class Record:
    """What the tasks have written, replayed."""

    most: int = 0
    """Of the limit in use at one instant."""
    began: int = 0
    busy: float = 0.0
    """Of the limit in use, on the mean, from the first instant at which it was full to the last begin."""
    cards: set[tuple[str, str]] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


def replay(lines: list[str], limit: int) -> Record:
    """Judge the lines, in their order. A task that was killed begins again: then its first run is over."""
    record, runs = Record(), dict[str, Taken]()
    used: list[tuple[float, int, bool]] = []
    for line in lines:
        what, at, node, *rest = line.split(" ")
        if what == "K":
            runs = {task_id: taken for task_id, taken in runs.items() if taken.node != node}
        elif what == "E":
            runs.pop(rest[0], None)
        else:
            record.began += 1
            runs[rest[0]] = taken = _taken(node, *rest[1:])
            record.cards |= {(node, index) for index in taken.cards}
            record.problems += _given_twice(node, runs)
        in_use = sum(taken.of_limit for taken in runs.values())
        if in_use > limit:
            record.problems.append(f"{in_use} of the limit in use at {at}, of {limit}")
        record.most = max(record.most, in_use)
        used.append((float(at), in_use, what == "B" and bool(runs[rest[0]].of_limit)))
    record.busy = _mean(used, limit)
    return record


def _taken(node: str, what: str, cards: str) -> Taken:
    if what == LIMIT:
        return Taken(node, 1, {})
    thousandths, indexes = int(what), [index for index in cards.split(",") if index]
    each = min(thousandths, 1000)
    return Taken(node, 0, dict.fromkeys(indexes, each) if len(indexes) * each == thousandths else {"wrong": 9999})


def _given_twice(node: str, runs: dict[str, Taken]) -> Iterator[str]:
    given: Counter[str] = Counter()
    for taken in runs.values():
        if taken.node == node:
            given.update(taken.cards)
    yield from (f"card {index} of {node}: {n} thousandths given" for index, n in given.items() if n > 1000)


def _mean(used: list[tuple[float, int, bool]], limit: int) -> float:
    full = next((i for i, (_, in_use, _) in enumerate(used) if in_use == limit), None)
    last = max((i for i, (_, _, begins) in enumerate(used) if begins), default=0)
    if full is None or full >= last:
        return 0.0
    held = sum(one[1] * (other[0] - one[0]) for one, other in zip(used[full:last], used[full + 1 :], strict=False))
    return held / (used[last][0] - used[full][0])


class Run:
    """One cluster at work."""

    def __init__(self, cluster: Cluster, tasks: int, limit: int, seed: int, ttl: float) -> None:
        self.cluster = cluster
        self.limit = limit
        self.ttl = ttl
        self.rng = random.Random(seed)
        self.path = cluster.folder / "taken"
        self.requests = [self._request(i, i < tasks) for i in range(tasks + tasks // 2)]
        self.kills = Kills(cluster, self.rng, self.launch, self.look)
        self.full = time.monotonic()
        self.longest = 0.0
        """Seconds for which less than the limit was in use while tasks waited for it, by Redis."""

    def _request(self, number: int, limited: bool) -> TaskRequest:
        cards = 0 if limited else self.rng.choice([1, 2, 0.5])
        what = LIMIT if limited else f"{cards * 1000:.0f}"
        return TaskRequest(
            "tests.faults.jobs:taking", [str(self.path), what, round(self.rng.uniform(0, 0.3 * self.ttl), 3)],
            task_id=f"t{number}", memory=1, crash_limit=1_000_000,
            limits={LIMIT: 1} if limited else {}, resources={"gpu": cards} if cards else {},
        )  # fmt: skip

    def launch(self, name: str) -> None:
        if name in self.cluster.processes:
            note(str(self.path), f"K {time.monotonic()} {name}")
        self.cluster.launch_node(name, CPU, 4096, self.ttl, "--resource", f"gpu={CARDS}")

    def submit(self) -> None:
        self.rng.shuffle(self.requests)
        with Client(self.cluster.url, self.cluster.store.keys.namespace) as client:
            assert sum(1 for _ in client.submit_stream(self.requests)) == len(self.requests)

    def look(self) -> None:
        """Whether the limit is full, while there is work for it."""
        (info,) = self.cluster.run(self.cluster.store.limits())
        now = time.monotonic()
        if info.in_use == self.limit or not info.first_waiting:
            self.full = now
        self.longest = max(self.longest, now - self.full)

    def check(self) -> Record:
        """What the tasks wrote, and that nothing is lost.  Raises: AssertionError."""
        record = replay(self.path.read_text().splitlines(), self.limit)
        states = Counter(self.cluster.run(self.cluster.store.states([str(one.task_id) for one in self.requests])))
        assert states == {State.COMPLETED: len(self.requests)}, states
        assert not record.problems, "\n".join(record.problems[:20])
        assert self.longest < PATIENCE, f"for {self.longest:.1f} s less than the limit was in use, and tasks waited"
        wait_for(self._all_free, 30, lambda: [*self.cluster.run(self.cluster.store.nodes())])
        self.cluster.check()
        return record

    def _all_free(self) -> bool:
        nodes = [node for node in self.cluster.run(self.cluster.store.nodes()) if node.state != "dead"]
        (info,) = self.cluster.run(self.cluster.store.limits())
        return info.in_use == 0 and all(node.free_resources == {"gpu": CARDS} for node in nodes)


def play(
    folder: Path,
    tasks: int,
    seed: int,
    nodes: int = NODES,
    limit: int = 20,
    kill_at: int | None = None,
    ttl: float = TTL,
) -> dict[str, object]:
    """Run so many tasks that ask for the limit, and half as many for cards; what there is to tell.

    Raises:
        AssertionError: more was in use, a card was given twice, or something is lost.
    """
    with EmbeddedServer(folder / "redis") as server, Cluster(server.url, Store("limits"), folder) as cluster:
        cluster.run(cluster.store.limit_set(LIMIT, limit))
        run = Run(cluster, tasks, limit, seed, ttl)
        names = [f"n{i}" for i in range(nodes)]
        for name in names:
            run.launch(name)
        for name in ["s0"] if kill_at is not None else ["s0", "s1"]:
            cluster.scheduler(name)
        for name in names:
            cluster.joined(name)
        begun = time.monotonic()
        run.submit()
        run.kills.until_ended(len(run.requests), kill_at)
        ended = time.monotonic()
        record = run.check()
        return {
            "tasks": len(run.requests),
            "begins": record.began,
            "killed": dict(run.kills.count),
            "until_the_end_s": round(ended - begun, 1),
            "of_the_limit_at_most": record.most,
            "of_the_limit_on_the_mean": round(record.busy, 2),
            "longest_not_full_s": round(run.longest, 2),
            "cards_used": len(record.cards),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(play(Path(folder), given.tasks, given.seed), flush=True)


if __name__ == "__main__":
    main()
