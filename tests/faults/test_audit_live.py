"""The checker while tasks move, at any size, on both links; what is left over in the end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest

from rq_sched import audit
from rq_sched.audit import Finding
from rq_sched.audit.reads import BATCH
from rq_sched.errors import WrongState
from rq_sched.link import AsyncLink, Link, Op, Request
from rq_sched.model.orders import Start
from rq_sched.model.resources import Resources
from rq_sched.store import Store
from rq_sched.store.answers import EndReport
from tests.faults.scene import K, Scene, build, damaged, plainly, request, start_all
from tests.support import wait_for

T = TypeVar("T")


@pytest.fixture
def scene(link: Link, store: Store) -> Scene:
    return build(link, store)


class Churn:
    """Threads that submit, place, reserve, start, grow, finish and forget as fast as they can, each with a node of its
    own. What has ended is forgotten: the namespace is busy, and doesn't grow for as long as somebody looks at it."""

    KEPT = 100

    def __init__(self, url: str, store: Store, threads: int = 2) -> None:
        self._stop = threading.Event()
        self.finished = 0
        self._threads = [threading.Thread(target=self._turn, args=(url, store, f"m{i}")) for i in range(threads)]

    def _turn(self, url: str, store: Store, node: str) -> None:
        link = Link(url)
        link.run(store.set_setting("reserve_after", 0))
        link.run(store.set_setting("grow_after", 0))
        link.run(store.node_register(node, "i", Resources(4, 4000), ttl=600))
        acked, turn = 0, 0
        reports: list[EndReport] = []
        while not self._stop.is_set() or reports:
            turn += 1
            if not self._stop.is_set():
                mixed = [
                    request(f"{node}-{turn}-{j}", cpu=1 + j, max_cpu_needed=4, memory=300 * j + 1, priority=j % 2,
                            preemptible=j < 2, time_limit=60 if j == 1 else None) for j in range(4)
                ]  # fmt: skip
                array = f"{node}-{turn}-a"
                link.run(store.submit([*mixed, request(array, memory=1, priority=turn % 2, array="1-4")]))
                link.run(store.reserve())
                with contextlib.suppress(WrongState):  # the other thread, or the submit, may have placed it
                    link.run(store.hold(f"{node}-{turn}-0"))
                link.run(store.place())
                link.run(store.unhold(f"{node}-{turn}-0"))
                link.run(store.cancel(f"{array}/3"))
                link.run(store.cancel(array, requeue=turn % 4 > 0))
            orders = link.run(store.task_finish(node, "i", acked=acked, reports=reports)).orders
            acked = orders[-1].number if orders else acked
            starts = [order for order in orders if isinstance(order, Start)]
            link.run(store.task_start(node, "i", [order.token for order in starts]))
            link.run(store.task_grow(node, "i", [order.token for order in starts]))
            reports = [EndReport(order.token, order.task_id, "completed", 0.0, result=b"\xc0") for order in starts]
            self.finished += len(reports)
            link.run(store.forget(keep=self.KEPT))
        link.close()

    def goes_on(self, by: int = 1) -> None:
        """Returns when so many more tasks have finished."""
        target = self.finished + by
        wait_for(lambda: self.finished >= target)

    def __enter__(self) -> Churn:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_no_false_alarm_while_tasks_move(redis_url: str, link: Link, store: Store) -> None:
    with Churn(redis_url, store) as churn:
        churn.goes_on(50)
        for _ in range(8):
            assert audit.problems(link.run(audit.check(store.keys.namespace))) == []
            churn.goes_on()


@damaged
def test_damage_is_found_while_tasks_move(redis_url: str, scene: Scene) -> None:
    with Churn(redis_url, scene.store) as churn:
        churn.goes_on(50)
        scene.plant(("ZREM", K.delayed, "d1"), ("HINCRBY", K.node("n2"), "free_cpu", 1), ("ZADD", K.held, 1, "c1"))
        assert set(scene.found()) == {("tasks", "d1"), ("nodes", "n2"), ("indexes", "held c1")}


def measured(op: Op[T], steps: list[int]) -> Op[T]:
    """The same op; ``steps`` gets the number of requests of each step."""
    replies: list[Any] | None = None
    while True:
        try:
            requests: Sequence[Request] = next(op) if replies is None else op.send(replies)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        steps.append(len(requests))
        replies = yield requests


def test_steps_and_memory_do_not_grow_with_the_tasks(link: Link, store: Store) -> None:
    seen: list[tuple[int, int, int]] = []
    for size in (2_000, 10_000):
        link.run(store.submit([request(f"t{size}-{i}", cpu=1 + i % 5) for i in range(size)]))
        steps: list[int] = []
        tracemalloc.start()
        link.run(measured(audit.check(store.keys.namespace), steps))
        seen.append((max(steps), tracemalloc.get_traced_memory()[1], sum(steps)))
        tracemalloc.stop()
    (small_step, small_memory, small_sum), (large_step, large_memory, large_sum) = seen
    assert large_step <= 1.5 * small_step <= 1.5 * 6 * BATCH, seen
    assert large_memory < 2.5 * small_memory, seen  # six times the tasks
    assert large_sum > 2 * small_sum, seen


@damaged
def test_findings_beyond_the_limit_are_counted(link: Link, store: Store) -> None:
    link.run(store.submit([request(f"t{i}", delay=600) for i in range(50)]))
    link.run(plainly(("DEL", store.keys.delayed)))
    found = audit.problems(link.run(audit.check(store.keys.namespace, limit=3)))
    assert [(finding.check, finding.subject is None) for finding in found] == [("tasks", False)] * 3 + [("tasks", True)]
    assert found[-1].message == "47 more seem to be wrong"


@damaged
def test_a_key_of_a_wrong_type_that_is_needed(scene: Scene) -> None:
    scene.plant(("DEL", K.groups), ("SET", K.groups, 1))
    assert scene.found()["keys", "groups"] == "is a string, not a zset"


def test_leftovers(link: Link, store: Store) -> None:
    """I8: what is done and forgotten leaves nothing."""
    run = link.run

    def left() -> set[str | None]:
        return {finding.subject for finding in audit.problems(run(audit.leftovers(store.keys.namespace)))}

    run(store.submit([request("t1", args=["x" * 200])]))
    assert left() == {"task:t1", "payload:t1", "pending:1:1000", "classes:1:1024", "groups"}
    run(store.node_register("n1", "i1", Resources(1, 1000), ttl=600))
    tokens = start_all(link, store, acked=0)
    assert left() == {"task:t1", "payload:t1", "placed", "node:n1:i1:tasks"}  # a node that lives keeps its last orders
    report = EndReport(tokens["t1"], "t1", "failed", 0.1, reason="error", error="boom" * 50, output=b"out")
    run(store.task_finish("n1", "i1", acked=1, reports=[report]))
    assert left() == {"task:t1", "payload:t1", "ended:t1", "result:t1", "log:t1", "finished:failed"}
    run(store.forget_ids(["t1"]))
    assert left() == set()


async def checked(link: AsyncLink, namespace: str) -> list[Finding]:
    return await link.run(audit.check(namespace))


def test_it_runs_on_an_async_link_as_well(scene: Scene, alink: Callable[[], Any]) -> None:
    async def main() -> list[Finding]:
        async with alink() as link:
            return await checked(link, scene.store.keys.namespace)

    assert all(finding.ok for finding in asyncio.run(main()))
