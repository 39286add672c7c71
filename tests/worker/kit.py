"""What the tests of the worker share: real workers, and a scheduler's turns taken by the test."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from rq_sched.link import Link
from rq_sched.model.node import NodeInfo, NodeState
from rq_sched.model.output import as_text
from rq_sched.model.resources import Resources
from rq_sched.model.states import State
from rq_sched.model.task import TaskInfo, TaskRequest
from rq_sched.store import Store
from rq_sched.worker import WorkerConfig, system
from rq_sched.worker.parent.run_record import path_of
from tests.support import wait_for

ROOT = Path(__file__).parents[2]
FUNCTIONS = "tests.worker.functions"
_MAIN = """
import json, sys
from rq_sched.errors import RqSchedError
from rq_sched.model.resources import Resources
from rq_sched.worker import WorkerConfig, run
config = json.loads(sys.argv[1])
config["total"] = Resources(*config["total"])
for name in ("allow", "allow_dir", "allow_env", "resources"):
    config[name] = tuple(config[name])
try:
    sys.exit(run(WorkerConfig(**config)))
except RqSchedError as error:
    print(f"refused: {error.code}: {error}", file=sys.stderr)
    sys.exit(error.exit_status)
"""


class Node:
    """A real worker process."""

    def __init__(self, desk: Desk, config: WorkerConfig, folder: Path, prelude: str = "") -> None:
        self.desk = desk
        self.config = config
        self.folder = folder
        self.log_path = folder / f"{config.node_id}.log"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(folder / "state")}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", prelude + _MAIN, json.dumps(asdict(config))],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    @property
    def info(self) -> NodeInfo | None:
        """The node as Redis has it."""
        nodes = self.desk.link.run(self.desk.store.nodes())
        return next((node for node in nodes if node.node_id == self.config.node_id), None)

    @property
    def state(self) -> NodeState | None:
        return self.info.state if self.info else None

    def wait_up(self, but: str = "") -> str:
        """Until it is up, under another incarnation than ``but``; its incarnation."""

        def up() -> str | None:
            info = self.info
            return info.incarnation if info and info.state is NodeState.UP and info.incarnation != but else None

        return wait_for(up, 20, lambda: self.log) or ""

    @property
    def record(self) -> Path:
        return (
            self.folder
            / "state"
            / "rq-sched"
            / "workers"
            / path_of(self.config.url, self.config.namespace, self.config.node_id).name
        )

    @property
    def agent(self) -> int:
        (agent,) = self._named("rqs-agent")
        return agent

    @property
    def children(self) -> list[int]:
        """Those that tasks run in: each the first below its subreaper."""
        below = map(system.children_of, self._named("rqs-subreaper"))
        return [pids[0] for pids in below if pids]

    def _named(self, name: str) -> list[int]:
        found = []
        for process in psutil.Process(self.process.pid).children():
            try:
                if process.name() == name:
                    found.append(process.pid)
            except psutil.NoSuchProcess:
                pass
        return found

    def everything(self) -> list[psutil.Process]:
        """All processes of the worker."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def stop(self, timeout: float = 20) -> int:
        """SIGTERM; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def wait_ended(self, timeout: float = 20) -> int:
        wait_for(lambda: self.process.poll() is not None, timeout, lambda: self.log)
        return self.process.returncode


class Desk:
    """A namespace: submits, takes the schedulers' turns, looks."""

    def __init__(self, link: Link, url: str, namespace: str, folder: Path) -> None:
        self.link = link
        self.url = url
        self.store = Store(namespace)
        self.folder = folder
        self.nodes: list[Node] = []

    def node(self, *, up: bool = True, cpu: int = 4, memory: int = 4096, prelude: str = "", **options: Any) -> Node:
        """Start a worker; ``prelude``: what its process does first (a fault is planted)."""
        given = {"node_id": "n1", "allow": ("*",), "chdir": str(ROOT), "ttl": 10.0, "log_level": "debug", **options}
        config = WorkerConfig(url=self.url, namespace=self.store.keys.namespace, total=Resources(cpu, memory), **given)
        node = Node(self, config, self.folder, prelude)
        self.nodes.append(node)
        if up:
            node.wait_up()
        return node

    def submit(self, function: str, *args: Any, kwargs: dict[str, Any] | None = None, **options: Any) -> str:
        """Submit a function of ``functions.py``, or any target with a colon."""
        target = function if ":" in function else f"{FUNCTIONS}:{function}"
        request = TaskRequest(target, args, kwargs or {}, **options).check()
        self.link.run(self.store.submit([request]))
        self.turn()
        return str(request.task_id)

    def turn(self) -> None:
        """What schedulers do: recover, promote, place."""
        for lost in self.link.run(self.store.sweep())[1]:
            self.link.run(self.store.reap(lost))
        self.link.run(self.store.promote())
        self.link.run(self.store.place())

    def info(self, task_id: str) -> TaskInfo:
        return self.link.run(self.store.result(task_id))

    def until(self, task_id: str, condition: Callable[[TaskInfo], object], timeout: float = 20) -> TaskInfo:
        """The task as it is when the condition holds."""
        last: list[TaskInfo] = []

        def look() -> TaskInfo | None:
            self.turn()
            info = self.info(task_id)
            last[:] = [info]
            return info if condition(info) else None

        found = wait_for(look, timeout, lambda: (last, *(node.log for node in self.nodes)))
        assert found is not None
        return found

    def end(self, task_id: str, timeout: float = 20) -> TaskInfo:
        """The task when it has ended."""
        return self.until(task_id, lambda info: info.state.final, timeout)

    def run(self, function: str, *args: Any, **options: Any) -> TaskInfo:
        """Submit, and wait for the end."""
        return self.end(self.submit(function, *args, **options))

    def running(self, task_id: str) -> TaskInfo:
        return self.until(task_id, lambda info: info.state is State.RUNNING)

    def output(self, task_id: str) -> str:
        return as_text(self.link.run(self.store.log(task_id)))

    def close(self) -> Iterator[str]:
        """Stop all workers; yields what is wrong."""
        for node in self.nodes:
            if node.process.poll() is None:
                everything = node.everything()
                node.process.send_signal(signal.SIGTERM)
                node.process.send_signal(signal.SIGCONT)
                try:
                    node.process.wait(5)
                except subprocess.TimeoutExpired:
                    node.process.send_signal(signal.SIGTERM)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        node.process.wait(15)
                left = [process for process in everything if process.is_running()]
                if left:
                    yield f"left over: {left}\n{node.log}"
                for process in left:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
                node.process.wait(5)
            if "Traceback" in node.log:
                yield node.log
        self.turn()


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
