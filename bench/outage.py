"""Redis is away for three times to live, with many nodes at work: is anything lost, is anyone taken for dead, how soon
does all work again?

``python -m bench.outage [--nodes N] [--ttl SECONDS] [--tasks N]``

Nodes are coroutines that speak the real protocol (they keep their tasks meanwhile, as with ``--on-lost-redis keep``),
schedulers are processes. The server is stopped, and started again on its append-only file.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice

from bench.common import process, server
from bench.scale_cell import Cell, allow_many_connections
from bench.scripts import NODE, READ_AHEAD, workload
from rq_sched.model.node import NodeState
from rq_sched.process.embedded import EmbeddedServer
from rq_sched.store import Store

SCHEDULERS = 2
MARK_SECONDS = 5.0
PATIENCE = 180.0


@dataclass(frozen=True, slots=True)
class Survived:
    """What an outage did. ``back``: seconds from the server's first answer until every node had reported an end."""

    nodes: int
    away: float
    tasks: int
    completed: int
    dead: int
    back: float


async def survive(running: EmbeddedServer, nodes: int, ttl: float, tasks: int) -> Survived:
    """Nodes at work, an outage, and the rest of the work."""
    store = Store("outage")
    where = ("--redis", running.url, "--namespace", "outage", "scheduler", "--log-level", "error")
    cell = Cell(running.url, store, NODE, ttl, lambda: random.uniform(0.5, 1.5))
    with ExitStack() as processes:
        for _ in range(SCHEDULERS):
            processes.enter_context(process(*where))
        try:
            await cell.join([f"n{i}" for i in range(nodes)])
            await _until(lambda: all(node.registered for node in cell.nodes.values()))
            requests = workload(tasks, 28, seed=7)
            while batch := list(islice(requests, READ_AHEAD)):
                await cell.link.run(store.submit(batch))
            await _until(lambda: all(node.running for node in cell.nodes.values()))
            running.stop()
            await asyncio.sleep(3 * ttl)
            before = {name: node.told for name, node in cell.nodes.items()}
            await asyncio.to_thread(running.start)
            start = time.perf_counter()
            await _until(lambda: all(node.told > before[name] for name, node in cell.nodes.items()))
            back = time.perf_counter() - start
            await _until(lambda: cell.ends >= tasks)
            counts = await cell.link.run(store.counts())
            states = await cell.link.run(store.nodes())
            dead = sum(node.state is NodeState.DEAD for node in states) + sum(n.dead for n in cell.nodes.values())
            return Survived(nodes, 3 * ttl, tasks, counts.get("completed", 0), dead, back)
        finally:
            await cell.close()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.outage", description=__doc__.partition("?")[0])
    parser.add_argument("--nodes", type=int, default=300)
    parser.add_argument("--ttl", type=float, default=2.0, help="seconds; the outage takes three of them")
    parser.add_argument("--tasks", type=int, default=30_000)
    options = parser.parse_args()
    allow_many_connections()
    with server("everysec") as running:
        found = asyncio.run(survive(running, options.nodes, options.ttl, options.tasks))
    print(f"{found.nodes} nodes at work, Redis away for {found.away:g} s")
    print(f"declared dead: {found.dead}; completed {found.completed:,} of {found.tasks:,} tasks")
    print(f"every node has reported an end {found.back:.2f} s after Redis was back")
    print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return int(found.dead > 0 or found.completed != found.tasks or found.back > MARK_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
