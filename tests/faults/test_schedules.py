"""1,000 schedules, three schedulers that are killed again and again, and a failover: each due time is passed once. (Its
short form is in the simulation: ``sim/schedules.py``.)"""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from rq_sched import audit
from rq_sched.client.blocking import Client
from rq_sched.errors import RedisUnavailable
from rq_sched.model.due import stamp
from rq_sched.model.schedule import ScheduleInfo
from rq_sched.store import Store
from tests.faults.cluster import Cluster
from tests.faults.servers import Server, Watched, ask
from tests.support import wait_for

SCHEDULES = 1000
SECONDS = 30.0
INTERVALS = (2, 3, 5)
SCHEDULERS = ("s1", "s2", "s3")


@pytest.mark.full
@pytest.mark.timeout(400)
def test_each_due_time_is_made_once(tmp_path: Path) -> None:
    rng = random.Random(1)
    store = Store("t")
    with Watched(tmp_path / "watched") as watched, Cluster(watched.url, store, tmp_path) as cluster:
        for name in SCHEDULERS:
            cluster.scheduler(name)
        client = Client(watched.url, "t")
        for number in range(SCHEDULES):
            interval = INTERVALS[number % len(INTERVALS)]
            client.every(f"every{number}", "m:f", interval=interval, overlap="allow", catch_up="all")
        end, failed_over = time.monotonic() + SECONDS, False
        while time.monotonic() < end:
            name = rng.choice(SCHEDULERS)
            cluster.kill(name)
            time.sleep(rng.uniform(0.2, 1.0))  # how long it is away
            cluster.scheduler(name)
            if not failed_over and time.monotonic() > end - SECONDS / 2:
                watched.fail_over(Server.kill)
                failed_over = True
        assert failed_over

        wait_for(lambda: _late(client) < 3, 60, cluster.logs)
        for info in client.schedules():
            client.schedule(info.name).pause()
        infos = client.schedules()
        assert len(infos) == SCHEDULES  # all were replicated long before
        expected = _expected(cluster, infos)
        made = Counter(
            event.task_id for event in client.events() if event.type == "submitted" and event.task_id is not None
        )
        assert set(made.values()) == {1}, made.most_common(3)
        assert set(made) == set(expected)
        ids = sorted(expected)
        assert None not in cluster.run(store.states(ids))
        assert client.info().tasks["pending"] == len(ids)
        assert sum(info.made for info in infos) == len(ids)
        assert sum(info.skipped for info in infos) == 0
        problems = audit.problems(cluster.run(audit.check("t")))
        assert not problems, problems
        assert "Traceback" not in cluster.logs()
        print(f"{len(ids):,} due times of {SCHEDULES:,} schedules, each made once")
        client.close()


def _late(client: Client) -> float:
    """Seconds by which the latest schedule is behind."""
    try:
        return time.time() - min(info.next_due or 0.0 for info in client.schedules())
    except RedisUnavailable:
        return 1e9


def _expected(cluster: Cluster, infos: list[ScheduleInfo]) -> set[str]:
    """The task of each due time that has passed: from a second interval after it was made to before it is due next."""
    keys, expected = cluster.store.keys, set()
    for info in infos:
        start, due = map(int, cluster.run(ask("HMGET", keys.schedule(info.name), "start", "due")))
        step = round((info.interval or 0) * 1000)
        expected |= {f"{info.name}.{stamp(at)}" for at in range(start + step, due, step)}
    return expected
