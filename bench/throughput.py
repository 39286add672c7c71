"""How many tasks go through, end to end, how long one takes on an idle system, what each costs Redis.

``python -m bench.throughput [--tasks N] [--slots N…] [--runs N] [--persistence everysec|always|off] [--json]``

Everything is real: an embedded server, a client, a scheduler and a worker as processes of their own on this machine.
Each task runs in a child process of the worker and holds its allocation on the ledger. Every run begins on a fresh
server; the figures are medians of the runs, ± half the distance between the lowest and the highest.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise

import psutil

from bench.common import Results, circumstances, cpu_by_kind, info, metered, printed, process, server
from bench.scripts import bare
from rq_sched import Client, TaskRequest
from rq_sched.link import Link
from rq_sched.model.node import NodeState
from rq_sched.store import Store

PENDING = 100_000  # for the size of a pending task
ELEMENTS = 1_000_000  # for that of an array
LATENCIES = 500
HANDOVERS = 2000
WARM_UP = 2000
PATIENCE = 300.0


def requests(count: int, prefix: str) -> Iterator[TaskRequest]:
    """Tasks with ids of 12 characters and two small arguments."""
    return (TaskRequest("bench.noop:f", [i, "x"], task_id=f"{prefix}{i:010d}", memory_needed=1) for i in range(count))


class System:
    """A client, a scheduler and a node on a namespace."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url = url
        self.link = Link(url)
        self.store = Store(namespace)
        self.client = Client(url, namespace)
        self.pids: dict[str, int] = {}

    @contextmanager
    def running(self, slots: int) -> Iterator[None]:
        """With a scheduler and a node of so many slots, whose children are warm."""
        where = ("--redis", self.url, "--namespace", self.store.keys.namespace)
        with ExitStack() as processes:
            self.pids["scheduler"] = processes.enter_context(process(*where, "scheduler", "--log-level", "warning"))
            node: tuple[str, ...] = (
                "worker",
                "--node-id",
                "n1",
                "--cpu",
                str(slots),
                "--memory",
                "65536",
                "--log-level",
                "warning",
            )
            node += ("--allow", "bench.noop:*")
            self.pids["worker"] = processes.enter_context(process(*where, *node))
            self.until(lambda: self.link.run(self.store.nodes())[:1] and self.node_state() is NodeState.UP)
            self.client.submit_many(requests(WARM_UP, "w-"))
            self.until_completed(WARM_UP)
            yield

    def node_state(self) -> NodeState:
        return self.link.run(self.store.node("n1")).state

    def until(self, condition: object, pause: float = 0.005) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():  # type: ignore[operator]
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {PATIENCE:g} s: {self.link.run(self.store.info())}")
            time.sleep(pause)

    @contextmanager
    def spent(self, tasks: int) -> Iterator[dict[str, float]]:
        """Fills in, at the end of the block, the CPU in µs a task by kind of process; ``client``: this process."""
        figures: dict[str, float] = {}
        before, ours = cpu_by_kind(self.pids), time.process_time()
        yield figures
        used = {kind: seconds - before.get(kind, 0.0) for kind, seconds in cpu_by_kind(self.pids).items()}
        used["client"] = time.process_time() - ours
        figures |= {f"{kind}_us": seconds * 1e6 / tasks for kind, seconds in sorted(used.items())}

    def completed(self) -> int:
        return self.link.run(self.store.counts()).get("completed", 0)

    def until_completed(self, count: int) -> None:
        self.until(lambda: self.completed() >= count)


def bulk(url: str, run: int) -> dict[str, float]:
    """Submits of one client with nobody to take them, and what they take up."""
    system = System(url, f"bulk{run}")
    before = int(info(system.link, "memory")["used_memory"])
    with metered(system.link) as cost:
        system.client.submit_many(requests(PENDING, "b-"))
    used = int(info(system.link, "memory")["used_memory"]) - before
    figures = cost.per(PENDING)
    return {
        "tasks/s": PENDING / cost.seconds,
        "redis_cpu_us": figures["redis_cpu_us"],
        "calls": figures["calls"],
        "commands": figures["commands"],
        "bytes": used / PENDING,
    }


def array(url: str, run: int) -> dict[str, float]:
    """An array of a million, with nobody to take it."""
    system = System(url, f"array{run}")
    system.client.info()  # connected
    before = int(info(system.link, "memory")["used_memory"])
    with metered(system.link) as cost:
        system.client.submit("bench.noop:f", 1, "x", memory=1, array=range(1, ELEMENTS + 1))
    used = int(info(system.link, "memory")["used_memory"]) - before
    return {"accepted_ms": cost.seconds * 1000, "bytes_an_element": used / ELEMENTS}


def drain_array(system: System, tasks: int) -> dict[str, float]:
    """An array, from its submit to its last end."""
    before = system.completed()
    with system.spent(tasks) as spent, metered(system.link) as cost:
        system.client.submit("bench.noop:f", 1, "x", memory=1, array=range(1, tasks + 1))
        system.until_completed(before + tasks)
    return flow(cost.per(tasks), tasks / cost.seconds) | spent


def drain(system: System, tasks: int) -> dict[str, float]:
    """A backlog is worked off. The clock starts when the node may take it."""
    before = system.completed()
    system.link.run(system.store.node_drain("n1"))
    system.client.submit_many(requests(tasks, "d-"))
    with system.spent(tasks) as spent, metered(system.link) as cost:
        system.link.run(system.store.node_undrain("n1"))
        system.until_completed(before + tasks)
    return flow(cost.per(tasks), tasks / cost.seconds) | spent


def at_once(system: System, tasks: int) -> dict[str, float]:
    """Submitted by one client while they run. From the first submit to the last end."""
    before = system.completed()
    with system.spent(tasks) as spent, metered(system.link) as cost:
        system.client.submit_many(requests(tasks, "o-"))
        system.until_completed(before + tasks)
    return flow(cost.per(tasks), tasks / cost.seconds) | spent


def flow(figures: dict[str, float], rate: float) -> dict[str, float]:
    return {"tasks/s": rate, **{name: figures[name] for name in ("redis_cpu_us", "calls", "commands")}}


def latency(system: System, count: int = LATENCIES) -> dict[str, float]:
    """One task after the other, from before its submit to its result in hand."""
    times = []
    with metered(system.link) as cost:
        for i in range(count):
            start = time.perf_counter()
            system.client.submit("bench.noop:f", i, "x", memory=1).result(timeout=PATIENCE)
            times.append((time.perf_counter() - start) * 1000)
    figures = cost.per(count)
    return {
        "p50_ms": statistics.median(times),
        "p99_ms": statistics.quantiles(times, n=100)[98],
        "redis_cpu_us": figures["redis_cpu_us"],
        "calls": figures["calls"],
        "commands": figures["commands"],
    }


def handover(system: System, tasks: int) -> dict[str, float]:
    """On one slot with a backlog: from the end of a task to the start of the next, both by the tasks' own clock."""
    before = system.completed()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/stamps"
        system.link.run(system.store.node_drain("n1"))
        system.client.submit_many(TaskRequest("bench.noop:stamp", [path], memory_needed=1) for _ in range(tasks))
        system.link.run(system.store.node_undrain("n1"))
        system.until_completed(before + tasks)
        with open(path, encoding="ascii") as file:
            stamps = sorted(tuple(map(int, line.split())) for line in file)
    gaps = [(begun - ended) / 1e6 for (_, ended), (begun, _) in pairwise(stamps)]
    return {"p50_ms": statistics.median(gaps), "p99_ms": statistics.quantiles(gaps, n=100)[98]}


def memory(system: System) -> dict[str, float]:
    """MB: of the agent its share (PSS), of a child what is its own (USS; the median)."""
    processes = psutil.Process(system.pids["worker"]).children(recursive=True)
    own = [one.memory_full_info().uss for one in processes if one.name() == "rqs-child"]
    agent = sum(one.memory_full_info().pss for one in processes if one.name() == "rqs-agent")
    return {"agent_pss_mb": agent / 2**20, "child_own_mb": statistics.median(own) / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.throughput", description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=20_000, help="of each end-to-end measurement")
    parser.add_argument("--slots", type=int, nargs="+", default=[2, 8], metavar="N", help="1-CPU slots of the node")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--persistence", choices=["everysec", "always", "off"], default="everysec")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = Results("per task; one client, one scheduler, one node; no-op tasks in child processes, accounted for")
    around: dict[str, str] = {}
    for run in range(options.runs):
        with server(options.persistence) as running:
            link = Link(running.url)
            around = circumstances(link, options.persistence)
            results.add("bulk submit", bulk(running.url, run))
            results.add("array of 1,000,000", array(running.url, run))
            for slots in options.slots:
                system = System(running.url, f"flow{run}-{slots}")
                with system.running(slots):
                    results.add(f"backlog drained, {slots} slots", drain(system, options.tasks))
                    results.add(f"submit and run at once, {slots} slots", at_once(system, options.tasks))
                    results.add(f"array submitted and run, {slots} slots", drain_array(system, options.tasks))
                    results.add(f"one on an idle system, {slots} slots", latency(system))
                    results.add(f"memory, {slots} slots", memory(system))
            alone = System(running.url, f"alone{run}")
            with alone.running(1):
                results.add("finish → next start, 1 slot", handover(alone, HANDOVERS))
            results.add("bare commands of one life cycle", bare(link, run))
            link.close()
        print(f"run {run + 1} of {options.runs} done", file=sys.stderr)
    printed([results], around, options.json)


if __name__ == "__main__":
    main()
