"""Redis against the model: what is taken over from it, what must be equal after each step."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Any, ClassVar

from hypothesis.stateful import RuleBasedStateMachine

from rq_sched import audit
from rq_sched.link import Link, Op
from rq_sched.model.orders import Order, Reload, Start, Void
from rq_sched.model.resources import Resources
from rq_sched.model.states import FINAL, State
from rq_sched.store import Store
from tests.faults.model import ACTIVE, Model, Node
from tests.faults.scene import plainly


class Compared(RuleBasedStateMachine):
    """A namespace beside a model of it, on a clock that only the test moves. A test sets ``connect``."""

    connect: ClassVar[Any]
    judged: ClassVar[Counter[str]]  # what the sequences contained: a test of nothing must not pass

    def __init__(self) -> None:
        super().__init__()
        self.link: Link = type(self).connect()
        self.now = 1_000_000
        self.store = Store(f"m-{uuid.uuid4().hex[:12]}", now_ms=lambda: self.now, placings=0)
        self.model = Model()

    def teardown(self) -> None:
        self.forget_all()
        self.link.close()

    def forget_all(self) -> None:
        """Leaves nothing in Redis."""
        names = self.run(plainly(("KEYS", self.store.keys.prefix + "*")))[0]
        if names:
            self.run(plainly(("DEL", *names)))

    def run(self, op: Op[Any]) -> Any:
        return self.link.run(op)

    def settle(self) -> None:
        """Takes over what only Redis knows, judges what it has placed, then compares everything."""
        self.placings()
        self.compare_tasks()
        self.compare_arrays()
        self.compare_nodes()
        problems = audit.problems(self.run(audit.check(self.store.keys.namespace)))
        assert not problems, "\n".join(str(problem) for problem in problems)

    def take_over(self) -> None:
        """Sequences and due times of what has just gone to the back or into a back-off: the model knows the bounds."""
        tasks = list(self.model.tasks.values())
        known = max((task.sequence for task in tasks if not task.new_sequence), default="")
        records = self.run(self.store.records([task.task_id for task in tasks]))
        unmade = self.run(self.store.unmade([task.task_id for task in tasks]))
        for task, record in zip(tasks, records, strict=True):
            record = record or unmade[task.task_id]
            sequence, due = record[b"turn"], record.get(b"due")
            if task.new_sequence:
                assert sequence.decode() > known, f"{task.task_id} isn't behind its equals"
                task.sequence, task.new_sequence = sequence.decode(), False
            assert sequence.decode() == task.sequence, f"{task.task_id} has lost its place"
            if task.latest is not None:
                assert self.now + (task.latest - self.now) // 2 <= int(due) <= task.latest
                task.due, task.latest = int(due), None
            assert task.due == (due and int(due)) or task.state in ACTIVE + tuple(FINAL), task

    def compare_tasks(self) -> None:
        tasks = list(self.model.tasks.values())
        for task, info in zip(tasks, self.run(self.store.status([t.task_id for t in tasks])), strict=True):
            assert info is not None, f"{task.task_id} is lost"
            reason = info.reason if task.state in (State.FAILED, State.DELAYED) else task.reason
            seen = (info.state, info.attempt, info.priority, info.crashes, info.retries - info.retries_left, reason)
            right = (task.state, task.attempt, task.priority, task.crashes, task.used, task.reason)
            assert seen == right, f"{task}: {seen}"

    def compare_arrays(self) -> None:
        """An array is as its elements together."""
        arrays = list(self.model.arrays.values())
        for array, info in zip(arrays, self.run(self.store.status([a.array_id for a in arrays])), strict=True):
            there = [self.model.tasks[t] for t in array.elements if t in self.model.tasks]
            assert (info is None) == (not there), f"{array.array_id} is {info}, {len(there)} elements are there"
            if info is None:
                continue
            ended = Counter(t.state for t in there if t.state in FINAL) + array.forgotten
            counted = info.elements or {}
            assert Counter({s: counted[s] for s in FINAL}) == ended, f"{info}: {ended}"
            assert counted["waiting"] + counted["active"] == sum(t.state not in FINAL for t in there), f"{info}"
            assert (info.state in FINAL) == all(t.state in FINAL for t in there), f"{info}: {there}"

    def compare_nodes(self) -> None:
        infos = {info.node_id: info for info in self.run(self.store.nodes())}
        assert infos.keys() == self.model.nodes.keys()
        for node in self.model.nodes.values():
            info = infos[node.node_id]
            assert (info.state, info.incarnation, info.running) == (node.state, node.incarnation, len(node.ledger))
            assert info.fault == node.fault
            assert info.free == node.free
            if node.state != "dead":
                self.compare_orders(node)

    def compare_orders(self, node: Node) -> None:
        """The orders after ``acked``: none is missing, and those of this step are what the model expects."""
        orders: list[Order] = self.run(
            self.store.node_poll(node.node_id, node.incarnation, acked=node.acked, limit=1000)
        )
        assert [order.number for order in orders] == list(range(node.acked + 1, node.acked + 1 + len(orders)))
        new = Counter(
            (type(o).__name__.lower(), o.token)
            for o in orders
            if o.number > node.ordered and not isinstance(o, Void | Reload)
        )
        assert new == Counter(node.fresh_orders), node
        assert len(orders) == node.ordered + len(node.fresh_orders) - node.acked
        for order in orders:
            live = not isinstance(order, Start) or self.model.tasks[order.task_id].token == order.token
            assert live, f"an order to start {order} which is over"
        node.ordered += len(node.fresh_orders)
        node.fresh_orders = []

    def placings(self) -> int:
        """Judges what was placed since the last look, in its order (the second part of a token); how much that was. A
        transition comes first, then what the same call placed."""
        self.take_over()
        new: list[tuple[int, Node, str, str]] = []
        for node in self.model.alive():
            for token, entry in self.ledger(node).items():
                if token not in node.ledger:
                    new.append((int(token.split(".")[1]), node, token, entry))
        for _, node, token, entry in sorted(new, key=lambda placing: placing[0]):
            task_id, cpu, memory, mark = entry.split(":")
            assert mark == "a"
            self.model.placed(node, token, task_id, Resources(int(cpu), int(memory)))
            self.judged["placed"] += 1
        return len(new)

    def ledger(self, node: Node) -> dict[str, str]:
        """A ledger as Redis has it."""
        raw = self.run(plainly(("HGETALL", self.store.keys.ledger(node.node_id, node.incarnation))))[0]
        return {token.decode(): entry.decode() for token, entry in zip(raw[::2], raw[1::2], strict=True)}
