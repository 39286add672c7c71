"""A namespace driven by hand: a clock that the test moves, nodes and tasks in a line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import pytest

from rq_sched.link import Link, Op, Request
from rq_sched.model.orders import Order, Start, Stop
from rq_sched.model.resources import Resources
from rq_sched.model.states import State
from rq_sched.model.task import TaskInfo, TaskRequest
from rq_sched.store import Store
from rq_sched.store.answers import EndReport

T = TypeVar("T")
START = 1_000_000
"""When a cell begins, in ms."""
ON_A_SERVER = pytest.mark.parametrize("cell", ["server"], indirect=True)
"""For a story of so many tasks or nodes that fakeredis takes seconds; what it shows there others show, too."""


class Cell:
    """Reads like a story: ``cell.node("a", 4, 1024)``, ``cell.submit("t1", cpu=2)``, ``cell.place()``."""

    def __init__(self, link: Link, namespace: str) -> None:
        self.now = START
        self.link = link
        self.store = Store(namespace, now_ms=lambda: self.now, placings=0)
        self.acked: dict[str, int] = {}

    def run(self, op: Op[T]) -> T:
        return self.link.run(op)

    def node(
        self,
        node_id: str,
        cpu: int = 4,
        memory: int = 1024,
        ttl: float = 10.0,
        incarnation: str = "1",
        labels: Sequence[str] = (),
        resources: str = "",
    ) -> None:
        total = Resources(cpu, memory)
        register = self.store.node_register
        self.run(register(node_id, incarnation, total, labels=labels, ttl=ttl, host="test", resources=resources))
        self.acked[node_id] = 0

    def submit(self, *task_ids: str, cpu: int = 1, memory: int = 100, **fields: Any) -> list[str]:
        requests = [
            TaskRequest("m:f", task_id=t, cpu_needed=cpu, memory_needed=memory, **fields).check() for t in task_ids
        ]
        return self.run(self.store.submit(requests))

    def needs(self, task_id: str, task_class: str, **lines: Any) -> None:
        """Submit a task of this class."""
        text = "".join(f"{name}={value}\n" for name, value in lines.items()) + "run=m:f\nwith="
        self.run(self._asked(self.store.call("task_submit", "ab", 0, "", task_id, task_class, "digest", text)))

    @staticmethod
    def _asked(call: Request) -> Op[Any]:
        return (yield [call])[0]

    def place(self) -> int:
        placed = 0
        while True:
            batch = self.run(self.store.place())
            placed += batch.placed
            if batch.releasing:
                self.run(self.store.release())
            if not batch.more:
                return placed

    def orders(self, node_id: str, incarnation: str = "1") -> list[Order]:
        """New orders; the next call acknowledges them."""
        orders = self.run(self.store.node_poll(node_id, incarnation, acked=self.acked[node_id]))
        self._seen(node_id, orders)
        return orders

    def starts(self, node_id: str, incarnation: str = "1") -> dict[str, Start]:
        """The start orders among them, by task."""
        return {o.task_id: o for o in self.orders(node_id, incarnation) if isinstance(o, Start)}

    def stops(self, node_id: str, incarnation: str = "1") -> dict[str, Stop]:
        return {o.task_id: o for o in self.orders(node_id, incarnation) if isinstance(o, Stop)}

    def started(self, node_id: str, *starts: Start, incarnation: str = "1") -> int:
        return self.run(self.store.task_start(node_id, incarnation, [s.token for s in starts]))

    def finish(
        self, node_id: str, order: Start | Stop, outcome: str = "completed", incarnation: str = "1", **report: Any
    ) -> tuple[str, dict[str, Start]]:
        """Report one end: the answer, and the start orders that came with it."""
        report.setdefault("result", b"\xc0" if outcome == "completed" else None)
        finished = self.run(
            self.store.task_finish(
                node_id,
                incarnation,
                acked=self.acked[node_id],
                reports=[EndReport(order.token, order.task_id, outcome, ran=0.1, **report)],
            )
        )
        self._seen(node_id, finished.orders)
        return finished.outcomes[0], {o.task_id: o for o in finished.orders if isinstance(o, Start)}

    def _seen(self, node_id: str, orders: Sequence[Order]) -> None:
        if orders:
            self.acked[node_id] = max(self.acked[node_id], orders[-1].number)

    def info(self, task_id: str) -> TaskInfo:
        info = self.run(self.store.status([task_id]))[0]
        assert info is not None, f"no task {task_id}"
        return info

    def state(self, task_id: str) -> State | None:
        return self.run(self.store.states([task_id]))[0]

    def free(self, node_id: str) -> tuple[int, int]:
        node = self.run(self.store.node(node_id))
        return node.free_cpu, node.free_memory
