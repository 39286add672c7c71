"""How long the scripts run, and what a task costs Redis, with 1,000 nodes and up to a million tasks pending.

``python -m bench.scripts [--pending N…] [--classes N…] [--runs N] [--persistence everysec|always|off] [--json]``

One driver plays clients, schedulers and nodes through ``Store``, one call at a time where durations are measured, so
that figures are Redis' and not Python's. In the same run, the bare minimum of commands of one life cycle in a Lua loop
is the bound to come close to.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from itertools import islice

from bench.common import Cost, Results, asked, circumstances, metered, printed, server
from rq_sched.link import Link
from rq_sched.model.orders import Start
from rq_sched.model.resources import Resources
from rq_sched.model.task import TaskRequest
from rq_sched.store import Store
from rq_sched.store.answers import EndReport
from rq_sched.store.attempts import REFILL
from rq_sched.store.base import BATCH
from rq_sched.store.scheduling import PLACE_BATCH

NODES = 1000
NODE = Resources(16, 64 * 1024)
CYCLES = 20_000  # life cycles of the bare loop
READ_AHEAD = 2000

# What no scheduler that keeps its state in Redis can do without: request, queue, ledger, node, attempt, outcome, and an
# index of those that have ended.
BARE = r"""
local P, id = KEYS[1], nil
for i = 1, tonumber(ARGV[1]) do
  id = 'bare' .. (ARGV[2] + i)
  redis.call('SET', P .. 'task:' .. id, 'class=1:100\nturn=' .. i .. '\ndigest=digest\nat=1\nrun=m:f\nwith=args')
  redis.call('ZADD', P .. 'pending', 0, id)
  redis.call('ZPOPMIN', P .. 'pending')
  redis.call('HSET', P .. 'ledger', id, id)
  redis.call('HSET', P .. 'node', 'free_cpu', i, 'free_memory', i)
  redis.call('HSET', P .. 'placed', id, 'token node:i 1 1')
  redis.call('HDEL', P .. 'ledger', id)
  redis.call('HDEL', P .. 'placed', id)
  redis.call('SET', P .. 'ended:' .. id, 'state=completed\nat=1\nattempt=token node:i 1 1\nresult=r')
  redis.call('ZADD', P .. 'finished', 1, id)
end
"""


def workload(count: int, classes: int, seed: int, prefix: str = "t") -> Iterator[TaskRequest]:
    """Tasks of so many classes and three priorities, in random order."""
    rng = random.Random(seed)
    if classes <= 28:
        needs = [(cpu, memory) for cpu in (1, 2, 4, 8) for memory in (128, 256, 512, 1024, 2048, 4096, 8192)][:classes]
    else:
        needs = [(1 + i % 16, 64 + 51 * (i // 16)) for i in range(classes)]
    for i in range(count):
        cpu, memory = rng.choice(needs)
        yield TaskRequest(
            "bench.noop:f",
            [i, "x"],
            task_id=f"{prefix}{i:011d}",
            cpu_needed=cpu,
            memory_needed=memory,
            priority=rng.randrange(3),
        ).check()


class Drive:
    """A namespace with its nodes, driven call by call."""

    def __init__(self, link: Link, namespace: str) -> None:
        self.link = link
        self.store = Store(namespace)
        self.running: dict[str, list[Start]] = {}
        self.acked: dict[str, int] = {}

    def submit(self, count: int, classes: int) -> None:
        tasks = workload(count, classes, seed=1)
        while batch := list(islice(tasks, READ_AHEAD)):
            self.link.run(self.store.submit(batch))

    def register(self, count: int, total: Resources, prefix: str = "n") -> None:
        for i in range(count):
            name = f"{prefix}{i}"
            self.link.run(self.store.node_register(name, "i", total, ttl=3600))
            self.running[name], self.acked[name] = [], 0

    def place_all(self) -> int:
        placed = 0
        while True:
            batch = self.link.run(self.store.place())
            placed += batch.placed
            if not batch.more:
                return placed

    def poll_all(self) -> None:
        for name in self.running:
            while orders := self.link.run(self.store.node_poll(name, "i", acked=self.acked[name])):
                self.took(name, [order for order in orders if isinstance(order, Start)], orders[-1].number)

    def took(self, name: str, starts: list[Start], acked: int) -> None:
        self.running[name] += starts
        self.acked[name] = acked

    def finish(self, name: str, count: int) -> int:
        """Reports so many ends of one node in a call that refills it; how many there were."""
        ended, self.running[name] = self.running[name][:count], self.running[name][count:]
        reports = [EndReport(s.token, s.task_id, "completed", ran=0.01, result=b"\xc0") for s in ended]
        finished = self.link.run(self.store.task_finish(name, "i", acked=self.acked[name], reports=reports))
        if finished.orders:
            starts = [order for order in finished.orders if isinstance(order, Start)]
            self.took(name, starts, finished.orders[-1].number)
        return len(ended)


def finish_some(drive: Drive, names: list[str], per_call: int, calls: int) -> tuple[Cost, int]:
    """Ends and refills on random nodes that have so many tasks."""
    rng = random.Random(per_call)
    tasks = 0
    with metered(drive.link) as cost:
        for _ in range(calls):
            name = rng.choice(names)
            if len(drive.running[name]) >= per_call:
                tasks += drive.finish(name, per_call)
    return cost, tasks


def measure(link: Link, pending: int, classes: int, run: int) -> Iterator[tuple[str, dict[str, float]]]:
    """One run: rows of figures."""
    drive = Drive(link, f"b{run}-{pending}-{classes}")
    with metered(link) as cost:
        drive.submit(pending, classes)
    yield f"submit, {BATCH} a call", cost.per(pending)
    with metered(link) as cost:
        drive.register(NODES, NODE)
    yield "register", cost.per(NODES)
    with metered(link) as cost:
        placed = drive.place_all()
    yield f"place on nodes that joined, ≤ {PLACE_BATCH} a call", cost.per(placed)
    with metered(link) as cost:
        drive.poll_all()
    yield "orders read by nodes", cost.per(placed)
    with metered(link) as cost:
        for name, starts in drive.running.items():
            link.run(drive.store.task_start(name, "i", [start.token for start in starts]))
    yield "start reports, a node a call", cost.per(placed)
    names = sorted(drive.running)
    for per_call in (1, 4):
        cost, tasks = finish_some(drive, names, per_call, 2000)
        if tasks:
            yield f"finish + refill, {per_call} a call", cost.per(tasks)
    drive.register(20, Resources(256, 2**20), prefix="big")
    drive.place_all()
    drive.poll_all()
    for per_call in (16, REFILL):
        cost, tasks = finish_some(drive, [name for name in drive.running if name.startswith("big")], per_call, 300)
        if tasks:
            yield f"finish + refill, {per_call} a call", cost.per(tasks)
    yield from trickle(drive, run)
    link.run(asked(("FLUSHALL",)))


def trickle(drive: Drive, run: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Urgent tasks one by one onto a node whose room is too small for all that waits, which is passed over."""
    count = 60  # MB of room: the least need of what waits is 64
    drive.register(1, Resources(1000, count), prefix="room")
    drive.place_all()
    with metered(drive.link) as cost:
        for i in range(count):
            urgent = TaskRequest("bench.noop:f", task_id=f"u{run}-{i}", memory_needed=1, priority=9).check()
            drive.link.run(drive.store.submit([urgent]))
            drive.link.run(drive.store.place())
    yield "submit + place of one urgent task", cost.per(count)


def bare(link: Link, run: int) -> dict[str, float]:
    """The lower bound."""
    with metered(link) as cost:
        for i in range(0, CYCLES, 100):
            link.run(asked(("EVAL", BARE, 1, f"bare{run}:", 100, i)))
    return {"redis_cpu_us": cost.cpu / CYCLES, "commands": cost.commands / CYCLES}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scripts", description=__doc__.partition("\n")[0])
    parser.add_argument("--pending", type=int, nargs="+", default=[100_000, 1_000_000], metavar="N")
    parser.add_argument("--classes", type=int, nargs="+", default=[28, 10_000], metavar="N")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--persistence", choices=["everysec", "always", "off"], default="everysec")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    lower = Results("bare commands of one life cycle in a Lua loop, per task")
    results: dict[str, Results] = {}
    around: dict[str, str] = {}
    for run in range(options.runs):
        with server(options.persistence) as running:
            link = Link(running.url)
            around = circumstances(link, options.persistence)
            lower.add("lower bound", bare(link, run))
            for pending in options.pending:
                for classes in options.classes:
                    title = (
                        f"{NODES:,} nodes, {pending:,} pending, {classes:,} classes: per task; and durations of a call"
                    )
                    table = results.setdefault(title, Results(title))
                    for row, figures in measure(link, pending, classes, run):
                        table.add(row, figures)
                    print(f"run {run + 1}: {pending:,} pending, {classes:,} classes done", file=sys.stderr)
            link.close()
    printed([lower, *results.values()], around, options.json)


if __name__ == "__main__":
    main()
