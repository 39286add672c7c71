"""rq-sched with needs: a scheduler, and a worker for each node."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from bench.peers.mixed import Task
from bench.peers.noop import URL
from rq_sched import Client, TaskRequest

NAMESPACE = "timed"
_START = ["rq-sched", "--redis", URL, "--namespace", NAMESPACE]
SERVER = [[*_START, "scheduler"]]


def node(number: int, cpus: int, gigabytes: int) -> list[str]:
    """A worker of this capacity."""
    capacity = ["--cpu", str(cpus), "--memory", f"{gigabytes}G"]
    return [*_START, "worker", "--node-id", f"n{number}", *capacity, "--allow", "bench.peers.timed:*"]


@cache
def connected() -> Client:
    """The client."""
    return Client(URL, NAMESPACE)


def submit_timed(path: str, tasks: Iterable[Task]) -> None:
    connected().submit_many(
        TaskRequest(
            "bench.peers.timed:f", [path, task.number, task.seconds], cpu=task.cpus, memory=f"{task.gigabytes}G"
        )
        for task in tasks
    )


def worker(node: int, task: int) -> int:
    """Of a node's processes the worker: the one that was started, above agent and children."""
    return node
