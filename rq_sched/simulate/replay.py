"""Replays a workload through the real scripts, in virtual time. What decides is in Lua; this plays the world around it:
people who submit, and nodes whose tasks end when their time is up.

The world stands still while it is looked at. At each instant, in this order:

1. every arrival of that instant is submitted, by ``task_submit`` without placings of its own;
2. every end of that instant is reported, by ``task_finish``, one call a node, which refills the node;
3. ``place`` is called until it has nothing left;
4. ``reserve`` is called, as a scheduler does twice a second: here where something changed, and when a waiting time
   of its settings has run out.

So a node gives its room away when all its ends and all arrivals of that instant are known: among calls that are
simultaneous in virtual time, none is early. Nodes come in the order of the file, so that the same workload gives the
same schedule.

Calls are sent ahead of their replies (``Stream``): while the server works on the first, the next are made.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rq_sched.config import OFF, SETTINGS
from rq_sched.errors import RqSchedError
from rq_sched.link import Link, Op
from rq_sched.node import Start, Stop
from rq_sched.record import encode
from rq_sched.simulate.machines import Attempt, First, Machine
from rq_sched.simulate.ops import one, together
from rq_sched.simulate.records import BACK, COMPLETED, Records, Reserved
from rq_sched.simulate.workload import Row, Workload
from rq_sched.store import BATCH, PLACE_BATCH, REFILL, Finished, Report, Store
from rq_sched.store import Reserved as Told
from rq_sched.task import TaskRequest

START = 10**12
"""Redis' time at the beginning, ms: some time in 2001, so that no script sees a zero."""
NEVER = 1 << 60
LIFETIME = 10 * 365 * 86_400.0
"""Seconds that a node's heartbeat lasts: nobody sweeps here."""
MOST_PLACE_CALLS = 16
"""Calls of ``place`` that travel together at most."""
FUNCTION = "simulate:run"
SCRIPTS = ("task_submit", "task_finish", "task_start", "task_trim", "place", "reserve", "node_poll")

Progress = Callable[[int, float], None]
"""Called with how many tasks are done, and the virtual time in seconds."""


class Stuck(RqSchedError):
    """The scripts have left tasks that some node could hold, and nothing runs that could make room."""

    code = "stuck"


class Replay:
    """One replay of a workload on a server.

    Parameters:
        link: a line to a server that nobody else uses.
        workload: what to replay.
        known_durations: give each task's duration as its time limit.
        policy: settings to set beforehand.
        refill: whether a report of ends refills the node; else the nodes wait for ``place``.
        progress: told now and then how far it is.
    """

    def __init__(
        self,
        link: Link,
        workload: Workload,
        *,
        known_durations: bool = False,
        policy: Sequence[tuple[str, Any]] = (),
        refill: bool = True,
        progress: Progress | None = None,
    ) -> None:
        self.now = 0
        self.records = Records()
        self.completed = 0
        self.infeasible = sum(row.tasks for row in workload.rows if not workload.feasible(row.need))
        self.decisions = 0
        self.preemptions = 0
        self._link = link
        self._line = link.stream(SCRIPTS)
        self._asked: deque[tuple[Op[Any], int, Callable[[Any], None]]] = deque()
        self._workload = workload
        self._known = known_durations
        self._policy = policy
        self._waits = waits_of(policy)
        self._limit = REFILL if refill else 0
        self._progress = progress or (lambda done, seconds: None)
        self._store = Store("simulate", now_ms=lambda: START + self.now, placings=0)
        self._machines = {node.node_id: Machine(i, node.node_id, f"i{i}") for i, node in enumerate(workload.nodes)}
        self._arrivals: Iterator[Row] = iter(workload.rows)
        self._next: Row | None = next(self._arrivals, None)
        self._ends: list[tuple[int, int, Attempt]] = []
        self._waiting: dict[str, tuple[int, Row]] = {}
        self._preemptible = any(row.preemptible for row in workload.rows)
        self._started: dict[str, list[str]] = {}
        self._first = First()
        self._wake = NEVER
        self._more = self._changed = False
        self._calls = 0
        self._untrimmed = 0

    def run(self) -> None:
        """Replay it to its end.

        Raises:
            Stuck: tasks are left that could run.
        """
        self._set_up()
        turn = 0
        while (instant := self._next_instant()) < NEVER:
            self.now = instant
            self._instant()
            turn += 1
            if turn % 64 == 0:
                self._progress(self.completed, self.now / 1000)
        self._progress(self.completed, self.now / 1000)
        self._line.close()
        if len(self._waiting) > self.infeasible:
            left = len(self._waiting) - self.infeasible
            raise Stuck(f"{left} tasks that some node could hold were never placed: this is a fault of the scripts")

    # -- calls ----------------------------------------------------------------------------------------

    def _ask(self, op: Op[Any], then: Callable[[Any], None]) -> None:
        """Send what an operation of one round trip asks; ``then`` gets its result."""
        requests = next(op)
        self._line.send(requests)
        self._asked.append((op, len(requests), then))

    def _answers(self) -> None:
        """Take all replies, in the order of the calls."""
        while self._asked:
            op, count, then = self._asked.popleft()
            try:
                op.send(self._line.receive(count))
            except StopIteration as stop:
                then(stop.value)
            else:
                raise RqSchedError("an operation of several round trips can't travel with others")

    # -- the world ------------------------------------------------------------------------------------

    def _set_up(self) -> None:
        store = self._store
        ops: list[Op[Any]] = [store.set_setting(name, value) for name, value in self._policy]
        ops += [
            store.node_register(machine.node_id, machine.incarnation, node.total, ttl=LIFETIME)
            for machine, node in zip(self._machines.values(), self._workload.nodes, strict=True)
        ]
        for i in range(0, len(ops), BATCH):
            self._link.run(together(ops[i : i + BATCH]))
        self._more = True  # nodes that join are looked at; these joined long before the first task
        self._place_all()

    def _next_instant(self) -> int:
        arrival = self._next.submit_at if self._next else NEVER
        end = self._ends[0][0] if self._ends else NEVER
        return min(arrival, end, self._wake)

    def _instant(self) -> None:
        """Everything that happens now."""
        arrived = self._submit()
        reports = self._end()
        bites, self._untrimmed = divmod(self._untrimmed, BATCH)
        for _ in range(bites):
            self._ask(self._store.forget(), _ignore)
        if arrived or self._limit == 0:
            self._place(1 + (max(reports, arrived) if self._limit == 0 else arrived) // PLACE_BATCH)
        self._answers()
        self._place_all()
        while self._waits and self._reserve():
            self._place_all()

    def _place_all(self) -> None:
        """Place until nothing is left."""
        calls = 1
        while self._more:
            self._place(calls)
            self._answers()
            calls *= 2
        if self._started:
            for node_id, tokens in self._started.items():
                machine = self._machines[node_id]
                self._ask(self._store.task_start(node_id, machine.incarnation, tokens), _ignore)
            self._started = {}
            self._answers()

    def _submit(self) -> int:
        """Who arrives now."""
        batch: list[Any] = []
        arrived = 0
        while (row := self._next) is not None and row.submit_at <= self.now:
            encoded = encode(self._request(row))
            for k in range(row.tasks):
                task_id = row.name(k)
                encoded[0] = task_id
                batch += encoded
                self._waiting[task_id] = (row.first + k, row)
                arrived += 1
                if arrived % BATCH == 0:
                    self._submit_batch(batch)
                    batch = []
            self._next = next(self._arrivals, None)
        if batch:
            self._submit_batch(batch)
        return arrived

    def _submit_batch(self, batch: list[Any]) -> None:
        self._calls += 1
        self._ask(one(self._store.call("task_submit", f"s{self._calls}", 0, "", *batch)), _check_new)

    def _request(self, row: Row) -> TaskRequest:
        return TaskRequest(
            FUNCTION,
            task_id=row.name(0),
            priority=row.priority,
            cpu_needed=row.need.cpu,
            memory_needed=row.need.memory,
            max_cpu_needed=row.most and row.most.cpu,
            max_memory_needed=row.most and row.most.memory,
            time_limit=row.duration / 1000 if self._known else None,
            preemptible=row.preemptible,
            elastic="off",
        ).check()

    def _end(self) -> int:
        """What ends now; answers on how many nodes."""
        by_node: dict[str, list[Report]] = {}
        ends = self._ends
        while ends and ends[0][0] <= self.now:
            attempt = heapq.heappop(ends)[2]
            if attempt.node.running.pop(attempt.token, None) is None:
                continue  # it was stopped before
            said = by_node.setdefault(attempt.node.node_id, [])
            said.append(Report(attempt.token, attempt.task_id, "completed", (self.now - attempt.start) / 1000))
            self._record(attempt, COMPLETED)
            self.completed += 1
            self._untrimmed += 1
        for node_id in sorted(by_node, key=lambda node_id: self._machines[node_id].place):
            self._finish(self._machines[node_id], by_node[node_id])
        return len(by_node)

    def _finish(self, machine: Machine, reports: list[Report]) -> None:
        op = self._store.task_finish(
            machine.node_id, machine.incarnation, acked=machine.acked, reports=reports, limit=self._limit
        )
        self._ask(op, lambda finished: self._finished(machine, finished))

    def _finished(self, machine: Machine, finished: Finished) -> None:
        if "stale" in finished.outcomes:
            raise RqSchedError(f"node {machine.node_id} was told that a report is stale: it and its ledger disagree")
        if len(finished.orders) >= self._limit:
            self._more = True  # the room that is left stands in `dirty`
        for order in finished.orders:
            if isinstance(order, Start):
                self._start(order.task_id, machine, order.token)

    def _record(self, attempt: Attempt, ended: int) -> None:
        if attempt.start < self.now:
            self.records.add(
                attempt.number, attempt.node.place, attempt.start, self.now, attempt.cpu, attempt.memory, ended
            )

    # -- the scheduler --------------------------------------------------------------------------------

    def _place(self, count: int) -> None:
        """Ask for some bites of placing."""
        for _ in range(min(count, MOST_PLACE_CALLS)):
            self._calls += 1
            self._place_bite(f"p{self._calls}")

    def _place_bite(self, nonce: str) -> None:
        op = one(self._store.call("place", nonce, PLACE_BATCH))
        self._ask(op, lambda reply: self._placed(nonce, *reply))

    def _placed(self, nonce: str, placed: int, more: int, items: bytes) -> None:
        """Takes on what was placed. The i-th task of a call has the token ``NONCE.i`` and the next order of its node:
        nobody needs to read it."""
        self._more = bool(more)
        if placed:
            for i, item in enumerate(items.decode().split(" "), 1):
                task_id, _, where = item.partition("@")
                self._start(task_id, self._machines[where.partition("#")[0]], f"{nonce}.{i}")

    def _start(self, task_id: str, machine: Machine, token: str) -> None:
        number, row = self._waiting.pop(task_id)
        machine.acked += 1
        attempt = Attempt(number, row, task_id, machine, token, self.now, row.need.cpu, row.need.memory)
        machine.running[token] = attempt
        self.decisions += 1
        if self._preemptible:  # only then does the time of the start matter
            self._started.setdefault(machine.node_id, []).append(token)
        if task_id == self._first.task_id:
            self._keep_until_now()
        heapq.heappush(self._ends, (self.now + row.duration, number, attempt))

    def _reserve(self) -> bool:
        """Looks after the first blocked task; answers whether there may be something to place now."""
        before = (self._first.task_id, self._first.node_id)
        stops: list[str] = []
        self._ask(self._store.reserve(), lambda told: self._told(told, stops))
        self._answers()
        for node_id in stops:
            self._stop_on(self._machines[node_id])
        self._set_wake()
        changed = before != (self._first.task_id, self._first.node_id)
        self._more = self._more or bool(stops) or (changed and before[1] is not None)
        return self._more

    def _told(self, told: Told, stops: list[str]) -> None:
        first = self._first
        if told.task_id != first.task_id:
            self._keep_until_now()
            self._first = first = First(told.task_id, None, self.now)
        if told.node_id != first.node_id:
            self._keep_until_now()
            first.node_id, first.kept_since = told.node_id, self.now
        if told.preempted and told.node_id is not None:
            stops.append(told.node_id)

    def _keep_until_now(self) -> None:
        """The reservation, if there is one, ends."""
        first = self._first
        if first.node_id is not None and first.task_id is not None:
            number = self._numbers(first.task_id)
            self.records.reserved.append(
                Reserved(self._machines[first.node_id].place, number, first.kept_since, self.now + 1)
            )
        first.node_id = None

    def _numbers(self, task_id: str) -> int:
        return self._waiting[task_id][0] if task_id in self._waiting else self._just_started(task_id)

    def _just_started(self, task_id: str) -> int:
        return next(
            attempt.number
            for machine in self._machines.values()
            for attempt in machine.running.values()
            if attempt.task_id == task_id
        )

    def _set_wake(self) -> None:
        """When a waiting time of the first blocked task runs out next."""
        first = self._first
        self._wake = NEVER
        if first.task_id is not None:
            self._wake = min(
                (first.since + wait for wait in self._waits if first.since + wait > self.now), default=NEVER
            )
            if self._preemptible and self._waits and self._wake == NEVER and self._ends:
                self._wake = self.now + max(1000, self._waits[-1])  # victims must have run for a while

    def _stop_on(self, machine: Machine) -> None:
        """A node reads its orders, and what it was told to stop has ended."""
        op = self._store.node_poll(machine.node_id, machine.incarnation, acked=machine.acked)
        orders: list[Any] = []
        self._ask(op, orders.extend)
        self._answers()
        reports = []
        for order in orders:
            machine.acked = order.number
            if isinstance(order, Stop) and (attempt := machine.running.pop(order.token, None)):
                reports.append(Report(order.token, order.task_id, "stopped", (self.now - attempt.start) / 1000))
                self._record(attempt, BACK)
                self._waiting[attempt.task_id] = (attempt.number, attempt.row)
                self.preemptions += 1
        self._finish(machine, reports)
        self._answers()


def waits_of(policy: Sequence[tuple[str, Any]]) -> list[int]:
    """After how many ms ``reserve`` may act on a task that is the first to be blocked; none: it need not be called."""
    values = {name: SETTINGS[name].default for name in ("reserve_after", "preempt_after")} | dict(policy)
    seconds = [float(values["reserve_after"]), float(values["preempt_after"])]
    return sorted(round(1000 * wait) for wait in seconds if wait != OFF)


def _ignore(_: Any) -> None:
    """Nothing to do with that answer."""


def _check_new(answers: Any) -> None:
    if answers.count(1) != len(answers):
        raise RqSchedError("two tasks of the workload have the same id")
