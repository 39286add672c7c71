"""A namespace with something in every state and index, to plant damage in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from rq_sched import audit
from rq_sched.link import Link, Op
from rq_sched.model.due import parse_times
from rq_sched.model.orders import Start
from rq_sched.model.resources import Resources
from rq_sched.model.schedule import Schedule
from rq_sched.model.task import TaskRequest
from rq_sched.store import Store
from rq_sched.store.answers import EndReport
from rq_sched.store.keys import Keys
from tests.support.records import Altered, record_of

damaged = pytest.mark.no_audit("damage is planted")
K = Keys("NS")  # planted commands are written for this namespace and sent to the test's own
Planted = Sequence[Any] | Altered
"""Damage: a command, or a change of one part of a task."""


def plainly(*commands: Sequence[Any]) -> Op[list[Any]]:
    return (yield [tuple(command) for command in commands])


def request(task_id: str, cpu: int = 1, memory: int = 1000, **options: Any) -> TaskRequest:
    return TaskRequest(
        "a.b:c", options.pop("args", [1]), task_id=task_id, cpu_needed=cpu, memory_needed=memory, **options
    ).check()


@dataclass
class Scene:
    """A namespace with something in every state and index.

    Node n1 is up with 1 CPU and 1,000 MB free, n2 is draining with nothing on it, n3 is dead and reaped. On n1 are a1
    (assigned), r1 (running) and s1 (being stopped). Pending are p1 to p3 (2 CPU) and q1 (3 CPU); none of them fits.
    There is a schedule, yearly.
    """

    link: Link
    store: Store
    tokens: dict[str, str]

    def plant(self, *damage: Planted) -> None:
        keys = self.store.keys
        for one in damage:
            if isinstance(one, Altered):
                self.link.run(one.made(keys))
            else:
                mine = [part.replace(K.prefix, keys.prefix) if isinstance(part, str) else part for part in one]
                self.link.run(plainly(mine))

    def found(self) -> dict[tuple[str, str | None], str]:
        problems = audit.problems(self.link.run(audit.check(self.store.keys.namespace)))
        found = {(problem.check, problem.subject): problem.message for problem in problems}
        assert len(found) == len(problems), "something is reported twice"
        return found

    def member(self, task_id: str) -> str:
        """The task's entry in its queue."""
        return self.record(task_id)["turn"] + task_id

    def record(self, task_id: str) -> dict[str, str]:
        return self.link.run(record_of(self.store.keys, task_id))


def build(link: Link, store: Store) -> Scene:
    run = link.run
    run(store.node_register("n1", "i1", Resources(4, 4000), ttl=600))
    run(store.submit([request("long", args=["x" * 200]), request("c1"), request("f1"), request("x1", delay=600)]))
    run(store.cancel("x1", requeue=False))
    started = start_all(link, store, acked=0)
    reports = [
        EndReport(started["long"], "long", "completed", 0.1, result=b"r" * 300, output=b"hello"),
        EndReport(started["c1"], "c1", "completed", 0.1, result=b"\xc0"),
        EndReport(started["f1"], "f1", "failed", 0.1, reason="error", error="boom " * 50),
    ]
    run(store.task_finish("n1", "i1", acked=3, reports=reports))
    run(store.submit([request("a1"), request("r1"), request("s1")]))
    started = start_all(link, store, acked=3, but="a1")
    run(store.cancel("s1", requeue=False))
    run(store.submit([*(request(f"p{i}", cpu=2, priority=i) for i in (1, 2, 3)), request("q1", cpu=3)]))
    run(store.submit([request("h1", cpu=2), request("d1", delay=600)]))
    run(store.hold("h1"))
    run(store.node_register("n2", "i2", Resources(8, 8000), ttl=600))
    run(store.node_drain("n2"))
    run(store.node_register("n3", "i3", Resources(1, 100), ttl=600))
    run(store.node_leave("n3", "i3"))
    run(store.reap("n3:i3:left"))
    while run(store.place()).more:
        pass
    run(store.schedule_add(Schedule("yearly", parse_times(None, "365d", None), request("r"))))
    return Scene(link, store, started)


def start_all(link: Link, store: Store, acked: int, but: str = "") -> dict[str, str]:
    """Places what fits on n1 and reports its start; the tokens by task."""
    link.run(store.place())
    orders = link.run(store.node_poll("n1", "i1", acked=acked))
    tokens = {order.task_id: order.token for order in orders if isinstance(order, Start)}
    link.run(store.task_start("n1", "i1", [token for name, token in tokens.items() if name != but]))
    return tokens
