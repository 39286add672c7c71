"""Small nodes drained over and over: no start order is lost, whatever crosses whatever."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from rq_sched.model.task import TaskRequest
from rq_sched.store import Store
from tests.faults.cluster import Cluster
from tests.support import wait_for

SECONDS = 60.0


@pytest.mark.full
@pytest.mark.timeout(300)
def test_nothing_stays_assigned(redis_url: str, store: Store, tmp_path: Path) -> None:
    """Backlogs that begin with the node up or drained, of 1 to 1,000 tasks, on nodes of two cores. (A token that came a
    second time once left one task in some 200,000 assigned for ever.)"""
    rng = random.Random(7)
    submitted = 0
    with Cluster(redis_url, store, tmp_path) as cluster:
        cluster.run(store.set_setting("keep_tasks", 1000))  # or the looks at the end take longer than all before
        cluster.scheduler("s1")
        for node in ("n1", "n2"):
            cluster.node(node, 2, 4096)

        def completed() -> bool:
            return bool(cluster.run(store.counts()).get("completed", 0) >= submitted)

        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            drained = rng.random() < 0.5 and rng.choice(["n1", "n2"])
            if drained:
                cluster.run(store.node_drain(drained))
            count = rng.choice([1, 2, 3, 30, 300, 1000])
            cluster.run(store.submit([TaskRequest("math:sqrt", [4], memory_needed=1).check() for _ in range(count)]))
            submitted += count
            if drained:
                cluster.run(store.node_undrain(drained))
            wait_for(completed, 30, lambda: (cluster.run(store.info()), cluster.logs()))
        assert submitted > 1000, "a stress of nothing"
        for info in cluster.run(store.nodes()):
            assert (info.running, info.free) == (0, info.total), info
        cluster.check()
    print(f"{submitted} tasks")
