"""A whole cluster of real processes for the client's tests: a scheduler and a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rq_sched import Client
from rq_sched.model.node import NodeState
from tests.support import wait_for

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0


@contextmanager
def process(url: str, namespace: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A long-running command; stopped in order afterwards."""
    command = [sys.executable, "-m", "rq_sched.cli", "--redis", url, "--namespace", namespace, *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile() as log:  # not a pipe: nobody reads it while the process runs
        running = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log)
        try:
            yield running
        finally:
            running.send_signal(signal.SIGTERM)
            try:
                running.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()
            log.seek(0)
            print(log.read().decode(errors="replace")[-10_000:], file=sys.stderr)  # shown when a test fails


@contextmanager
def cluster(url: str, namespace: str, cpu: int = 4) -> Iterator[Client]:
    """A client of a namespace that has a scheduler and a node with so many cores, which is up."""
    words = ("worker", "--node-id", "n1", "--cpu", str(cpu), "--memory", "4096", "--allow", "*", "--grace", "1")
    with process(url, namespace, "scheduler"), process(url, namespace, *words), Client(url, namespace) as client:
        wait_for(
            lambda: [node.state for node in client.nodes()] == [NodeState.UP],
            timeout=PATIENCE,
            dump=client.nodes,
        )
        yield client


@pytest.fixture
def whole(redis_url: str, namespace: str) -> Iterator[Client]:
    """A client of a cluster with one node of four cores."""
    with cluster(redis_url, namespace) as client:
        yield client
