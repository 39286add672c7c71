"""Replays a workload through the real scripts, in virtual time. What decides is in Lua; this plays the world around it:
people who submit, and nodes whose tasks end when their time is up.

The world stands still while it is looked at. At each instant, in this order:

1. every end of that instant is reported, by ``task_finish`` with a limit of 0: the node then stands in ``dirty``;
2. every arrival of that instant is submitted, by ``task_submit`` without placings of its own;
3. ``place`` is called until it has nothing left.

So all that happens at an instant is known before anything is placed: the outcome doesn't depend on the order in which
calls that are simultaneous reach the server (docs/decisions/ tells what the other way gives). All calls of an instant
travel in one round trip.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rq_sched.errors import RqSchedError
from rq_sched.link import Link, Op
from rq_sched.record import encode
from rq_sched.scripts import Call
from rq_sched.simulate.ops import one, together
from rq_sched.simulate.records import COMPLETED, Records
from rq_sched.simulate.workload import Row, Workload
from rq_sched.store import BATCH, PLACE_BATCH, Report, Store
from rq_sched.task import TaskRequest

START = 10**12
"""Redis' time at the beginning, ms: some time in 2001, so that no script sees a zero."""
NEVER = 1 << 60
LIFETIME = 10 * 365 * 86_400.0
"""Seconds that a node's heartbeat lasts: nobody sweeps here."""
MOST_PLACE_CALLS = 16
"""Calls of ``place`` that travel together at most."""
FUNCTION = "simulate:run"

Progress = Callable[[int, float], None]
"""Called with how many tasks are done, and the virtual time in seconds."""


@dataclass(slots=True)
class Attempt:
    """A task on a node."""

    number: int
    row: Row
    task_id: str
    node: Machine
    token: str
    start: int
    cpu: int
    memory: int


@dataclass(slots=True)
class Machine:
    """A node of the workload, as its agent knows it."""

    place: int
    node_id: str
    incarnation: str
    acked: int = 0
    running: dict[str, Attempt] = field(default_factory=dict)


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
        progress: told now and then how far it is.
    """

    def __init__(
        self,
        link: Link,
        workload: Workload,
        *,
        known_durations: bool = False,
        policy: Sequence[tuple[str, Any]] = (),
        progress: Progress | None = None,
    ) -> None:
        self.now = 0
        self.records = Records()
        self.completed = 0
        self.infeasible = sum(row.tasks for row in workload.rows if not workload.feasible(row.need))
        self.decisions = 0
        self._link = link
        self._workload = workload
        self._known = known_durations
        self._policy = policy
        self._progress = progress or (lambda done, seconds: None)
        self._store = Store("simulate", now_ms=lambda: START + self.now, placings=0)
        self._machines = {
            node.node_id: Machine(i, node.node_id, f"i{i}") for i, node in enumerate(workload.nodes)
        }  # fmt: skip
        self._arrivals: Iterator[Row] = iter(workload.rows)
        self._next: Row | None = next(self._arrivals, None)
        self._ends: list[tuple[int, int, Attempt]] = []
        self._waiting: dict[str, tuple[int, Row]] = {}
        self._calls = 0
        self._untrimmed = 0
        self._ahead = 1

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
            if turn % 256 == 0:
                self._progress(self.completed, self.now / 1000)
        self._progress(self.completed, self.now / 1000)
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

    def _next_instant(self) -> int:
        arrival = self._next.submit_at if self._next else NEVER
        return min(arrival, self._ends[0][0]) if self._ends else arrival

    def _instant(self) -> None:
        """Everything that happens now."""
        reports = self._reports()
        submits, arrived = self._submits()
        trims = self._trims()
        ended = sum(len(op_reports) for _, op_reports in reports)
        ops: list[Op[Any]] = [
            self._store.task_finish(m.node_id, m.incarnation, acked=m.acked, reports=said, limit=0)
            for m, said in reports
        ]
        ops += [one(call) for call in submits]
        ops += [self._store.forget() for _ in range(trims)]
        likely = min(MOST_PLACE_CALLS, 1 + max(len(reports), min(arrived, ended or arrived)) // PLACE_BATCH)
        places = self._place_calls(likely)
        ops += [one(call) for _, call in places]
        replies = self._link.run(together(ops))
        self._check(replies[: len(reports)], replies[len(reports) : len(reports) + len(submits)])
        more = self._placed(places, replies[len(ops) - likely :])
        while more:
            places = self._place_calls(min(MOST_PLACE_CALLS, 2 * likely))
            more = self._placed(places, self._link.run(together([one(call) for _, call in places])))

    def _reports(self) -> list[tuple[Machine, list[Report]]]:
        """What ends now, by node."""
        by_node: dict[str, tuple[Machine, list[Report]]] = {}
        ends = self._ends
        while ends and ends[0][0] <= self.now:
            attempt = heapq.heappop(ends)[2]
            machine = attempt.node
            if machine.running.pop(attempt.token, None) is None:
                continue
            said = by_node.setdefault(machine.node_id, (machine, []))[1]
            said.append(Report(attempt.token, attempt.task_id, "completed", (self.now - attempt.start) / 1000))
            self.records.add(
                attempt.number, machine.place, attempt.start, self.now, attempt.cpu, attempt.memory, COMPLETED
            )
            self.completed += 1
            self._untrimmed += 1
        return list(by_node.values())

    def _submits(self) -> tuple[list[Call], int]:
        """Who arrives now: the calls, and how many they are."""
        calls: list[Call] = []
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
                    calls.append(self._submit_call(batch))
                    batch = []
            self._next = next(self._arrivals, None)
        if batch:
            calls.append(self._submit_call(batch))
        return calls, arrived

    def _submit_call(self, batch: list[Any]) -> Call:
        self._calls += 1
        return self._store.call("task_submit", f"s{self._calls}", 0, "", *batch)

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

    def _trims(self) -> int:
        """How many bites of ended tasks to drop now."""
        bites, self._untrimmed = divmod(self._untrimmed, BATCH)
        return bites

    # -- the scheduler --------------------------------------------------------------------------------

    def _place_calls(self, count: int) -> list[tuple[str, Call]]:
        calls = []
        for _ in range(count):
            self._calls += 1
            nonce = f"p{self._calls}"
            calls.append((nonce, self._store.call("place", nonce, PLACE_BATCH)))
        return calls

    def _placed(self, places: Sequence[tuple[str, Call]], replies: Sequence[Any]) -> bool:
        """Takes on what was placed; answers whether work is left.

        The i-th task of a call has the token ``NONCE.i`` and the next order of its node: nobody needs to read it.
        """
        more = False
        for (nonce, _), (placed, left, items) in zip(places, replies, strict=True):
            more = bool(left)
            if placed:
                for i, item in enumerate(items.decode().split(" "), 1):
                    task_id, _, where = item.partition("@")
                    self._start(task_id, self._machines[where.partition("#")[0]], f"{nonce}.{i}")
        return more

    def _start(self, task_id: str, machine: Machine, token: str) -> None:
        number, row = self._waiting.pop(task_id)
        machine.acked += 1
        attempt = Attempt(number, row, task_id, machine, token, self.now, row.need.cpu, row.need.memory)
        machine.running[token] = attempt
        self.decisions += 1
        heapq.heappush(self._ends, (self.now + row.duration, number, attempt))

    def _check(self, finishes: Sequence[Any], submits: Sequence[Any]) -> None:
        """Nothing may be refused here."""
        for finished in finishes:
            if finished.orders or "stale" in finished.outcomes:
                raise RqSchedError(f"a node's report was answered {finished}: nodes and ledgers disagree")
        for answers in submits:
            if answers.count(1) != len(answers):
                raise RqSchedError("two tasks of the workload have the same id")
