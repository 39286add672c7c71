"""``rq-sched up`` in a temporary folder, as a child process: a server, schedulers and nodes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
NODES = (("small", 2, 512), ("medium", 4, 2048), ("large", 8, 4096))
"""Their names, cores and MB. They are what the nodes say; the machine may well be smaller."""
SCHEDULERS = 2
STOP_SECONDS = 30.0


class ClusterError(Exception):
    """It did not start."""


@dataclass
class Cluster:
    """A running ``up``. ``left_over`` holds, after it has stopped, what it should have taken along."""

    url: str
    folder: Path
    processes: list[psutil.Process]
    left_over: list[psutil.Process]


@contextmanager
def running() -> Iterator[Cluster]:
    """Start it; at the end stop it in order, and remove the folder.

    Raises:
        ClusterError: with what ``up`` said.
    """
    with tempfile.TemporaryDirectory(prefix="census-") as name:
        folder = Path(name)
        lines = (json.dumps({"node_id": n, "total_cpu": cpu, "total_memory": memory}) for n, cpu, memory in NODES)
        nodes = folder / "nodes.jsonl"
        nodes.write_text("\n".join(lines))
        command = [sys.executable, str(ROOT / "cli.py"), "up", "--json", "--data", str(folder / "data"),
                   "--nodes-file", str(nodes), "--schedulers", str(SCHEDULERS), "--grace", "2",
                   "--log-level", "error"]  # fmt: skip
        # A home of its own for what `up` notes: a running `up` of the user stays the one that others find.
        environment = {**os.environ, "XDG_STATE_HOME": str(folder)}
        up = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, process_group=0)
        cluster = Cluster("", folder, [], [])
        try:
            assert up.stdout is not None
            ready = up.stdout.readline()
            if not ready:
                raise ClusterError(f"`rq-sched up` ended with exit code {up.wait()}")
            cluster.url = json.loads(ready)["url"]
            cluster.processes = [psutil.Process(up.pid), *psutil.Process(up.pid).children(recursive=True)]
            yield cluster
        finally:
            _stop(up, cluster)


def _stop(up: subprocess.Popen[bytes], cluster: Cluster) -> None:
    family = {*cluster.processes, *_family(up.pid)}
    up.send_signal(signal.SIGTERM)
    try:
        up.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        up.kill()
        up.wait()
    if up.stdout is not None:
        up.stdout.close()
    _, cluster.left_over = psutil.wait_procs(family, timeout=2)
    for process in cluster.left_over:
        process.kill()


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
