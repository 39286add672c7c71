"""Runs in a process of its own: measures a system that knows resources, and prints what it found as JSON.

``python -m bench.peers.resources NAME mixed [COUNT]`` or ``… recovery worker|node`` with ``BENCH_URL`` and what
``bench.peers.meeting`` reads.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from bench.peers.drive import running, tell
from bench.peers.meeting import FOLDER
from bench.peers.mixed import CPUS, GIGABYTES, Task, bound, most_at_once, workload
from bench.peers.timed import Run, runs

PATIENCE = 60.0
TASKS = 2000
WARM_UP = 200
STRUCK = 4
"""Tasks that run when a node is killed. Each of the two has room for all of them."""


class System:
    """A system that knows resources: what its ``app_NAME.py`` says."""

    def __init__(self, name: str) -> None:
        self.app: Any = importlib.import_module(f"bench.peers.app_{name}")
        self._rounds = 0

    @contextmanager
    def serving(self) -> Iterator[None]:
        """With its server, and a connection to it. A node of Ray gives up if the head comes late."""
        with running(self.app.SERVER):
            self.app.connected()
            yield

    def submit(self, tasks: Sequence[Task]) -> Path:
        """Submit them; the file that they note their runs in."""
        self._rounds += 1
        path = Path(FOLDER) / f"runs-{self._rounds}"
        path.touch()
        self.app.submit_timed(str(path), tasks)
        return path

    def run(self, tasks: Sequence[Task]) -> list[Run]:
        """Submit them, and wait for the last to end."""
        path = self.submit(tasks)
        until(lambda: path.read_bytes().count(b" ended ") == len(tasks), "all tasks have ended")
        return runs(path)


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for it; looked at every 10 ms.

    Raises:
        TimeoutError: it takes too long.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE:g} s: {what}")
        time.sleep(0.01)


def mixed(system: System, count: int = TASKS) -> dict[str, float]:
    """Tasks with four kinds of needs on one node: from before the first submit to the last end, beside the bound."""
    tasks = workload(count)
    with system.serving(), running([system.app.node(1, CPUS, GIGABYTES)]):
        system.run(workload(WARM_UP))
        begun = time.time()
        found = system.run(tasks)
    seconds = max(run.ended or 0.0 for run in found) - begun
    cpus, gigabytes = most_at_once(found, tasks)
    return {"seconds": seconds, "× bound": seconds / bound(tasks), "most CPUs": cpus, "most GB": gigabytes}


def recovery(system: System, what: str) -> dict[str, float]:
    """Two nodes, tasks on both or on one; the node of the first task is killed. When do those that ran there run again?

    ``what`` is killed at once: ``worker``, the process that is the worker, or ``node``, all processes of the node.
    """
    with two_nodes(system) as nodes:
        path = system.submit([Task(number, 1, 1, 2 * PATIENCE) for number in range(STRUCK)])
        until(lambda: len(runs(path)) == STRUCK, "the tasks have begun")
        first = runs(path)
        node = next(node for node in nodes if first[0].process in family(node))
        struck = [run for run in first if run.process in family(node)]
        doomed = [system.app.worker(node, first[0].process)] if what == "worker" else family(node)
        killed = time.time()
        for process in doomed:
            with suppress(ProcessLookupError):  # it may end with the one before
                os.kill(process, signal.SIGKILL)
        try:
            until(lambda: len(again(struck, runs(path))) == len(struck), "all that were struck run again")
        except TimeoutError:
            pass  # the figures say so
        return figures(struck, again(struck, runs(path)), killed)


@contextmanager
def two_nodes(system: System) -> Iterator[list[int]]:
    """With two nodes that run tasks; the processes at their tops. One starts after the other, as a node of Ray gives up
    after 30 s."""
    one, other = (system.app.node(number, STRUCK, 2 * STRUCK) for number in (1, 2))
    with system.serving(), running([one]) as first:
        system.run([Task(0, 1, 1, 0.0)])
        with running([other]) as second:
            fill(system)
            yield [*first, *second]


def fill(system: System) -> None:
    """Run tasks until both nodes were full: both are there. They become longer, as Ray starts one process after the
    other and gives a task to one that came free meanwhile.

    Raises:
        TimeoutError: they never were.
    """
    for seconds in (0.5, 1, 2, 4, 8, 16):
        tasks = [Task(number, 1, 1, seconds) for number in range(2 * STRUCK)]
        if most_at_once(system.run(tasks), tasks)[0] == len(tasks):
            return
    raise TimeoutError("the two nodes were never full")


def family(top: int) -> list[int]:
    """A process and all below it."""
    process = psutil.Process(top)
    return [top, *(one.pid for one in process.children(recursive=True))]


def again(struck: Sequence[Run], found: Sequence[Run]) -> list[Run]:
    """Of the tasks that were struck those that have begun once more: their second run."""
    seconds: dict[int, Run] = {}
    for first in struck:
        later = [run for run in found if run.number == first.number and run.began > first.began]
        if later:
            seconds[first.number] = later[0]
    return list(seconds.values())


def figures(struck: Sequence[Run], seconds: Sequence[Run], killed: float) -> dict[str, float]:
    """How many were struck, when the first and the last of them ran again, how many never did."""
    waited = [run.began - killed for run in seconds]
    times = {"first again after, s": min(waited), "last again after, s": max(waited)} if waited else {}
    return {"struck": len(struck), **times, "never again": len(struck) - len(seconds)}


def main(name: str, part: str, *options: str) -> dict[str, float]:
    system = System(name)
    return recovery(system, *options) if part == "recovery" else mixed(system, *map(int, options))


if __name__ == "__main__":
    tell(lambda: main(*sys.argv[1:]))
