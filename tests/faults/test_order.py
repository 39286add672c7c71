"""Strict order, and what fits nowhere, on real nodes."""

from __future__ import annotations

import random
from pathlib import Path

from rq_sched.model.states import Reason, State
from rq_sched.model.task import TaskRequest
from rq_sched.store import Store
from tests.faults.cluster import Cluster
from tests.support import wait_for


def test_one_core_runs_by_priority_then_by_arrival(redis_url: str, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "ran"
    priorities = [priority for priority in range(-10, 10) for _ in range(25)]
    random.Random(1).shuffle(priorities)
    memory = [100, 200, 300, 1000]  # several classes: their queues are merged in the right order
    with Cluster(redis_url, store, tmp_path) as cluster:
        requests = [
            TaskRequest(
                "tests.faults.jobs:note",
                [str(path), f"{-priority} {i}"],
                priority=priority,
                memory_needed=memory[i % len(memory)],
            ).check()
            for i, priority in enumerate(priorities)
        ]
        cluster.run(store.submit(requests))
        cluster.scheduler("s1")
        cluster.node("n1", 1, 1000)
        wait_for(lambda: cluster.run(store.info()).tasks["completed"] == len(requests), 60, cluster.logs)
    ran = [(int(rank), int(i)) for rank, i in (line.split() for line in path.read_text().splitlines())]
    assert len(ran) == len(requests)
    assert ran == sorted(ran)


def test_what_fits_nowhere_blocks_nobody_and_runs_when_it_can(redis_url: str, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "ran"
    with Cluster(redis_url, store, tmp_path) as cluster:
        cluster.scheduler("s1")
        cluster.node("small", 2, 1000)
        huge = [
            TaskRequest("tests.faults.jobs:note", [str(path), "huge"], cpu_needed=3, priority=9, task_id=f"huge{i}")
            for i in range(200)
        ]
        cluster.run(store.submit([request.check() for request in huge]))
        small = [TaskRequest("tests.faults.jobs:note", [str(path), "small"], task_id=f"s{i}") for i in range(20)]
        cluster.run(store.submit([request.check() for request in small]))
        wait_for(lambda: cluster.run(store.info()).tasks["completed"] == len(small), 30, cluster.logs)
        (info,) = cluster.run(store.status(["huge0"]))
        assert info is not None
        assert (info.state, info.reason) == (State.PENDING, Reason.INFEASIBLE)
        answer = cluster.run(store.explain("huge1"))
        assert (answer.fits_now, answer.fits_empty, answer.reason) == (0, 0, "infeasible")
        cluster.check()
        cluster.node("large", 6, 6000)
        wait_for(lambda: cluster.run(store.info()).tasks["completed"] == len(small) + len(huge), 30, cluster.logs)
        cluster.check()
    assert path.read_text().split() == ["small"] * 20 + ["huge"] * 200
