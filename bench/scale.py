"""Does the cost stay flat? 1,000 nodes, millions of pending tasks, 4 schedulers, nodes that die and join by hundreds.

``python -m bench.scale [--nodes N] [--pending N…] [--schedulers N] [--runs N] [--only PART…] [--json]``

Parts: ``live`` (nodes that live: idle, working, 200 dying, 200 joining; schedulers are processes), ``pending`` (what a
decision costs as the backlog grows), ``nodes`` (as the nodes grow), ``shapes`` (10,000 distinct needs), ``head``
(17,000 infeasible tasks in front). Placements are a second of Redis' own CPU: one core of Redis is the limit of a cell,
and a driver in Python on the same two cores can't fill it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager
from itertools import islice

from bench.common import Cost, Results, asked, circumstances, info, metered, printed, process, server
from bench.scale_cell import Cell, allow_many_connections
from bench.scripts import NODE, READ_AHEAD, Drive, bare, finish_some, workload
from rq_sched.link import Link
from rq_sched.model.node import NodeState
from rq_sched.model.resources import Resources
from rq_sched.model.task import TaskRequest
from rq_sched.store import Store

CLASSES = 28
IDLE_SECONDS = 10.0
WORK_SECONDS = 15.0
DYING = 200
TTL = 10.0
PATIENCE = 120.0
CALLS = 1500


def figures_of(cost: Cost, tasks: int) -> dict[str, float]:
    """What a stretch of work cost, a task; and how many a second one core of Redis could do."""
    if not tasks:
        return {}
    return {
        "redis_cpu_us": cost.cpu / tasks,
        "script_us": cost.script_total / tasks,
        "a core's rate/s": tasks / cost.cpu * 1e6,
        "wall rate/s": tasks / cost.seconds,
        "call_p99_us": cost.script_p99,
        "call_max_us": cost.script_max,
    }


# -- the cost of a decision -----------------------------------------------------------------------------------------


class Yardstick:
    """How slow the server's core is right now: the bare commands of one life cycle, before and after what is measured.
    On a shared machine the same work takes twice as long a minute later; its multiple of the bare cycle doesn't."""

    def __init__(self, link: Link, run: int) -> None:
        self._link = link
        self._run = run
        self._before = self._bare()

    def _bare(self) -> float:
        return bare(self._link, self._run)["redis_cpu_us"]

    def __call__(self, figures: dict[str, float]) -> dict[str, float]:
        """The figures of what was measured since the last call, with the multiple."""
        before, self._before = self._before, self._bare()
        mean = (before + self._before) / 2
        return figures | {"bare_us": mean, "× bare": figures["redis_cpu_us"] / mean} if figures else figures


def decide(drive: Drive, link: Link, point: str, run: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Finish with refill on random nodes, then placing on 20 nodes that join."""
    names = sorted(name for name in drive.running if name.startswith("n"))
    yardstick = Yardstick(link, run)
    cost, tasks = finish_some(drive, names, 4, CALLS)
    yield f"{point}: finish + refill, 4 a call", yardstick(figures_of(cost, tasks))
    drive.register(20, NODE, prefix=f"j{point.replace(' ', '').replace(',', '')}-")
    with metered(link) as cost:
        placed = drive.place_all()
    yield f"{point}: place on nodes that joined", yardstick(figures_of(cost, placed))


def filled(link: Link, name: str, nodes: int) -> Drive:
    """A namespace with so many nodes, all full."""
    drive = Drive(link, name)
    drive.register(nodes, NODE)
    drive.submit(nodes * 6, CLASSES)
    drive.place_all()
    drive.poll_all()
    return drive


def by_pending(link: Link, sizes: list[int], nodes: int, run: int) -> Iterator[tuple[str, dict[str, float]]]:
    """The same work as the backlog grows."""
    drive = filled(link, f"pending{run}", nodes)
    before, there = int(info(link, "memory")["used_memory"]), 0
    submitted = 0
    tasks = workload(max(sizes) + READ_AHEAD, CLASSES, seed=2, prefix="p")
    for size in sorted(sizes):
        with metered(link) as cost:
            while there < size:
                there += len(batch := list(islice(tasks, min(READ_AHEAD, size - there))))
                link.run(drive.store.submit(batch))
        used = int(info(link, "memory")["used_memory"]) - before
        figures = figures_of(cost, size - submitted) | {"bytes a task": used / size}
        submitted = size
        yield f"{size:,} pending: submit, 64 a call", figures
        yield from decide(drive, link, f"{size:,} pending", run)


def by_nodes(link: Link, counts: list[int], run: int) -> Iterator[tuple[str, dict[str, float]]]:
    """The same work as the nodes grow, 100,000 pending."""
    for nodes in counts:
        drive = filled(link, f"nodes{run}-{nodes}", nodes)
        tasks = workload(100_000, CLASSES, seed=3, prefix="q")
        while batch := list(islice(tasks, READ_AHEAD)):
            link.run(drive.store.submit(batch))
        yield from decide(drive, link, f"{nodes:,} nodes", run)
        link.run(asked(("FLUSHALL",)))


def by_shapes(link: Link, nodes: int, run: int) -> Iterator[tuple[str, dict[str, float]]]:
    """10,000 needs, no two the same; full nodes, refilled one task at a time."""
    drive = Drive(link, f"shapes{run}")
    drive.register(nodes, NODE)
    needs = [Resources(1 + i % 16, 64 + 51 * (i // 16)) for i in range(10_000)]
    random.Random(4).shuffle(needs)
    for turn in range(2):
        for i in range(0, len(needs), READ_AHEAD):
            part = needs[i : i + READ_AHEAD]
            link.run(drive.store.submit([_request(f"s{turn}-{i + j}", need) for j, need in enumerate(part)]))
    drive.place_all()
    drive.poll_all()
    yardstick = Yardstick(link, run)
    cost, tasks = finish_some(drive, sorted(drive.running), 1, CALLS)
    yield "10,000 shapes: finish + refill, 1 a call", yardstick(figures_of(cost, tasks))


def by_head(link: Link, nodes: int, run: int) -> Iterator[tuple[str, dict[str, float]]]:
    """17,000 tasks that fit nowhere, of 1,000 shapes and higher priority, in front of everything; and without them."""
    for infeasible in (0, 17_000):
        drive = filled(link, f"head{run}-{infeasible}", nodes)
        for i in range(0, infeasible, 1000):
            link.run(
                drive.store.submit(
                    [_request(f"x{i + j}", Resources(17 + j % 100, 100 + j // 100), 9) for j in range(1000)]
                )
            )
        drive.place_all()
        tasks = workload(50_000, CLASSES, seed=5, prefix="h")
        while batch := list(islice(tasks, READ_AHEAD)):
            link.run(drive.store.submit(batch))
        yield from decide(drive, link, f"{infeasible:,} infeasible in front", run)
        link.run(asked(("FLUSHALL",)))


def _request(task_id: str, need: Resources, priority: int = 0) -> TaskRequest:
    return TaskRequest(
        "bench.noop:f", [1, "x"], task_id=task_id, cpu_needed=need.cpu, memory_needed=need.memory, priority=priority
    ).check()


# -- nodes that live --------------------------------------------------------------------------------------------------


async def until(what: str, condition: Callable[[], bool], pause: float = 0.02) -> float:
    """Seconds until it is so."""
    start = time.perf_counter()
    while not condition():
        if time.perf_counter() - start > PATIENCE:
            raise TimeoutError(f"not within {PATIENCE:g} s: {what}")
        await asyncio.sleep(pause)
    return time.perf_counter() - start


@asynccontextmanager
async def cell_of(url: str, store: Store, nodes: int, seed: int) -> AsyncIterator[Cell]:
    rng = random.Random(seed)
    cell = Cell(url, store, NODE, TTL, lambda: rng.expovariate(1 / 2.0))
    try:
        await cell.join([f"n{i}" for i in range(nodes)])
        yield cell
    finally:
        await cell.close()


async def live(
    url: str, link: Link, nodes: int, pending: int, schedulers: int, run: int
) -> list[tuple[str, dict[str, float]]]:
    """Idle, working, 200 dying, 200 joining."""
    store = Store(f"live{run}")
    rows: list[tuple[str, dict[str, float]]] = []

    def add(row: str, figures: dict[str, float]) -> None:
        rows.append((row, figures))
        print(row, {column: round(value, 1) for column, value in figures.items()}, file=sys.stderr)

    where = ("--redis", url, "--namespace", store.keys.namespace)

    def up(names: Collection[str]) -> int:
        return sum(node.state is NodeState.UP and node.node_id in names for node in link.run(store.nodes()))

    with ExitStack() as processes:
        for _ in range(schedulers):
            processes.enter_context(process(*where, "scheduler", "--log-level", "warning"))
        async with cell_of(url, store, nodes, run) as cell:
            await until("all nodes up", lambda: up(cell.nodes) == nodes, 0.2)
            await asyncio.sleep(2)
            with metered(link) as cost:
                await asyncio.sleep(IDLE_SECONDS)
            idle = {"redis_core_%": cost.cpu / cost.seconds / 1e4, "calls/s": cost.scripts / cost.seconds}
            add(f"{nodes:,} idle nodes, {schedulers} idle schedulers", idle | _calls(cost))
            tasks = workload(pending, CLASSES, seed=6)
            while batch := list(islice(tasks, READ_AHEAD)):
                await cell.link.run(store.submit(batch))
            ends = cell.ends
            with metered(link) as cost:
                await asyncio.sleep(WORK_SECONDS)
            add("all at work, tasks of 2 s", figures_of(cost, cell.ends - ends))
            gone = [f"n{i}" for i in range(min(DYING, nodes // 2))]
            with metered(link) as cost:
                cell.kill(gone)
                seconds = await until("the dead are noticed", lambda: not up(gone), 0.1)
                seconds += await until("and reaped", lambda: not link.run(asked(("SCARD", store.keys.lost)))[0])
            add(f"{len(gone)} nodes die", {"seconds beyond the time to live": seconds - TTL, **_calls(cost)})
            back = [f"b{i}" for i in range(len(gone))]
            with metered(link) as cost:
                await cell.join(back)
                seconds = await until("they have work", lambda: all(cell.nodes[name].running for name in back))
            add(f"{len(gone)} nodes join", {"seconds until all have work": seconds, **_calls(cost)})
    return rows


def _calls(cost: Cost) -> dict[str, float]:
    return {"call_p99_us": cost.script_p99, "call_max_us": cost.script_max}


def measured(
    part: str, url: str, link: Link, options: argparse.Namespace, run: int
) -> Iterable[tuple[str, dict[str, float]]]:
    """The rows of one part."""
    match part:
        case "pending":
            return by_pending(link, options.pending, options.nodes, run)
        case "nodes":
            return by_nodes(link, [10, 100, options.nodes], run)
        case "shapes":
            return by_shapes(link, options.nodes, run)
        case "head":
            return by_head(link, options.nodes, run)
    return asyncio.run(live(url, link, options.nodes, max(options.pending), options.schedulers, run))


def main() -> None:
    parts = ("live", "pending", "nodes", "shapes", "head")
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--pending", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], metavar="N")
    parser.add_argument("--schedulers", type=int, default=4)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, metavar="PART")
    parser.add_argument("--persistence", choices=["everysec", "always", "off"], default="everysec")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    allow_many_connections()
    tables = {part: Results(part) for part in options.only}
    around: dict[str, str] = {}
    for run in range(options.runs):
        for part, table in tables.items():
            with server(options.persistence) as running:
                link = Link(running.url)
                around = circumstances(link, options.persistence)
                for row, figures in measured(part, running.url, link, options, run):
                    table.add(row, figures)
                    if part != "live":  # those have been shown as they came
                        print(row, {column: round(value, 1) for column, value in figures.items()}, file=sys.stderr)
                link.close()
            print(f"run {run + 1}: {part} done, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    printed(list(tables.values()), around, options.json)


if __name__ == "__main__":
    main()
