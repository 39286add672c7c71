"""Replays a workload through the real scripts, in virtual time. What decides is in Lua; this plays the world around it:
people who submit, and nodes whose tasks end when their time is up.

The world stands still while it is looked at. At each instant, in this order:

1. every arrival of that instant is submitted, by ``task_submit`` without placings of its own;
2. every end of that instant is reported, by ``task_finish``, one call a node, which refills the node;
3. ``place`` is called until it has nothing left;
4. ``reserve`` is called, as a scheduler does twice a second: here where something changed, and when a waiting time
   of its settings has run out.

So a node gives its room away when all its ends and all arrivals of that instant are known: among calls that are
simultaneous in virtual time, none is early. Nodes come in the order of their names, as in `dirty`, so that the same
workload gives the same schedule.

Calls are sent ahead of their replies (``Stream``): while the server works on the first, the next are made.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rq_sched.errors import RqSchedError
from rq_sched.link import Link, Op
from rq_sched.node import Start, Stop
from rq_sched.record import encode
from rq_sched.resources import Resources
from rq_sched.simulate.calls import Calls
from rq_sched.simulate.elastic import Meter
from rq_sched.simulate.kept import NEVER, Kept
from rq_sched.simulate.machines import Attempt, Machine
from rq_sched.simulate.ops import one, together
from rq_sched.simulate.records import BACK, COMPLETED, RESIZED, Records
from rq_sched.simulate.workload import Row, Workload
from rq_sched.store import BATCH, PLACE_BATCH, REFILL, Finished, Report, Resized, Store
from rq_sched.store import Reserved as Told
from rq_sched.task import TaskRequest

START = 10**12
"""Redis' time at the beginning, ms: some time in 2001, so that no script sees a zero."""
LIFETIME = 10 * 365 * 86_400.0
"""Seconds that a node's heartbeat lasts: nobody sweeps here."""
MOST_PLACE_CALLS = 16
"""Calls of ``place`` that travel together at most."""
FUNCTION = "simulate:run"
SCRIPTS = "task_submit task_finish task_start task_resize task_trim place reserve node_poll".split()  # noqa: SIM905

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
        elastic: ``off``, ``cpu`` or ``all``: what is released by measurement.
        usage: how a task comes to what it used: ``even`` or ``jump`` (see ``elastic.py``).
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
        elastic: str = "off",
        usage: str = "even",
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
        self._line = Calls(link, SCRIPTS)
        self._workload = workload
        self._known = known_durations
        self._policy = policy
        self._elastic = elastic
        self._usage = usage
        self._samples: list[tuple[int, int, Meter]] = []
        self._unreleased: set[int] = set()
        self.hurt = 0
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
        self._kept = Kept(policy, self._preemptible, self.records.reserved)
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
        sample = self._samples[0][0] if self._samples else NEVER
        return min(arrival, end, sample, self._wake)

    def _instant(self) -> None:
        """Everything that happens now."""
        arrived = self._submit()
        reports = self._end()
        if self._samples:
            self._measure(apart=bool(arrived or reports))
        bites, self._untrimmed = divmod(self._untrimmed, BATCH)
        for _ in range(bites):
            self._line.ask(self._store.forget(), _ignore)
        if arrived or self._limit == 0:
            self._place(1 + (max(reports, arrived) if self._limit == 0 else arrived) // PLACE_BATCH)
        self._line.answers()
        self._place_all()
        while self._kept.wanted and self._reserve():
            self._place_all()

    def _place_all(self) -> None:
        """Place until nothing is left."""
        calls = 1
        while self._more:
            self._place(calls)
            self._line.answers()
            calls *= 2
        if self._started:
            for node_id, tokens in self._started.items():
                machine = self._machines[node_id]
                self._line.ask(self._store.task_start(node_id, machine.incarnation, tokens), _ignore)
            self._started = {}
            self._line.answers()

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
        self._line.ask(one(self._store.call("task_submit", f"s{self._calls}", 0, "", *batch)), _check_new)

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
            elastic=self._elastic,
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
        for node_id in sorted(by_node):
            self._finish(self._machines[node_id], by_node[node_id])
        return len(by_node)

    def _finish(self, machine: Machine, reports: list[Report]) -> None:
        op = self._store.task_finish(
            machine.node_id, machine.incarnation, acked=machine.acked, reports=reports, limit=self._limit
        )
        self._line.ask(op, lambda finished: self._finished(machine, finished))

    def _finished(self, machine: Machine, finished: Finished) -> None:
        if "stale" in finished.outcomes:
            raise RqSchedError(f"node {machine.node_id} was told that a report is stale: it and its ledger disagree")
        if len(finished.orders) >= self._limit:
            self._more = True  # the room that is left stands in `dirty`
        for order in finished.orders:
            if isinstance(order, Start):
                self._start(order.task_id, machine, order.token)

    def _record(self, attempt: Attempt, ended: int) -> None:
        if attempt.since < self.now:
            self.records.add(
                attempt.number, attempt.node.place, attempt.since, self.now, attempt.cpu, attempt.memory, ended
            )
            attempt.since = self.now

    # -- the scheduler --------------------------------------------------------------------------------

    def _place(self, count: int) -> None:
        """Ask for some bites of placing."""
        for _ in range(min(count, MOST_PLACE_CALLS)):
            self._calls += 1
            self._place_bite(f"p{self._calls}")

    def _place_bite(self, nonce: str) -> None:
        op = one(self._store.call("place", nonce, PLACE_BATCH))
        self._line.ask(op, lambda reply: self._placed(nonce, *reply))

    def _placed(self, nonce: str, placed: int, more: int, items: bytes) -> None:
        """Takes on what was placed. The i-th task of a call has the next order of its node, and the token
        ``NONCE.i.ORDER``: nobody needs to read it."""
        self._more = bool(more)
        if placed:
            for i, item in enumerate(items.decode().split(" "), 1):
                task_id, _, where = item.partition("@")
                machine = self._machines[where.partition("#")[0]]
                self._start(task_id, machine, f"{nonce}.{i}.{machine.acked + 1}")

    def _start(self, task_id: str, machine: Machine, token: str) -> None:
        number, row = self._waiting.pop(task_id)
        machine.acked += 1
        attempt = Attempt(number, row, task_id, machine, token, self.now, row.need.cpu, row.need.memory, self.now)
        machine.running[token] = attempt
        self.decisions += 1
        if self._preemptible:  # only then does the time of the start matter
            self._started.setdefault(machine.node_id, []).append(token)
        if task_id == self._kept.task_id:
            self._kept.ended(self.now)
        heapq.heappush(self._ends, (self.now + row.duration, number, attempt))
        if self._elastic != "off" and row.memory_used is not None:
            policy = "cpu" if number in self._unreleased else self._elastic
            self._sample_later(Meter(attempt, policy, self._usage))

    def _reserve(self) -> bool:
        """Looks after the first blocked task; answers whether there may be something to place now."""
        answers: list[Told] = []
        self._line.ask(self._store.reserve(), answers.append)
        self._line.answers()
        told = answers[0]
        number = self._waiting[told.kept_for][0] if told.kept_for is not None else 0
        machine = self._machines[told.node_id] if told.node_id is not None else None
        lifted = self._kept.told(
            self.now, told.task_id, told.kept_for, number, None if machine is None else machine.place
        )
        if told.preempted and machine is not None:
            self._read_orders(machine)
        self._wake = self._kept.wake(self.now, busy=bool(self._ends))
        self._more = self._more or lifted or told.preempted > 0
        return self._more

    def _read_orders(self, machine: Machine) -> None:
        """A node reads its orders: it starts what it is to start, and what it was told to stop has ended."""
        op = self._store.node_poll(machine.node_id, machine.incarnation, acked=machine.acked)
        orders: list[Any] = []
        self._line.ask(op, orders.extend)
        self._line.answers()
        reports = []
        for order in orders:
            if isinstance(order, Start):
                self._start(order.task_id, machine, order.token)
            machine.acked = order.number
            if isinstance(order, Stop) and (attempt := machine.running.pop(order.token, None)):
                reports.append(Report(order.token, order.task_id, "stopped", (self.now - attempt.start) / 1000))
                self._back(attempt)
                self.preemptions += 1
        if reports:
            self._finish(machine, reports)
            self._line.answers()

    def _back(self, attempt: Attempt) -> None:
        """It was stopped, and waits again."""
        self._record(attempt, BACK)
        self._waiting[attempt.task_id] = (attempt.number, attempt.row)

    # -- measuring ------------------------------------------------------------------------------------

    def _sample_later(self, meter: Meter) -> None:
        at = meter.next_sample(self.now)
        if at is not None:
            heapq.heappush(self._samples, (at, meter.attempt.number, meter))

    def _measure(self, apart: bool) -> None:
        """The samples that are due, one a node; where something else happens at this instant, a ms later: what a node
        gives back must not be handed out before all that happens at an instant is known."""
        seen: set[int] = set()
        later = []
        while self._samples and self._samples[0][0] <= self.now:
            _, number, meter = heapq.heappop(self._samples)
            attempt = meter.attempt
            if attempt.token not in attempt.node.running:
                continue
            if apart or attempt.node.place in seen:
                later.append((self.now + 1, number, meter))
                continue
            seen.add(attempt.node.place)
            self._sample(meter)
        for entry in later:
            heapq.heappush(self._samples, entry)

    def _sample(self, meter: Meter) -> None:
        attempt = meter.attempt
        for wish in meter.wishes(self.now):
            self._resize(meter, wish)
        if not meter.short(self.now):
            self._sample_later(meter)
            return
        self.hurt += 1
        self._unreleased.add(attempt.number)
        del attempt.node.running[attempt.token]
        self._back(attempt)
        ran = (self.now - attempt.start) / 1000
        self._finish(attempt.node, [Report(attempt.token, attempt.task_id, "failed", ran, "oom", error="killed")])
        self._line.answers()

    def _resize(self, meter: Meter, wish: Resources) -> None:
        attempt = meter.attempt
        node, number = attempt.node, meter.number()
        op = self._store.task_resize(
            node.node_id, node.incarnation, attempt.token, number=number, cpu=wish.cpu, memory=wish.memory
        )
        got: list[Resized] = []
        self._line.ask(op, got.append)
        self._line.answers()
        now_held = got[0].allocation
        if now_held != (attempt.cpu, attempt.memory):
            self._record(attempt, RESIZED)
        meter.answered(self.now, wish, now_held)
        self._read_orders(node)


def _ignore(_: Any) -> None:
    """Nothing to do with that answer."""


def _check_new(answers: Any) -> None:
    if answers.count(1) != len(answers):
        raise RqSchedError("two tasks of the workload have the same id")
