"""What schedulers and nodes do, as rules for the model test; and how sequences of them are played."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from rq_sched.errors import NodeAlive, StaleIncarnation
from rq_sched.model.orders import Start
from rq_sched.model.resources import Resources
from rq_sched.model.states import State
from rq_sched.store.answers import EndReport
from tests.faults.clients import Clients, numbers
from tests.faults.model import Node

AGES = 10**6  # seconds that never pass: outages of Redis are another test's matter

CARRIED: list[tuple[str, ...]] = [(), ("gpu", "ssd"), ("gpu",), ("ssd",)]
"""The labels that incarnations carry, in turn: so that a node comes back with other ones."""
totals = st.builds(Resources, st.integers(2, 8), st.sampled_from([500, 1000, 2000]))
outcomes = st.sampled_from(
    [
        ("completed", ""),
        ("failed", "error"),
        ("failed", "not_found"),
        ("crashed", ""),
        ("returned", ""),
        ("stopped", ""),
    ]
)


class Cell(Clients):
    """What schedulers and nodes do."""

    def __init__(self) -> None:
        super().__init__()
        self.incarnations = 0
        self.refilled = False
        self.sent: list[tuple[Node, list[EndReport]]] = []

    def node(self, number: int) -> Node:
        nodes = list(self.model.nodes.values())
        return nodes[number % len(nodes)]

    def is_known(self, node: Node) -> bool:
        """Whether its agent is still heard."""
        return node.state != "dead" and self.model.nodes[node.node_id] is node

    # -- schedulers ---------------------------------------------------------------------------------

    @rule(limit=st.integers(1, 6))
    def place(self, limit: int) -> None:
        answer = self.run(self.store.place(limit))
        assert self.placings() == answer.placed <= limit
        if not answer.more:
            assert self.model.fitting(self.model.up()) == []
        self.settle()

    @rule()
    def place_everything(self) -> None:
        if not self.model.up():
            self.come_up()
        for _ in range(200):
            more = self.run(self.store.place(5)).more
            self.placings()
            if not more:
                break
        else:
            raise AssertionError("place never says that it is done")
        assert self.model.fitting(self.model.up()) == []
        self.settle()

    @rule(limit=st.integers(1, 5), seconds=st.sampled_from([0.3, 1, 5]))
    def promote(self, limit: int, seconds: float) -> None:
        self.now += round(seconds * 1000)
        due = [t for t in self.model.tasks.values() if t.state == State.DELAYED and t.due and t.due <= self.now]
        due.sort(key=lambda t: (t.due, t.task_id))
        for task in due[:limit]:
            self.model.back(task)
        assert self.run(self.store.promote(limit)).promoted == len(due[:limit])
        self.settle()

    @rule(seconds=st.sampled_from([0, 0.3, 1, 3]))
    def sweep(self, seconds: float) -> None:
        self.now += round(seconds * 1000)
        dead = [node for node in self.model.alive() if node.runs_out <= self.now]
        for node in dead:
            self.model.gone(node, "crashed")
        count, lost = self.run(self.store.sweep(gap=AGES))
        assert (count, sorted(lost)) == (len(dead), sorted(self.model.lost))
        self.settle()

    @rule(number=numbers, limit=st.integers(1, 3), crashed=st.booleans())
    def reap(self, number: int, limit: int, crashed: bool) -> None:
        """A batch of what a lost node held; a busy one is lost first where none is."""
        if not any(node.ledger for node in self.model.lost.values()):
            node = self.busy_node(number)
            if crashed and number % 2:
                self.start_tokens(node, list(node.ledger))  # so that all are charged
            self.node_leave(node, crashed)
            self.settle()
        if not self.model.lost:
            return
        name = sorted(self.model.lost, key=lambda name: len(self.model.lost[name].ledger))[-1]
        self.reap_batch(name, limit)
        for other in self.model.alive():  # what a scheduler remembers may be old
            assert self.run(self.store.reap(f"{other.node_id}:{other.incarnation}:crashed", limit)) == (0, 0)

    def reap_batch(self, name: str, limit: int) -> None:
        node = self.model.lost[name]
        reaped, left = self.run(self.store.reap(name, limit))
        kept = self.ledger(node)
        given_back = [token for token in node.ledger if token not in kept]
        assert (reaped, left) == (min(limit, len(node.ledger)), len(kept))
        assert len(given_back) == reaped
        self.model.reaped(name, given_back, self.now)
        self.judged["given back"] += reaped
        self.settle()

    # -- nodes --------------------------------------------------------------------------------------

    @initialize(first=totals, second=totals)
    def two_nodes(self, first: Resources, second: Resources) -> None:
        self.register("a", first, 60)
        self.register("b", second, 5)

    @rule(name=st.sampled_from("abc"), total=totals, ttl=st.sampled_from([2, 5, 60]), late=st.booleans())
    def register(self, name: str, total: Resources, ttl: int, late: bool = False) -> None:
        """A new incarnation; ``late``: after the heartbeat of the one before has run out."""
        if late and name in self.model.nodes:
            self.now = max(self.now, self.model.nodes[name].runs_out)
        self.incarnations += 1
        known = self.model.nodes.get(name)
        labels = CARRIED[self.incarnations % len(CARRIED)]
        op = self.store.node_register(name, f"i{self.incarnations}", total, labels=labels, ttl=ttl)
        if known and known.state != "dead" and known.runs_out > self.now:
            self.refused(op, NodeAlive)
        else:
            if known and known.state != "dead":
                self.model.gone(known, "crashed")
            node = Node(name, f"i{self.incarnations}", total, 1000 * ttl, self.now + 1000 * ttl, frozenset(labels))
            node.state = "draining" if name in self.model.drained else "up"
            self.model.nodes[name] = node
            assert self.run(op) == node.state
        self.settle()

    @rule(
        number=numbers,
        verb=st.sampled_from(["heartbeat", "undrain", "drain", "back", "fault", "recover", "leave", "crash", "again"]),
    )
    def change_node(self, number: int, verb: str) -> None:
        getattr(self, f"node_{verb}")(self.node(number) if verb == "again" else self.busy_node(number))
        self.settle()

    def node_again(self, node: Node) -> None:
        op = self.store.node_register(node.node_id, node.incarnation, node.total, ttl=5)
        if node.state == "dead":
            return self.refused(op, StaleIncarnation)
        assert self.run(op) == node.state
        return None

    def node_heartbeat(self, node: Node) -> None:
        op = self.store.node_heartbeat(node.node_id, node.incarnation, acked=node.ordered)
        if node.state == "dead":
            return self.refused(op, StaleIncarnation)
        node.runs_out, node.acked = self.now + node.ttl, node.ordered
        beat = self.run(op)
        assert (beat.state, beat.ordered) == (node.state, node.ordered)
        return None

    def node_leave(self, node: Node, crashed: bool = False) -> None:
        left = self.run(self.store.node_leave(node.node_id, node.incarnation, crashed=crashed))
        assert left == (node.state != "dead")
        if left:
            self.model.gone(node, "crashed" if crashed else "left")

    def node_crash(self, node: Node) -> None:
        self.node_leave(node, crashed=True)

    def node_drain(self, node: Node, requeue: bool = False) -> None:
        self.model.drained.add(node.node_id)
        if node.state in ("up", "faulty"):
            node.state = "draining"
        if requeue and node.state != "dead":
            for held in [held for held in node.ledger.values() if held.mark != "s"]:
                self.model.stop(self.model.tasks[held.task_id], "back")
        assert self.run(self.store.node_drain(node.node_id, requeue=requeue)) == node.state

    def node_back(self, node: Node) -> None:
        self.node_drain(node, requeue=True)

    def node_undrain(self, node: Node) -> None:
        self.model.drained.discard(node.node_id)
        if node.state == "draining":
            node.state = "faulty" if node.fault else "up"
        assert self.run(self.store.node_undrain(node.node_id)) == node.state

    def node_fault(self, node: Node, text: str = "its folder is gone") -> None:
        """Its machine has a fault, or (``text`` empty) none any more."""
        op = self.store.node_fault(node.node_id, node.incarnation, text)
        if not self.is_known(node):
            return self.refused(op, StaleIncarnation)
        node.fault = text or None
        if node.state != "draining":
            node.state = "faulty" if text else "up"
        assert self.run(op) == node.state
        return None

    def node_recover(self, node: Node) -> None:
        """From a fault that it has, else from one that comes just now: also while it is drained."""
        if not node.fault:
            self.node_fault(node)
            self.settle()
        self.node_fault(node, "")

    def come_up(self) -> None:
        """A node that takes tasks."""
        alive = {node.node_id: node for node in self.model.alive()}
        if alive:
            self.node_undrain(node := next(iter(alive.values())))
            self.node_fault(node, "")
            return self.settle()
        if "a" in self.model.nodes:
            self.node_undrain(self.model.nodes["a"])
        return self.register("a", Resources(6, 1000), 60)

    def busy_node(self, number: int) -> Node:
        """One with attempts on its ledger, if need be after placing what waits; now and then any."""
        if number % 8 == 0:
            return self.node(number)
        if not any(node.ledger for node in self.model.alive()):
            if not self.model.pending():
                self.submit_mixed(number)
            self.place_everything()
        busy = [node for node in self.model.alive() if node.ledger]
        return busy[number % len(busy)] if busy else self.node(number)

    @rule(number=numbers, which=st.lists(numbers, min_size=1, max_size=4))
    def start(self, number: int, which: list[int]) -> None:
        node = self.busy_node(number)
        self.start_tokens(
            node, list(dict.fromkeys(list(node.ledger)[i % len(node.ledger)] for i in which if node.ledger))
        )

    def start_tokens(self, node: Node, tokens: list[str]) -> None:
        op = self.store.task_start(node.node_id, node.incarnation, [*tokens, "none.1"])
        if node.state == "dead":
            self.refused(op, StaleIncarnation)
        else:
            fresh = [node.ledger[token] for token in tokens if node.ledger[token].mark == "a"]
            for held in fresh:
                held.mark = "r"
                self.model.tasks[held.task_id].state = State.RUNNING
            assert self.run(op) == len(fresh)
        self.settle()

    @rule(
        number=numbers,
        ends=st.lists(st.tuples(numbers, outcomes), min_size=1, max_size=4),
        ran=st.booleans(),
        limit=st.integers(1, 9),
        again=st.booleans(),
    )
    def finish(self, number: int, ends: list[tuple[int, tuple[str, str]]], ran: bool, limit: int, again: bool) -> None:
        node = self.busy_node(number)
        reports: dict[str, EndReport] = {}
        for i, (outcome, reason) in ends if node.ledger else []:
            token = list(node.ledger)[i % len(node.ledger)]
            task_id = node.ledger[token].task_id
            reports[token] = EndReport(token, task_id, outcome, 0.1 if ran else None, reason, b"\xc0", "e" * (i * 3))
        self.sent.append((node, list(reports.values())))
        for _ in range(1 + again):  # the driver's retry of a call that had been carried out
            self.report(node, list(reports.values()), limit)

    @rule(number=numbers)
    def finish_all(self, number: int) -> None:
        """A node works off what it has."""
        node = self.busy_node(number)
        reports = [
            EndReport(token, held.task_id, "completed", 0.1, None, b"\xc0") for token, held in node.ledger.items()
        ]
        self.sent.append((node, reports))
        self.report(node, reports, 1 + number % 4)

    @precondition(lambda self: bool(self.sent))
    @rule(number=numbers, limit=st.integers(1, 9))
    def finish_late(self, number: int, limit: int) -> None:
        """A retry that comes when much has happened since."""
        self.report(*self.sent[-1 - number % len(self.sent)], limit)

    def report(self, node: Node, reports: list[EndReport], limit: int) -> None:
        op = self.store.task_finish(node.node_id, node.incarnation, acked=node.ordered, reports=reports, limit=limit)
        if not self.is_known(node):
            self.refused(op, StaleIncarnation)
            return self.settle()
        expected = []
        for report in reports:
            late = self.last_token(report.task_id) == report.token
            answer = self.model.ended(node, report.token, report.outcome, report.reason or "", self.now)
            expected.append(answer if answer == "recorded" else "recorded" if late else "stale")
        finished = self.run(op)
        first = node.ordered + 1
        node.acked = node.ordered
        assert finished.outcomes == expected
        self.judged.update(expected)
        self.placings()
        numbers = [order.number for order in finished.orders]
        assert numbers == list(range(first, first + len(numbers))), f"orders are left out of the reply: {numbers}"
        assert sum(isinstance(order, Start) for order in finished.orders) <= limit
        if len(finished.orders) < limit:
            assert len(finished.orders) == len(node.fresh_orders)
            assert node.state != "up" or self.model.fitting([node]) == []
        return self.settle()

    def last_token(self, task_id: str) -> str | None:
        """The token of the attempt that the record still names: the present one, or that of the outcome."""
        task = self.model.tasks.get(task_id)
        return task.token or task.retried if task else None

    @rule(
        number=numbers,
        which=numbers,
        by=st.tuples(st.sampled_from([-1, 0, 0, 1]), st.sampled_from([-50, -20, 0, 1])),
        late=st.booleans(),
    )
    def resize(self, number: int, which: int, by: tuple[int, int], late: bool) -> None:
        node = self.busy_node(number)
        if not self.is_known(node) or not node.ledger:
            return
        self.resize_by(node, list(node.ledger)[which % len(node.ledger)], by, late)

    def resize_by(self, node: Node, token: str, by: tuple[int, int], late: bool = False) -> None:
        held = node.ledger[token]
        task = self.model.tasks[held.task_id]
        to = held.amount.plus(Resources(*by))
        grows = Resources(max(0, by[0]), max(0, by[1]))
        wanted = task.resized + (not late)
        available = Resources((node.room if to.cpu <= task.need.cpu else node.free).cpu, node.free.memory)
        may = not late and held.mark != "s" and task.asked is None
        if may and min(to) >= 1 and to.fits(task.most) and grows.fits(available):
            node.reclaim(grows.cpu - node.free.cpu)
            held.amount, task.resized = to, wanted
        answer = self.run(
            self.store.task_resize(node.node_id, node.incarnation, token, number=wanted, cpu=to.cpu, memory=to.memory)
        )
        self.placings()
        assert answer.allocation == held.amount
        self.settle()

    @precondition(lambda self: not self.refilled)
    @rule(number=numbers)
    def refill_from_surplus(self, number: int) -> None:
        """One attempt grows into what is free; when another ends, that goes to a task that waits. Once a sequence: it
        takes as long as many other steps."""
        self.refilled = True
        self.submit([(Resources(1, 100), 9, 0)] * 3, retries=0, crash_limit=3, growth=2)
        node = self.busy_node(number)
        for token, held in list(node.ledger.items()):
            room = min(node.free.cpu, self.model.tasks[held.task_id].most.cpu - held.amount.cpu)
            others = [other for other in node.ledger if other != token and node.ledger[other].mark != "s"]
            if self.is_known(node) and node.state == "up" and held.mark != "s" and room > 0 and others:
                self.resize_by(node, token, (room, 0))
                need = Resources(node.free.cpu + node.ledger[others[0]].amount.cpu + 1, 100)
                self.submit([(need, 10, 0)], retries=0, crash_limit=3, growth=0)
                self.report(node, [EndReport(others[0], node.ledger[others[0]].task_id, "completed", 0.1)], 8)
                return


def play(connect: Any, examples: int, phases: Sequence[Phase] = (), first: int | None = None) -> Counter[str]:
    """Many sequences of steps; what they contained. ``first``: which sequence comes first; None: always the same."""
    judged: Counter[str] = Counter()
    machine = type("Machine", (Cell,), {"connect": staticmethod(connect), "judged": judged})
    if first is not None:
        seed(first)(machine)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=60,
            deadline=None,
            phases=phases or settings().phases,
            derandomize="RQ_SCHED_EXAMPLES" not in os.environ,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return judged
