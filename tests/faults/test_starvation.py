"""A task that needs a whole node, on a real one (promise 6), and one that takes its place from a preemptible task."""

from __future__ import annotations

import itertools
from pathlib import Path

from rq_sched.model.states import State
from rq_sched.model.task import TaskInfo, TaskRequest
from rq_sched.store import Store
from tests.faults.cluster import Cluster
from tests.support import wait_for

RUN = 0.3  # seconds of a small task


def info(cluster: Cluster, task_id: str) -> TaskInfo:
    found = cluster.run(cluster.store.status([task_id]))[0]
    assert found is not None
    return found


def test_a_wide_task_starts_under_an_endless_stream_of_small_ones(redis_url: str, store: Store, tmp_path: Path) -> None:
    """The bound is judged by what was placed, not by the clock: nothing but those that had started, or had room beside,
    when the node was kept."""
    path, numbers = tmp_path / "ran", itertools.count()

    def stream(cluster: Cluster) -> None:
        """As many small tasks wait as would keep the node busy for long."""
        pending = cluster.run(store.info()).tasks["pending"]
        new = [next(numbers) for _ in range(max(0, 40 - pending))]
        # Of different lengths: tasks that end all at once leave room for the wide one without any reservation.
        small = [
            TaskRequest("tests.faults.jobs:note", [str(path), "small", RUN * (1 + n % 7 / 7)], task_id=f"s{n}").check()
            for n in new
        ]
        cluster.run(store.submit(small))

    with Cluster(redis_url, store, tmp_path) as cluster:
        cluster.run(store.set_setting("reserve_after", 1))
        cluster.node("n1", 4, 4096)
        stream(cluster)
        cluster.scheduler("s1")
        wide = TaskRequest("tests.faults.jobs:note", [str(path), "wide"], task_id="wide", cpu_needed=4).check()
        cluster.run(store.submit([wide]))

        def done() -> bool:
            stream(cluster)
            return info(cluster, "wide").state is State.COMPLETED

        wait_for(done, 60, cluster.logs)
        cluster.check()
        reserved = [e for e in cluster.run(store.events(limit=10**5)) if e.type == "reserved"]
        started = [e for e in cluster.run(store.events(limit=10**5)) if e.type == "placed" and e.task_id != "wide"]
        kept_at, wide_at = reserved[0].time, info(cluster, "wide").scheduled_at or 0.0
        assert [e.task_id for e in reserved] == ["wide"]
        assert not [e.task_id for e in started if kept_at < e.time < wide_at], "placed beside the reservation"


def test_a_preemptible_task_makes_room_and_runs_again(redis_url: str, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "ran"
    with Cluster(redis_url, store, tmp_path) as cluster:
        cluster.run(store.set_setting("preempt_after", 0))
        cluster.node("n1", 2, 2048)
        cluster.scheduler("s1")
        long = TaskRequest(
            "tests.faults.jobs:note", [str(path), "long", 15], task_id="long", cpu_needed=2, preemptible=True
        )
        cluster.run(store.submit([long.check()]))
        wait_for(lambda: info(cluster, "long").state is State.RUNNING, 20, cluster.logs)
        vip = TaskRequest("tests.faults.jobs:note", [str(path), "vip"], task_id="vip", cpu_needed=2, priority=1)
        cluster.run(store.submit([vip.check()]))
        wait_for(lambda: info(cluster, "vip").state is State.COMPLETED, 40, cluster.logs)
        assert "long" not in path.read_text()
        wait_for(lambda: info(cluster, "long").state is State.RUNNING, 20, cluster.logs)
        again = info(cluster, "long")
        assert (again.attempt, again.crashes, again.retries_left) == (2, 0, 0)
        cluster.check()
