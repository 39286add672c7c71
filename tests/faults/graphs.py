"""A large graph through real workers, some of which are killed: ``python -m tests.faults.graphs --tasks 100000``.

Chains, diamonds, random layers with failures, one task before a tenth of all and one after these, a branch that a
failure cancels. They are submitted in a random order. Each task writes its begin and its end to one file, in the order
in which things happened; from that, and from the states at the end, follows whether each began after those that it
waits for, and whether exactly those ran that were to.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rq_sched import Client
from rq_sched.link import Link, Op
from rq_sched.model.after import in_order
from rq_sched.model.references import ResultOf
from rq_sched.model.states import State
from rq_sched.model.task import TaskRequest
from rq_sched.process.embedded import EmbeddedServer
from rq_sched.store import Store
from tests.faults.cluster import Cluster
from tests.faults.kills import Kills

TTL = 2.0
NODES, CPU = 3, 4
LENGTH = 50
"""Tasks of a chain."""


@dataclass
class Step:
    """One task: those that it waits for (``ID`` or ``ID:KIND``), and whether it is to fail."""

    name: str
    after: Sequence[str] = ()
    fails: bool = False
    task_id: str | None = None

    def __post_init__(self) -> None:
        self.task_id = self.name

    def request(self, path: str) -> TaskRequest:
        used = {one: ResultOf(one) for name in self.after if (one := name.removesuffix(":result")) != name}
        return TaskRequest(
            "tests.faults.jobs:step", [path, used, self.fails], task_id=self.name, memory=1, crash_limit=1_000_000,
            after=[name for name in self.after if not name.endswith(":result")],
        )  # fmt: skip


def graph(tasks: int, rng: random.Random) -> list[Step]:
    """About so many."""
    tenth = tasks // 10
    return [
        *(step for chain in range(2 * tenth // LENGTH) for step in _chain(f"chain{chain}", LENGTH, rng)),
        Step("wide"),
        *(Step(f"wide-{i}", ("wide",)) for i in range(tenth)),
        Step("narrow", tuple(f"wide-{i}" for i in range(tenth))),
        Step("used", tuple(f"wide-{i}:result" for i in range(min(tenth, 1000)))),
        *_diamonds(2 * tenth),
        *_layers(3 * tenth, rng),
        Step("lost", fails=True),
        *(Step(f"lost-{i}", (f"lost-{(i - 1) // 2}" if i else "lost",)) for i in range(tenth)),
        Step("after-all", tuple(f"lost-{i}:any" for i in range(tenth))),
    ]


def _chain(name: str, length: int, rng: random.Random) -> Iterator[Step]:
    for i in range(length):
        yield Step(f"{name}-{i}", (f"{name}-{i - 1}{rng.choice(['', ':result'])}",) if i else ())


def _diamonds(tasks: int) -> Iterator[Step]:
    """Each begins where the one before has ended."""
    for i in range(tasks // 3):
        yield Step(f"d{i}-left", (f"d{i - 1}-end",) if i % 30 else ())
        yield Step(f"d{i}-right", (f"d{i - 1}-end",) if i % 30 else ())
        yield Step(f"d{i}-end", (f"d{i}-left", f"d{i}-right:result"))


def _layers(tasks: int, rng: random.Random) -> Iterator[Step]:
    """Ten layers; each task waits for some of the layer above, in whatever way."""
    width = tasks // 10
    for layer in range(10):
        for i in range(width):
            above = sorted(rng.sample(range(width), rng.randint(1, min(4, width)))) if layer else ()
            kinds = rng.choices(["", ":result", ":any", ":failed"], [70, 15, 10, 5], k=len(above))
            after = tuple(f"l{layer - 1}-{one}{kind}" for one, kind in zip(above, kinds, strict=True))
            yield Step(f"l{layer}-{i}", after, rng.random() < 0.03)


def expected(steps: list[Step]) -> dict[str, State]:
    """How each is to end."""
    ends: dict[str, State] = {}
    for step in in_order(steps):
        come = all(_has_come(kind, ends[one]) for one, _, kind in (name.partition(":") for name in step.after))
        ends[step.name] = State.CANCELLED if not come else State.FAILED if step.fails else State.COMPLETED
    return ends


def _has_come(kind: str, state: State) -> bool:
    return kind == "any" or (state is State.COMPLETED) == (kind != "failed")


def problems(steps: list[Step], ends: dict[str, State], lines: list[str]) -> Iterator[str]:
    """What is wrong with what ran, and in which order. (What was killed runs again: its end may stand
    there twice.)"""
    by_name = {step.name: step for step in steps}
    ended: set[str] = set()
    began: set[str] = set()
    for line in lines:
        what, name = line.split()
        if what != "B":
            ended.add(name)
            continue
        began.add(name)
        early = [one for one in by_name[name].after if (parent := one.partition(":")[0]) not in ended
                 and ends[parent] is not State.CANCELLED]  # fmt: skip
        if early:
            yield f"{name} began before the end of {', '.join(early[:5])}"
    runs = {name for name, state in ends.items() if state is not State.CANCELLED}
    yield from (f"{name} ran, and was to be cancelled" for name in began - runs)
    yield from (f"{name} never ran" for name in runs - began)


class Run:
    """One graph in one namespace."""

    def __init__(self, cluster: Cluster, tasks: int, seed: int) -> None:
        self.cluster = cluster
        self.rng = random.Random(seed)
        self.steps = graph(tasks, self.rng)
        self.ends = expected(self.steps)
        self.path = cluster.folder / "order"
        self.kills = Kills(cluster, self.rng, self.launch)

    def submit(self) -> None:
        requests = [step.request(str(self.path)) for step in self.steps]
        self.rng.shuffle(requests)
        with Client(self.cluster.url, self.cluster.store.keys.namespace) as client:
            count = sum(1 for _ in client.submit_stream(requests))
        assert count == len(self.steps)

    def launch(self, name: str) -> None:
        self.cluster.launch_node(name, CPU, 4096, TTL)

    def check(self) -> None:
        names = list(self.ends)
        states = self.cluster.run(self.cluster.store.states(names))
        wrong = [
            f"{name} is {state}, not {self.ends[name]}"
            for name, state in zip(names, states, strict=True)
            if state is not self.ends[name]
        ]
        wrong += problems(self.steps, self.ends, self.path.read_text().splitlines())
        assert not wrong, "\n".join([f"{len(wrong)} problems", *wrong[:20]])
        self.cluster.check()


def play(folder: Path, tasks: int, seed: int, nodes: int = NODES, kill_at: int | None = None) -> dict[str, object]:
    """Run one; what there is to tell of it.  Raises: AssertionError."""
    with EmbeddedServer(folder / "redis") as server:
        with Cluster(server.url, Store("graphs"), folder) as cluster:
            cluster.run(cluster.store.set_setting("keep_tasks", 10_000_000))
            cluster.scheduler("s0")
            for i in range(nodes):
                cluster.node(f"n{i}", CPU, 4096, TTL)
            run = Run(cluster, tasks, seed)
            begun = time.monotonic()
            run.submit()
            submitted = time.monotonic()
            run.kills.until_ended(len(run.steps), kill_at)
            ended = time.monotonic()
            run.check()
            return {
                "tasks": len(run.steps),
                "dependencies": sum(len(step.after) for step in run.steps),
                "submit_s": round(submitted - begun, 1),
                "until_the_end_s": round(ended - begun, 1),
                "killed": dict(run.kills.count),
                "ends": dict(Counter(map(str, run.ends.values()))),
            }


def bytes_a_dependency(folder: Path, tasks: int) -> float:
    """How much more memory of the server a dependency takes: of the same tasks with and without."""
    used: list[int] = []
    steps = graph(tasks, random.Random(1))
    for waits in (False, True):
        with EmbeddedServer(folder / f"memory-{waits}") as server:
            link, store = Link(server.url), Store("graphs")
            requests = [step.request("") for step in steps]
            for request in requests:
                request.args = ["", {}, False]
                request.after = request.after if waits else ()
                request.check()
            if waits:
                for step, request in zip(steps, requests, strict=True):
                    request.after = tuple(one.removesuffix(":result") for one in step.after)
            link.run(store.submit(requests))

            def memory() -> Op[int]:
                info = (yield [("INFO", "memory")])[0]
                return int(info.split(b"used_memory:")[1].split()[0])

            used.append(link.run(memory()))
            link.close()
    return (used[1] - used[0]) / sum(len(step.after) for step in steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(f"{bytes_a_dependency(Path(folder), given.tasks):.1f} bytes a dependency", flush=True)
        print(play(Path(folder), given.tasks, given.seed), flush=True)


if __name__ == "__main__":
    main()
