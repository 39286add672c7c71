"""Real schedulers and workers, started with the command line, each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import psutil

from rq_sched import audit
from rq_sched.link import Link, Op
from rq_sched.model.node import NodeInfo, NodeState
from rq_sched.store import Store
from tests.faults.jobs import PROCESS
from tests.support import wait_for

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
STARTING = 60.0
"""Seconds that a process may take to be ready: with TLS and sentinels, on a machine that is busy with other tests."""


class Cluster:
    """Processes on one namespace. They are all gone when the block is left."""

    def __init__(self, url: str, store: Store, folder: Path) -> None:
        self.url = url
        self.store = store
        self.folder = folder
        self.link = Link(url)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, op: Op[T]) -> T:
        return self.link.run(op)

    def scheduler(self, name: str) -> None:
        self._start(name, ["scheduler"])
        wait_for(lambda: "scheduler ready" in self.log(name), STARTING, lambda: self.log(name))

    def node(self, node_id: str, cpu: int, memory: int, ttl: float = 10.0, *more: str) -> None:
        self.launch_node(node_id, cpu, memory, ttl, *more)
        self.joined(node_id)

    def joined(self, node_id: str) -> None:
        """Wait until it has."""
        wait_for(lambda: self.info(node_id), STARTING, lambda: self.log(node_id))

    def launch_node(self, node_id: str, cpu: int, memory: int, ttl: float = 10.0, *more: str) -> None:
        """The same without waiting until it has joined. ``more``: further options."""
        options = ["--node-id", node_id, "--cpu", str(cpu), "--memory", str(memory), "--ttl", str(ttl), "--grace", "1"]
        self._start(node_id, ["worker", *options, "--chdir", str(ROOT), "--allow", "*", *more])

    def info(self, node_id: str) -> NodeInfo | None:
        """A node that is up."""
        nodes = self.run(self.store.nodes())
        return next((n for n in nodes if n.node_id == node_id and n.state is NodeState.UP), None)

    def _start(self, name: str, command: Sequence[str]) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "XDG_STATE_HOME": str(self.folder / "state"),
            PROCESS: name,
        }
        connection = ["--redis", self.url, "--namespace", self.store.keys.namespace]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "rq_sched.cli", *connection, *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def logs(self) -> str:
        """The ends of all logs."""
        return "\n".join(f"-- {name}\n{self.log(name)[-2000:]}" for name in self.processes)

    def kill(self, name: str) -> None:
        """SIGKILL to a process and everything below it, as when a machine is lost. Afterwards none of them runs."""
        process = psutil.Process(self.processes[name].pid)
        below = process.children(recursive=True)
        for victim in (process, *below):
            try:
                victim.kill()
            except psutil.NoSuchProcess:
                pass
        self.processes[name].wait()
        wait_for(lambda: not any(_runs(victim) for victim in below), STARTING)

    def check(self) -> None:
        """The invariants hold, whatever is going on."""
        problems = audit.problems(self.run(audit.check(self.store.keys.namespace)))
        assert not problems, "\n".join([*map(str, problems), self.logs()])

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        alive = {name: process for name, process in self.processes.items() if process.poll() is None}
        for process in alive.values():
            process.send_signal(signal.SIGTERM)
        late = []
        for name, process in alive.items():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                late.append(name)
                self.kill(name)
        self.link.close()
        assert error is not None or not late, f"{late} didn't end when told to\n{self.logs()}"


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
