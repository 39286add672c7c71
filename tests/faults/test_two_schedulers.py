"""The whole, with real processes: nothing is lost, nothing is over-allocated, whoever is killed."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from rq_sched.model.node import NodeInfo
from rq_sched.model.resources import Resources
from rq_sched.model.task import TaskRequest
from rq_sched.store import Store
from tests.faults.cluster import Cluster
from tests.support import wait_for

TASKS = 4_000
NODES = {"n1": Resources(4, 4096), "n2": Resources(8, 6000), "n3": Resources(3, 8192)}


def mixed(path: Path) -> list[TaskRequest]:
    """Tasks of 24 classes and three priorities; each leaves its id in a file."""
    rng = random.Random(2)
    return [
        TaskRequest(
            "tests.faults.jobs:note",
            [str(path), f"t{i}", 0.02],
            task_id=f"t{i}",
            cpu_needed=rng.choice([1, 1, 1, 2, 3]),
            memory_needed=rng.choice([64, 100, 128, 256, 300, 500, 1000, 2000]),
            priority=rng.randrange(3),
        ).check()
        for i in range(TASKS)
    ]


@pytest.mark.timeout(300)
def test_a_scheduler_and_a_node_are_killed_midway(redis_url: str, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "ran"
    with Cluster(redis_url, store, tmp_path) as cluster:
        for name in ("s1", "s2"):
            cluster.scheduler(name)
        for node_id, total in NODES.items():
            cluster.node(node_id, total.cpu, total.memory, ttl=2)
        assert cluster.run(store.submit(mixed(path))) == ["new"] * TASKS

        def completed() -> int:
            return int(cluster.run(store.info()).tasks["completed"])

        wait_for(lambda: completed() > TASKS // 20, 60, cluster.logs)  # the check takes time, and tasks go on
        cluster.check()

        def busy() -> NodeInfo | None:
            info = cluster.info("n2")
            return info if info and info.running else None

        killed = wait_for(busy, 20, cluster.logs)  # a node with nothing on it is no loss
        assert killed is not None
        cluster.kill("n2")
        cluster.kill("s1")
        cluster.check()
        while completed() < TASKS:
            before = completed()
            cluster.check()
            wait_for(lambda: completed() > min(before, TASKS - 1), 30, cluster.logs)  # noqa: B023
        for node in cluster.run(store.nodes()):
            assert (node.running, node.free) == (0, node.total), node
        cluster.check()
    runs = Counter(path.read_text().split())
    assert runs.keys() == {f"t{i}" for i in range(TASKS)}
    again = sum(runs.values()) - TASKS
    assert again <= killed.total_cpu, f"{again} tasks ran twice; at most {killed.total_cpu} were on the node"
