"""Ray: a head without CPUs, and a node of two CPUs, its default on two cores. With needs: CPUs and memory, as Ray's own
resources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import ray

from bench.peers import noop, timed
from bench.peers.meeting import FOLDER, PORT, patiently
from bench.peers.mixed import Task

HEAD = "127.0.0.2"  # Ray takes another address of the machine for 127.0.0.1
_START = ["ray", "start", "--block", "--disable-usage-stats", "--include-log-monitor", "false"]
_START += ["--object-store-memory", str(100 * 2**20)]
SERVER = [[*_START, "--head", "--node-ip-address", HEAD, "--port", PORT, "--num-cpus", "0", "--temp-dir", FOLDER]]
SERVER[0] += ["--include-dashboard", "false"]
COUNTS = {"2 CPUs": 2000}
_noop = ray.remote(noop.f)
_timed = ray.remote(timed.f)
_kept: list[Any] = []
"""What a task returned is there as long as somebody holds the reference."""


def node(number: int, cpus: int, gigabytes: int) -> list[str]:
    """A node of this capacity, with an address of its own."""
    capacity = ["--num-cpus", str(cpus), "--memory", str(gigabytes * 2**30)]
    return [*_START, "--address", f"{HEAD}:{PORT}", "--node-ip-address", f"127.0.1.{number}", *capacity]


WORKERS = {"2 CPUs": [node(1, 2, 4)]}


@cache
def connected() -> None:
    """This process is a driver of the cluster, once the head is there."""
    where = {"address": f"{HEAD}:{PORT}", "_node_ip_address": HEAD}
    patiently(lambda: ray.init(**where, log_to_driver=False, logging_level="error"), ConnectionError, RuntimeError)


def submit(numbers: Sequence[int]) -> None:
    connected()
    _kept.extend(_noop.remote(n, "x") for n in numbers)


def submit_one(number: int) -> None:
    submit([number])


def submit_timed(path: str, tasks: Iterable[Task]) -> None:
    connected()
    for task in tasks:
        needs = {"num_cpus": task.cpus, "memory": task.gigabytes * 2**30}
        _kept.append(_timed.options(**needs).remote(path, task.number, task.seconds))


def worker(node: int, task: int) -> int:
    """Of a node's processes the raylet, which the node lives and dies with: the parent of those that run tasks."""
    import psutil

    return psutil.Process(task).ppid()
