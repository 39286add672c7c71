"""Dask: two processes of one thread, its default on two cores. With needs: one process with a thread for each CPU; it
declares CPUs and gigabytes as its resources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from distributed import Client

from bench.peers import noop, timed
from bench.peers.meeting import FOLDER, PORT
from bench.peers.mixed import Task

ADDRESS = f"tcp://127.0.0.1:{PORT}"
_WORKER = ["dask", "worker", ADDRESS, "--no-dashboard", "--local-directory", FOLDER]
SERVER = [["dask", "scheduler", "--host", "127.0.0.1", "--port", PORT, "--no-dashboard"]]
WORKERS = {"2 × 1": [[*_WORKER, "--nworkers", "2", "--nthreads", "1"]]}
COUNTS = {"2 × 1": 2000}
_kept: list[Any] = []
"""Dask forgets a task that nobody holds the future of."""


def node(number: int, cpus: int, gigabytes: int) -> list[str]:
    """A worker of this capacity."""
    return [*_WORKER, "--nthreads", str(cpus), "--resources", f"CPU={cpus} GB={gigabytes}"]


@cache
def connected() -> Client:
    """The client, once the scheduler is there."""
    return Client(ADDRESS)


def submit(numbers: Sequence[int]) -> None:
    _kept.extend(connected().map(noop.f, numbers, ["x"] * len(numbers), pure=False))


def submit_one(number: int) -> None:
    _kept.append(connected().submit(noop.f, number, "x", pure=False))


def submit_timed(path: str, tasks: Iterable[Task]) -> None:
    for task in tasks:
        needs = {"CPU": task.cpus, "GB": task.gigabytes}
        _kept.append(connected().submit(timed.f, path, task.number, task.seconds, resources=needs, pure=False))


def worker(node: int, task: int) -> int:
    """Of a node's processes the worker: the one that runs the tasks. The one that was started is its nanny."""
    return task
