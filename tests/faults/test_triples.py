"""Every verb after every other, and every three of them, on one task, each also done twice: what drivers' retries, late
agents and several people at once can make of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import product

import pytest

from rq_sched.model.resources import Resources
from rq_sched.model.states import State
from rq_sched.store.answers import EndReport
from tests.faults.direct import DirectLink
from tests.faults.machine import Cell
from tests.faults.model import ACTIVE, Node, Task


class One(Cell):
    """One task, that may run on one node, and what can happen to it. Every verb may come at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.checked = False
        self.agent: tuple[Node, str] | None = None  # the last attempt that an agent knew of
        self.submit([(Resources(1, 100), 0, 0)], retries=1, crash_limit=2, growth=1)
        self.register("a", Resources(2, 1000), 10)

    @property
    def task(self) -> Task:
        return self.model.tasks["t0"]

    def settle(self) -> None:
        """Only at the end of a sequence: its beginning is the end of another one."""
        if self.checked:
            super().settle()
        else:
            self.placings()
            self.take_over_orders()
        if self.task.place and self.task.state in ACTIVE:
            self.agent = (self.model.incarnation(*self.task.place), str(self.task.token))

    def take_over_orders(self) -> None:
        for node in self.model.alive():
            node.ordered += len(node.fresh_orders)
            node.fresh_orders = []

    def do(self, verb: str) -> None:
        getattr(self, f"do_{verb}")()

    def report_end(self, outcome: str) -> None:
        if self.agent:
            node, token = self.agent
            self.report(node, [EndReport(token, "t0", outcome, 0.1, "error", b"\xc0", "boom")], 8)

    def do_place(self) -> None:
        self.place(5)

    def do_start(self) -> None:
        if self.agent and self.is_known(self.agent[0]):
            node, token = self.agent
            held = node.ledger.get(token)
            fresh = held is not None and held.mark == "a"
            assert self.run(self.store.task_start(node.node_id, node.incarnation, [token])) == fresh
            if held and fresh:
                held.mark, self.task.state = "r", State.RUNNING
            self.settle()

    def do_finish(self) -> None:
        self.report_end("completed")

    def do_fail(self) -> None:
        self.report_end("failed")

    def do_crash(self) -> None:
        self.report_end("crashed")

    def do_stopped(self) -> None:
        self.report_end("stopped")

    def do_cancel(self) -> None:
        self.cancel_task(self.task, requeue=True, operation="cancel")

    def do_end(self) -> None:
        self.cancel_task(self.task, requeue=False, operation="end")

    def do_requeue(self) -> None:
        self.requeue_task(self.task, "requeue")
        self.settle()

    def do_resize(self) -> None:
        self.resize(1, 0, (1, 0), late=False)

    def do_lose(self) -> None:
        """Its node is lost, and everything on it given back."""
        self.node_leave(self.model.nodes["a"], crashed=True)
        for name in list(self.model.lost):
            self.reap_batch(name, 100)

    def do_join(self) -> None:
        self.register("a", Resources(2, 1000), 10, late=True)

    def do_wait(self) -> None:
        self.promote(5, 60)


VERBS = [name.removeprefix("do_") for name in vars(One) if name.startswith("do_")]


def walk(redis_url: str, sequences: Iterable[Sequence[str]], times: int) -> None:
    """Each sequence on a fresh task that has been placed, each verb so many times in a row."""
    link = DirectLink(redis_url)
    judged: Counter[str] = Counter()
    machine = type("Machine", (One,), {"connect": staticmethod(lambda: link), "judged": judged})
    for verbs in sequences:
        one = machine()
        try:
            one.do("place")
            for verb in verbs[:-1]:
                for _ in range(times):
                    one.do(verb)
            one.checked = True
            for _ in range(times):
                one.do(verbs[-1])
                one.settle()
        except BaseException as error:
            error.add_note(f"in {', '.join(verbs)}; each {times} times")
            raise
        one.forget_all()
    link.close()
    assert judged["placed"], "a walk in which nothing is placed"


@pytest.mark.parametrize("times", [1, 2])
def test_every_two_verbs(times: int, redis_url: str) -> None:
    walk(redis_url, product(VERBS, repeat=2), times)


@pytest.mark.parametrize("first", VERBS)
def test_every_three_verbs(first: str, redis_url: str) -> None:
    walk(redis_url, ((first, *rest) for rest in product(VERBS, repeat=2)), 1)


@pytest.mark.full
@pytest.mark.parametrize("first", VERBS)
def test_every_three_verbs_twice(first: str, redis_url: str) -> None:
    walk(redis_url, ((first, *rest) for rest in product(VERBS, repeat=2)), 2)
