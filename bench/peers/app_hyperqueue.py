"""HyperQueue: a worker of two CPUs, its default on two cores; tasks are programs. With needs: CPUs alone, as the
package has no ``hq``, and its Python interface declares nothing else.

``python -m bench.peers.app_hyperqueue server`` and ``… worker NUMBER CPUS``: its parts as processes. Its own
``LocalCluster`` has them as threads of one, where no worker can be killed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from hyperqueue import Client, Job
from hyperqueue.cluster import LocalCluster, WorkerConfig
from hyperqueue.ffi.protocol import ResourceRequest

from bench.peers.meeting import FOLDER, patiently
from bench.peers.mixed import Task
from bench.peers.noop import BACK, DONE, EVERY, URL

_START = ["python", "-m", "bench.peers.app_hyperqueue"]
SERVER = [[*_START, "server"]]
COUNTS = {"2 CPUs": 2000}
_PLACE = Path(FOLDER) / "server"
_SLEEP = """
echo "$2 began ${EPOCHREALTIME/[.,]/}000 $$" >> "$1"
sleep "$3"
echo "$2 ended ${EPOCHREALTIME/[.,]/}000 $$" >> "$1"
"""
"""``timed.f`` as a program."""


def node(number: int, cpus: int, gigabytes: int) -> list[str]:
    """A worker of these CPUs."""
    return [*_START, "worker", str(number), str(cpus)]


WORKERS = {"2 CPUs": [node(1, 2, 4)]}


@cache
def connected() -> Client:
    """The client, once the server is there."""
    return patiently(lambda: Client(_PLACE), Exception)


def _to_redis(command: str) -> list[str]:
    """A program that sends Redis a command."""
    where = urlsplit(URL)
    return ["bash", "-c", f'exec 3<>/dev/tcp/{where.hostname}/{where.port}; echo "{command}" >&3; read -u 3']


def _noop(number: int) -> list[str]:
    """``noop.f`` as a program."""
    if number < 0:
        return _to_redis(f"RPUSH {BACK} {number}")
    return _to_redis(f"INCR {DONE}") if number % EVERY == EVERY - 1 else ["true"]


def submit(numbers: Sequence[int]) -> None:
    job = Job()
    for n in numbers:
        job.program(_noop(n), stdout=None, stderr=None)
    connected().submit(job)


def submit_one(number: int) -> None:
    submit([number])


def submit_timed(path: str, tasks: Iterable[Task]) -> None:
    job = Job()
    for task in tasks:
        command = ["bash", "-c", _SLEEP, "bash", path, str(task.number), str(task.seconds)]
        job.program(command, stdout=None, stderr=None, resources=ResourceRequest(cpus=task.cpus))
    connected().submit(job)


def worker(node: int, task: int) -> int:
    """Of a node's processes the worker: the one that was started. Tasks are its children."""
    return node


def _serve(place: Path) -> LocalCluster:
    place.mkdir()
    return LocalCluster(str(place))  # not a Path, whatever its types say


def _work(name: str, cpus: int) -> None:
    """A worker joins the cluster of its own process; here that cluster's folder leads to the server of the other."""
    cluster = _serve(Path(FOLDER) / name)
    current = Path(FOLDER) / name / "hq-current"
    current.unlink()
    current.symlink_to(_PLACE / "hq-current")
    patiently(lambda: cluster.start_worker(WorkerConfig(cores=cpus)), Exception)
    time.sleep(3600)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        cluster = _serve(_PLACE)
        time.sleep(3600)
    else:
        _work(sys.argv[2], int(sys.argv[3]))
