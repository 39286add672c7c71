"""multiprocessing in tasks: by fork, spawn and forkserver, again and again, however the worker was started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rq_sched.client.blocking import Client
from rq_sched.model.node import NodeState
from rq_sched.model.states import State
from tests.support import wait_for
from tests.worker.kit import ROOT, Desk, Node

POOLS = "tests.worker.pools"
METHODS = ("fork", "spawn", "forkserver")
SLOW = 60.0
"""Seconds: spawn starts whole interpreters."""


@pytest.mark.parametrize("method", METHODS)
def test_each_start_method_again_and_again(desk: Desk, node: Node, method: str) -> None:
    """What it leaves running ends with its task, and the next one doesn't miss it."""
    for _ in range(2):
        for function in ("squares", "by_pool"):
            info = desk.end(desk.submit(f"{POOLS}:{function}", method, 3), SLOW)
            assert info.result == [0, 1, 4], (info.error, desk.output(info.task_id))
        assert desk.end(desk.submit(f"{POOLS}:one_process", method), SLOW).result == 0
    assert desk.end(desk.submit(f"{POOLS}:shared"), SLOW).state is State.COMPLETED
    assert desk.end(desk.submit(f"{POOLS}:left_running", method), SLOW).state is State.COMPLETED
    assert desk.run("add", 1, 2).result == 3
    wait_for(lambda: len(node.everything()) == 4, 10, node.everything)  # parent, agent, a child with its subreaper


STARTS = {
    "rq-sched": [str(Path(sys.executable).with_name("rq-sched"))],
    "python -m rq_sched": [sys.executable, "-m", "rq_sched"],
    "python -m rq_sched.cli": [sys.executable, "-m", "rq_sched.cli"],
    "python .../cli/__main__.py": [sys.executable, str(ROOT / "rq_sched" / "cli" / "__main__.py")],
    "cli.py": [sys.executable, str(ROOT / "cli.py")],
}


@pytest.fixture
def started(desk: Desk, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client of a worker that was started in this way."""
    folder = tmp_path / "data"
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONPATH": str(ROOT)}
    common = ["--redis", desk.url, "--namespace", desk.store.keys.namespace]
    if request.param == "up":
        words = [*STARTS["rq-sched"], "up", "--data", str(folder), "--json", "--cpu", "2", "--memory", "1G"]
    else:
        words = [*STARTS[request.param], "worker", *common, "--node-id", "n1", "--cpu", "2", "--memory", "1G"]
        words += ["--allow", "*", "--chdir", str(ROOT)]
    log = tmp_path / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(words, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors)
    everything: list[psutil.Process] = []
    try:
        if request.param == "up":
            assert process.stdout is not None
            client = Client(json.loads(process.stdout.readline())["url"])
        else:
            client = Client(desk.url, namespace=desk.store.keys.namespace)
            wait_for(lambda: [node.state for node in client.nodes()] == [NodeState.UP], 20, log.read_text)
        with client:
            yield client
        everything = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, log.read_text()
        if process.stdout is not None:
            process.stdout.close()
    assert not [one for one in everything if one.is_running()]


@pytest.mark.parametrize("started", [*STARTS, "up"], indirect=True)
def test_however_the_worker_was_started(desk: Desk, started: Client) -> None:
    """Its own main module is never run again, which would be another worker."""
    handles = [started.submit(f"{POOLS}:squares", method, 3) for method in METHODS]
    for _ in handles:
        desk.turn()
    wait_for(lambda: desk.turn() or all(handle.status().state.final for handle in handles), SLOW)  # type: ignore[func-returns-value]
    for handle in handles:
        assert handle.result(timeout=5) == [0, 1, 4], handle.status()
    assert len(started.nodes()) == 1
