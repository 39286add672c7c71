"""Whatever waits or follows in a client rides out a restart of Redis, within its own timeout."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rq_sched import Client, State
from rq_sched.errors import RedisUnavailable, TaskNotFound
from rq_sched.link import Link, Op
from rq_sched.link.together import together
from rq_sched.store import Store
from tests.client.kit import cluster
from tests.faults.servers import Server
from tests.support import wait_for
from tests.support.records import record_of, request

PATIENCE = 40.0
KEEPS = {"appendonly": "yes", "appendfsync": "always"}


@pytest.fixture
def own_server(tmp_path: Path, server_binary: Path | None) -> Iterator[Server]:
    """A server that a test may stop and start again."""
    with Server(tmp_path / "redis", KEEPS, binary=server_binary) as server:
        yield server


def test_all_that_wait_and_follow_ride_out_a_restart(own_server: Server) -> None:
    with cluster(own_server.url, "n", cpu=16) as client, ThreadPoolExecutor(16) as threads:
        slow = client.submit("time:sleep", 5.0)
        array = client.submit("time:sleep", 5.0, array="1-2")
        stubborn = client.submit("exec:/bin/sh", "-c", "trap '' TERM; sleep 60 & wait; wait; wait", cpu=1)
        wait_for(lambda: stubborn.state() is State.RUNNING, PATIENCE, stubborn.status)
        pool = client.executor()
        calls: dict[str, Callable[[], Any]] = {
            "wait": lambda: client.wait([slow.id, array.id], PATIENCE),
            "result": lambda: slow.result(PATIENCE),
            "as_completed": lambda: [task.ended for task in client.as_completed([slow], PATIENCE)],
            "executor": lambda: pool.submit("math:sqrt", 4.0).result(PATIENCE),
            "executor that waits": lambda: list(pool.map("time:sleep", [4.0, 4.0], timeout=PATIENCE)),
            "cancel": lambda: stubborn.cancel(requeue=False, grace=4.0).outcome,
            "events": lambda: next(
                e.type for e in client.events(task_id=slow.id, follow=True) if e.type == "completed"
            ),
        }
        begun: dict[str, Future[Any]] = {name: threads.submit(call) for name, call in calls.items()}
        wait_for(lambda: stubborn.status().reason == "cancelling", PATIENCE, stubborn.status)
        own_server.stop()
        late: dict[str, Callable[[], Any]] = {
            "result": lambda: slow.result(PATIENCE),
            "wait": lambda: client.wait([slow.id], PATIENCE),
            "elements": lambda: [element.result(PATIENCE) for element in array.elements()],
            "executor": lambda: pool.submit("math:sqrt", 9.0).result(PATIENCE),
        }
        begun_late = {name: threads.submit(call) for name, call in late.items()}
        time.sleep(1.0)  # the outage itself
        own_server.start()
        assert {name: future.result(PATIENCE) for name, future in begun.items()} == {
            "wait": {slow: State.COMPLETED, array: State.COMPLETED},
            "result": None,
            "as_completed": [State.COMPLETED],
            "executor": 2.0,
            "executor that waits": [None, None],
            "cancel": "cancelled",
            "events": "completed",
        }
        assert {name: future.result(PATIENCE) for name, future in begun_late.items()} == {
            "result": None,
            "wait": {slow: State.COMPLETED},
            "elements": [None, None],
            "executor": 3.0,
        }
        pool.shutdown()


def test_a_wait_lasts_no_longer_than_it_may_and_a_wrong_address_is_told_at_once(own_server: Server) -> None:
    with Client(own_server.url, "n") as client:
        handle = client.submit("m:f")
        own_server.stop()
        before = time.monotonic()
        with pytest.raises((RedisUnavailable, TimeoutError)):
            handle.result(timeout=1.0)
        assert time.monotonic() - before < 5
    with Client(own_server.url, "n") as stranger:
        before = time.monotonic()
        with pytest.raises(RedisUnavailable, match="can't be reached"):
            stranger.result(handle.id)
        assert time.monotonic() - before < 5


def test_a_task_that_is_forgotten_while_it_is_waited_for_says_why(redis_url: str, namespace: str, link: Link) -> None:
    store = Store(namespace)

    def vanish(task_id: str, quietly: bool) -> Op[None]:
        assert "watch" in (yield from record_of(store.keys, task_id)), "somebody waits for it"
        if quietly:  # as if its doorbell was lost
            yield from request(task_id, watch=None).made(store.keys)
        yield from together(store.cancel(task_id, requeue=False), store.forget_ids([task_id]))  # nobody looks between

    def watched(task_id: str) -> Op[bool]:
        return "watch" in (yield from record_of(store.keys, task_id))

    with Client(redis_url, namespace) as client, ThreadPoolExecutor(3) as threads, client.executor() as pool:
        one, two, three = client.submit("m:f"), client.submit("m:f"), client.submit("m:f")
        in_time = threads.submit(one.wait, PATIENCE)
        waits, result = threads.submit(two.wait, PATIENCE), threads.submit(three.result, PATIENCE)
        future = pool.submit("m:f")
        for task_id in (one.id, two.id, three.id, future.task_id):
            wait_for(lambda task_id=task_id: link.run(watched(task_id)), PATIENCE)  # type: ignore[misc]
        link.run(vanish(one.id, quietly=False))
        link.run(vanish(two.id, quietly=True))
        link.run(vanish(three.id, quietly=True))
        link.run(vanish(future.task_id, quietly=False))
        assert in_time.result(PATIENCE) is State.CANCELLED, "its end was told"
        for error in (waits.exception(PATIENCE), result.exception(PATIENCE), future.exception(PATIENCE)):
            assert isinstance(error, TaskNotFound)
            assert "rq-sched settings keep_tasks" in str(error)
