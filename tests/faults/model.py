"""A plain model of what the scripts do: lists and dicts, and the rules as sentences. No classes, no groups, no indexes.

The model doesn't choose nodes: it is told which placings happened, in their order, and judges each by promise 4.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from rq_sched.model.resources import Resources
from rq_sched.model.states import FINAL, State

ACTIVE = (State.ASSIGNED, State.RUNNING)
REFUSALS = ("not_found", "not_allowed")
NO_RETRY = (*REFUSALS, "unsendable")
REFUSED_MOST = 16


@dataclass
class Task:
    """A task as the model knows it. ``sequence``: its place among equals, as the record says."""

    task_id: str
    need: Resources
    most: Resources
    priority: int
    retries: int
    crash_limit: int
    sequence: str = ""
    state: State = State.PENDING
    due: int | None = None
    latest: int | None = None  # a back-off begins: it is due between half of this time and then
    attempt: int = 0
    used: int = 0
    crashes: int = 0
    asked: Resources | None = None  # a suspect: what it needed before it had to run alone
    reason: str | None = None
    token: str | None = None
    retried: str | None = None  # token of the attempt that failed last, of a task that goes on
    place: tuple[str, str] | None = None  # node and incarnation of the present attempt
    intention: str | None = None  # what follows the stop: end, requeue, back
    operation: str | None = None
    resized: int = 0  # the number of the last resize of this attempt
    require: frozenset[str] = frozenset()
    refused: frozenset[tuple[str, str]] = frozenset()  # node and incarnation of those that have refused it
    new_sequence: bool = True  # it went to the back in this step: the record says where that is

    def fits(self, node: Node) -> bool:
        """Whether it could be put there now."""
        return self.need.fits(node.room) and self.may_be_on(node)

    def may_be_on(self, node: Node) -> bool:
        return self.require <= node.labels and (node.node_id, node.incarnation) not in self.refused

    @property
    def order(self) -> tuple[int, str]:
        return -self.priority, self.sequence


@dataclass
class Array:
    """An array: nothing but its elements."""

    array_id: str
    elements: list[str]
    forgotten: Counter[State] = field(default_factory=Counter)  # how those ended that aren't there any more


@dataclass
class Held:
    """An allocation on a ledger."""

    task_id: str
    amount: Resources
    need: Resources
    mark: str = "a"

    @property
    def surplus(self) -> int:
        """Cores beyond its need: they are taken back for who needs them."""
        return max(0, self.amount.cpu - self.need.cpu)


@dataclass
class Node:
    """An incarnation of a node."""

    node_id: str
    incarnation: str
    total: Resources
    ttl: int
    runs_out: int
    labels: frozenset[str] = frozenset()
    state: str = "up"
    fault: str | None = None
    lost: str | None = None  # how it was lost, while its tasks wait to be given back
    ledger: dict[str, Held] = field(default_factory=dict)
    acked: int = 0
    ordered: int = 0
    fresh_orders: list[tuple[str, str]] = field(default_factory=list)  # kind and token of those given in this step

    @property
    def free(self) -> Resources:
        free = self.total
        for held in self.ledger.values():
            free = free.minus(held.amount)
        return free

    @property
    def room(self) -> Resources:
        """What a need can have."""
        return self.free.plus(Resources(sum(held.surplus for held in self.ledger.values()), 0))

    def reclaim(self, cores: int) -> None:
        """Take so many cores back, from those first that have most beyond their need."""
        for token, held in sorted(self.ledger.items(), key=lambda item: (-item[1].surplus, item[0])):
            taken = min(cores, held.surplus)
            if taken > 0:
                held.amount = held.amount.minus(Resources(taken, 0))
                self.fresh_orders.append(("resize", token))
                cores -= taken


class Model:
    """The whole cell."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.arrays: dict[str, Array] = {}
        self.nodes: dict[str, Node] = {}  # the latest incarnation of each
        self.lost: dict[str, Node] = {}  # by NODE:INCARNATION:HOW
        self.drained: set[str] = set()

    def pending(self) -> list[Task]:
        """In the order of promise 4."""
        return sorted((t for t in self.tasks.values() if t.state == State.PENDING), key=lambda t: t.order)

    def in_state(self, *states: State) -> list[str]:
        return [t.task_id for t in self.tasks.values() if t.state in states]

    def up(self) -> list[Node]:
        return [n for n in self.nodes.values() if n.state == "up"]

    def alive(self) -> list[Node]:
        return [n for n in self.nodes.values() if n.state != "dead"]

    # -- placing ------------------------------------------------------------------------------------

    def placed(self, node: Node, token: str, task_id: str, amount: Resources) -> None:
        """One placing, right as it happened."""
        task = self.tasks[task_id]
        assert task.state == State.PENDING, f"{task_id} was placed while {task.state}"
        assert node.state == "up", f"{task_id} was placed on {node.node_id}, which is {node.state}"
        assert amount == task.need, f"{task_id} needs {task.need} and got {amount}"
        assert amount.fits(node.room), f"{task_id} needs {amount}; {node.node_id} had room for {node.room}"
        assert (node.node_id, node.incarnation) not in task.refused, f"{task_id} was refused by {node.node_id}"
        assert task.require <= node.labels, f"{task_id} requires {task.require}; {node.node_id} carries {node.labels}"
        passed_over = [t for t in self.pending() if t.order < task.order and t.fits(node)]
        assert not passed_over, f"{task_id} was placed on {node.node_id} before {[t.task_id for t in passed_over]}"
        node.reclaim(amount.cpu - node.free.cpu)
        node.ledger[token] = Held(task_id, amount, task.need)
        node.fresh_orders.append(("start", token))
        task.state, task.attempt, task.token = State.ASSIGNED, task.attempt + 1, token
        task.place = (node.node_id, node.incarnation)

    def fitting(self, nodes: list[Node]) -> list[tuple[str, str]]:
        """Pending tasks that fit on one of the nodes: there must be none where somebody has just looked."""
        return [(t.task_id, n.node_id) for t in self.pending() for n in nodes if t.fits(n)]

    # -- the life of a task -------------------------------------------------------------------------

    def back(self, task: Task, behind: bool = False) -> None:
        """Into its queue: at its old place, or behind its equals."""
        task.state, task.due, task.reason = State.PENDING, None, None
        task.token = task.place = task.intention = None
        task.resized = 0
        task.new_sequence = task.new_sequence or behind

    def end(self, task: Task, state: State, reason: str | None = None) -> None:
        task.state, task.reason, task.retried = state, reason, None
        self._trust(task)

    def _trust(self, task: Task) -> None:
        """It is no suspect any more."""
        if task.asked is not None:
            task.need, task.asked = task.asked, None

    def _suspect(self, task: Task, node: Node) -> None:
        """It needs a whole node: the largest that could hold it, of those that are up; else the one it was on."""
        task.asked = task.asked or task.need
        now = self.nodes[node.node_id]
        able = [n.total for n in self.up() if task.may_be_on(n)]
        for total in [*sorted(able, reverse=True), now.total]:
            if task.asked.fits(total):
                task.need = total
                return

    def ended(self, node: Node, token: str, outcome: str, reason: str, now: int) -> str:
        """A report; the answer to it."""
        if node.ledger.get(token) is None:
            return "unknown"
        held = node.ledger.pop(token)
        task = self.tasks[held.task_id]
        if held.mark == "s":
            if task.intention == "end":
                self.end(task, State.CANCELLED)
            else:
                self.back(task, behind=task.intention == "requeue")
        elif outcome == "completed":
            self.end(task, State.COMPLETED)
        elif outcome == "failed":
            self._failed(task, node, reason, now)
        elif outcome == "crashed":
            self._crashed(task)
        elif outcome == "died among others" and task.crashes + 1 >= task.crash_limit:
            self._suspect(task, node)
            self.back(task)
        elif outcome == "died among others":
            self._crashed(task)
        else:
            self.back(task)
        return "recorded"

    def _failed(self, task: Task, node: Node, reason: str, now: int) -> None:
        if reason in REFUSALS and self._another_may_say(task, node):
            self.back(task)
            return
        if reason in NO_RETRY or task.used >= task.retries:
            self.end(task, State.FAILED, reason)
            return
        self._trust(task)
        task.state, task.reason = State.DELAYED, "retry"
        task.latest = now + min(60_000, 1000 * 2**task.used)
        task.used += 1
        task.retried = task.token
        task.token = task.place = task.intention = None
        task.resized = 0

    def _another_may_say(self, task: Task, node: Node) -> bool:
        """It was refused: whether a node that lives could hold it, and hasn't refused it."""
        self._trust(task)
        before = task.refused
        now = {(n.node_id, n.incarnation) for n in self.nodes.values()}
        task.refused = frozenset(task.refused & now | {(node.node_id, node.incarnation)})
        able = any(task.need.fits(n.total) and task.may_be_on(n) for n in self.alive())
        if len(task.refused) <= REFUSED_MOST and able:
            return True
        task.refused = before
        return False

    def _crashed(self, task: Task) -> None:
        task.crashes += 1
        if task.crashes >= task.crash_limit:
            self.end(task, State.FAILED, "poison")
        else:
            self.back(task)

    def stop(self, task: Task, intention: str) -> None:
        """Tell its node to stop it; its allocation stays."""
        assert task.place is not None
        assert task.token is not None
        task.intention = intention
        node = self.incarnation(*task.place)
        node.ledger[task.token].mark = "s"
        if node.state != "dead" and self.nodes[node.node_id] is node:
            node.fresh_orders.append(("stop", task.token))

    def incarnation(self, node_id: str, incarnation: str) -> Node:
        for node in (*self.nodes.values(), *self.lost.values()):
            if (node.node_id, node.incarnation) == (node_id, incarnation):
                return node
        raise AssertionError(f"nobody answers for {node_id}:{incarnation}")

    def cancelled(self, task: Task, requeue: bool, operation: str) -> str:
        """The answer to a cancel."""
        if task.operation == operation:
            return self._repeated(task)
        if task.state in FINAL:
            return f"already {task.state}"
        if requeue and task.state in (State.DELAYED, State.HELD):
            return "unchanged"  # nothing was done: nothing is remembered
        task.operation = operation
        if task.state in ACTIVE:
            self.stop(task, "end" if task.intention == "end" or not requeue else "requeue")
            return "stopping"
        if not requeue:
            self.end(task, State.CANCELLED)
            return "cancelled"
        self.back(task, behind=True)
        return "requeued"

    def _repeated(self, task: Task) -> str:
        if task.state in ACTIVE:
            return "stopping" if task.intention else "requeued"
        return {State.PENDING: "requeued", State.CANCELLED: "cancelled"}.get(task.state, "unchanged")

    # -- nodes --------------------------------------------------------------------------------------

    def gone(self, node: Node, how: str) -> None:
        if how == "crashed" and len(node.ledger) == 1:
            how = "alone"
        node.state, node.lost, node.fault = "dead", how, None
        self.lost[f"{node.node_id}:{node.incarnation}:{how}"] = node

    def reaped(self, name: str, tokens: list[str], now: int) -> None:
        """Those tokens of a lost incarnation were given back."""
        node = self.lost[name]
        for token in tokens:
            started = node.ledger[token].mark != "a"
            died = {"crashed": "died among others", "alone": "crashed"}.get(node.lost or "")
            self.ended(node, token, died if died and started else "returned", "", now)
        if not node.ledger:
            del self.lost[name]

    def attempts(self) -> Iterator[tuple[Node, str, Held]]:
        """Everything on the ledgers of living nodes."""
        for node in self.alive():
            for token, held in node.ledger.items():
                yield node, token, held
