"""What a user gets: submits a second, tasks a second, latency, what a task costs Redis.

``python -m bench.throughput [--runs N] [--tasks N] [--slots N…] [--persistence everysec|always|off] [--json]``

Real processes: an embedded server, one scheduler, one node; each task runs isolated in a child process and is accounted
for. Each run has a fresh server. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from bench.common import Results, asked, circumstances, cpu_seconds, info, printed, server
from rq_sched import Client, TaskRequest
from rq_sched.link import Link
from rq_sched.store import Store

ROOT = Path(__file__).parent.parent
NOOP = "bench.noop:noop"
PROBES = 500
WARM = 500
PATIENCE = 120.0
_numbers = count()


def requests(n: int) -> list[TaskRequest]:
    """No-op tasks with ids of 12 characters and two small arguments."""
    return [TaskRequest(NOOP, [1, 2], task_id=f"t{next(_numbers):011d}", memory_needed=1) for _ in range(n)]


@contextmanager
def process(url: str, *arguments: str) -> Iterator[None]:
    """A scheduler or a worker."""
    environment = os.environ | {"RQ_SCHED_REDIS_URL": url, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "rq_sched.cli", *arguments, "--log-level", "warning"]
    with subprocess.Popen(command, env=environment, cwd=ROOT) as running:
        try:
            yield
        finally:
            running.terminate()


def until(condition: Callable[[], bool]) -> None:
    """Looks every 10 ms, so that looking costs nothing that counts."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"not done within {PATIENCE:g} s")
        time.sleep(0.01)


class Run:
    """One run on one server with one node of so many slots."""

    def __init__(self, url: str, slots: int, tasks: int, results: dict[str, Results]) -> None:
        self.link, self.store, self.client = Link(url), Store("default"), Client(url)
        self.url, self.slots, self.tasks, self.results = url, slots, tasks, results

    def completed(self) -> int:
        return self.link.run(self.store.counts()).get("completed", 0)

    def used_memory(self) -> int:
        return int(info(self.link, "memory")["used_memory"])

    def calls(self) -> int:
        return int(info(self.link, "stats")["total_commands_processed"])

    def whole(self) -> None:
        """All measurements in their order."""
        with process(self.url, "scheduler"):
            self.bulk_submit()
            worker = ("worker", "--node-id", "n", "--cpu", str(self.slots), "--memory", "64G", "--allow", "bench.*")
            with process(self.url, *worker):
                until(lambda: self.completed() >= WARM)
                self.drain()
                self.together()
                until(lambda: self.link.run(self.store.node("n")).running == 0)
                self.latency()

    def bulk_submit(self) -> None:
        batch = requests(self.tasks)
        memory, cpu = self.used_memory(), cpu_seconds(self.link)
        start = time.perf_counter()
        self.client.submit_many(batch)
        seconds = time.perf_counter() - start
        figures = {
            "tasks/s": self.tasks / seconds,
            "redis_cpu_us": (cpu_seconds(self.link) - cpu) / self.tasks * 1e6,
            "bytes/task": (self.used_memory() - memory) / self.tasks,
        }
        self.results["submit"].add("bulk submit, one client", figures)

    def _timed(self, row: str, begin: Callable[[], object]) -> None:
        done, cpu, calls = self.completed(), cpu_seconds(self.link), self.calls()
        start = time.perf_counter()
        begin()
        looks = 0
        target = self.submitted()

        def all_done() -> bool:
            nonlocal looks
            looks += 1
            return self.completed() >= target

        until(all_done)
        seconds, n = time.perf_counter() - start, target - done
        figures = {
            "tasks/s": n / seconds,
            "redis_cpu_us": (cpu_seconds(self.link) - cpu) / n * 1e6,
            "commands": (self.calls() - calls - looks) / n,
        }
        self.results["run"].add(f"{row}, {self.slots} slots", figures)

    def submitted(self) -> int:
        return self.link.run(self.store.counts())["submitted"]

    def drain(self) -> None:
        self._timed("drain of a backlog", lambda: None)

    def together(self) -> None:
        self._timed("submit and run at once", lambda: self.client.submit_many(requests(self.tasks)))

    def latency(self) -> None:
        took = []
        for request in requests(PROBES):
            start = time.perf_counter()
            task = self.client.submit(NOOP, *request.args, memory=1)
            task.result(timeout=10)
            took.append((time.perf_counter() - start) * 1000)
        took.sort()
        figures = {"p50_ms": took[PROBES // 2], "p99_ms": took[PROBES * 99 // 100]}
        self.results["latency"].add(f"one task, submit to result, {self.slots} slots", figures)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--slots", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--persistence", choices=("everysec", "always", "off"), default="everysec")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {
        "submit": Results("bulk submit"),
        "run": Results("no-op tasks, each isolated in a child process, CPU and memory accounted"),
        "latency": Results("idle latency"),
    }
    around: dict[str, str] = {}
    for slots in options.slots:
        for number in range(options.runs):
            with server(options.persistence) as running:
                link = Link(running.url)
                link.run(asked(("PING",)))
                around = circumstances(link, options.persistence)
                Run(running.url, slots, options.tasks, results).whole()
            print(f"run {number + 1} of {options.runs}, {slots} slots done", file=sys.stderr)
    printed(list(results.values()), around, options.json)


if __name__ == "__main__":
    main()
