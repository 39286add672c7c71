"""The nodes and tasks of a replay: what is asked of the scripts, and what is known from their answers."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rq_sched.errors import RqSchedError, TooManyLabelSets
from rq_sched.link import Link, Op
from rq_sched.link.together import together
from rq_sched.model.asked import units
from rq_sched.model.offers import offered
from rq_sched.model.orders import Start, Stop
from rq_sched.model.resources import Resources
from rq_sched.model.task import TaskRequest
from rq_sched.simulate.calls import Calls
from rq_sched.simulate.machines import Machine, PlayedAttempt
from rq_sched.simulate.ops import one
from rq_sched.simulate.records import BACK, COMPLETED, RESIZED, Records
from rq_sched.simulate.reservation import ReservationFollower
from rq_sched.simulate.workload import Row, Workload
from rq_sched.store import Store
from rq_sched.store.answers import EndReport, Finished, Reserved, Resized
from rq_sched.store.base import BATCH
from rq_sched.store.requests import encode
from rq_sched.store.scheduling import PLACE_BATCH
from rq_sched.store.submit import WORDS

START = 10**12
"""Redis' time at the beginning, ms: some time in 2001, so that no script sees a zero."""
LIFETIME = 10 * 365 * 86_400.0
"""Seconds that a node's heartbeat lasts: nobody sweeps here."""
FUNCTION = "simulate:run"
RELEASING = 2
"""What ``place`` says where ends are left to be told."""
SCRIPTS = """
    task_submit graph_submit task_await task_release task_finish task_start task_resize task_trim task_expire place
    reserve node_poll
""".split()  # noqa: SIM905


class Cell:
    """Nodes, and tasks that wait, run and end.

    Parameters:
        link: a line to a server that nobody else uses.
        workload: its nodes.
        policy: settings to set beforehand.
        known_durations: give each task's duration as its time limit.
        elastic: the tasks' ``elastic``.
        refill: tasks that a report of ends may bring back at most.
        started: told of each attempt that begins.
    """

    def __init__(
        self,
        link: Link,
        workload: Workload,
        *,
        policy: Sequence[tuple[str, Any]],
        known_durations: bool,
        elastic: str,
        refill: int,
        started: Callable[[PlayedAttempt], None],
    ) -> None:
        self.now = 0
        self.records = Records()
        self.completed = self.decisions = self.preemptions = 0
        self.more = False
        """Whether a scheduler would be woken: there may be something to place."""
        self.waiting: dict[str, tuple[int, Row]] = {}
        self.deadlines: list[tuple[int, int, Row]] = []
        """Of all that has arrived with one, as a heap."""
        self.expired = 0
        self._begun: set[str] = set()  # of those with a deadline
        self.ends: list[tuple[int, int, PlayedAttempt]] = []
        """Of all that runs, as a heap: when it will end."""
        self.line = Calls(link, SCRIPTS)
        preemptible = any(row.preemptible for row in workload.rows)
        self.reservation = ReservationFollower(policy, preemptible, self.records.reserved)
        self._store = Store("simulate", now_ms=lambda: START + self.now, placings=0)
        self._machines = {node.node_id: Machine(i, node.node_id, f"i{i}") for i, node in enumerate(workload.nodes)}
        self._known, self._elastic, self._refill = known_durations, elastic, refill
        self._started = started
        self._workload = workload
        self._is_graph = any(row.after for row in workload.rows)
        self._starts_matter = preemptible  # else the time of a start doesn't, and isn't reported
        self._starts: dict[str, list[str]] = {}
        self._calls = 0
        self._untrimmed = 0
        self._set_up(link, workload, policy)

    def _set_up(self, link: Link, workload: Workload, policy: Sequence[tuple[str, Any]]) -> None:
        ops: list[Op[Any]] = [self._store.set_setting(name, value) for name, value in policy]
        ops += [self._store.limit_set(name, most) for name, most in workload.limits.items()]
        ops += [
            self._store.node_register(
                machine.node_id,
                machine.incarnation,
                node.total,
                labels=node.labels,
                ttl=LIFETIME,
                resources=offered(node.offers),
            )
            for machine, node in zip(self._machines.values(), workload.nodes, strict=True)
        ]
        for i in range(0, len(ops), BATCH):
            link.run(together(*ops[i : i + BATCH]))
        self.more = True  # nodes that join are looked at

    def _ask(self, op: Op[Any], then: Callable[[Any], None]) -> None:
        self.line.ask(self.now, op, then)

    def _now(self, op: Op[Any]) -> Any:
        """Ask, and take all answers; this one's result."""
        results: list[Any] = []
        self._ask(op, results.append)
        self.line.answers()
        return results[0]

    # -- tasks that arrive and end ---------------------------------------------------------------------

    def submit(self, rows: Iterable[Row]) -> int:
        """Submit the tasks of these rows; answers how many they are."""
        batch: list[Any] = []
        arrived = 0
        for row in rows:
            if row.expires is not None:
                heapq.heappush(self.deadlines, (row.expires, row.first, row))
            if row.after:
                self._submit_batch(batch)
                batch = []
                arrived += self._submit_waiting(row)
                continue
            _, *encoded = encode(self._request(row))
            for k in range(row.tasks):
                task_id = row.name(k)
                batch += (task_id, *encoded)
                self.waiting[task_id] = (row.first + k, row)
                arrived += 1
                if arrived % BATCH == 0:
                    self._submit_batch(batch)
                    batch = []
        self._submit_batch(batch)
        return arrived

    def _submit_waiting(self, row: Row) -> int:
        """Submit the tasks of a row that wait for others; answers how many they are."""
        after = [parent.name(k) for parent in self._workload.parents(row) for k in range(parent.tasks)]
        requests = [self._request(row, k, after) for k in range(row.tasks)]
        for k, request in enumerate(requests):
            self.waiting[str(request.task_id)] = (row.first + k, row)
        for call in self._store.graph_calls(requests):
            self._ask(one(call), _check_new if call.script.name == "graph_submit" else _ignore)
        return row.tasks

    def _submit_batch(self, batch: list[Any]) -> None:
        if not batch:
            return
        self._calls += 1
        self._ask(one(self._store.call("task_submit", f"s{self._calls}", 0, "", *batch)), _check_new)

    def _request(self, row: Row, k: int = 0, after: Sequence[str] = ()) -> TaskRequest:
        return TaskRequest(
            FUNCTION,
            task_id=row.name(k),
            after=after,
            priority=row.priority,
            cpu_needed=row.need.cpu,
            memory_needed=row.need.memory,
            max_cpu_needed=row.most and row.most.cpu,
            max_memory_needed=row.most and row.most.memory,
            time_limit=row.duration / 1000 if self._known else None,
            preemptible=row.preemptible,
            require=row.require,
            deadline=row.deadline and row.deadline / 1000,
            limits=dict(row.limits) or None,
            resources={name: units(amount) for name, amount in row.resources} or None,
            elastic=self._elastic,
        ).check()

    def end(self) -> int:
        """Report what ends now, node by node; answers on how many nodes."""
        by_node: dict[str, list[EndReport]] = {}
        ends = self.ends
        while ends and ends[0][0] <= self.now:
            attempt = heapq.heappop(ends)[2]
            if attempt.node.running.pop(attempt.token, None) is None:
                continue  # it was stopped before
            said = by_node.setdefault(attempt.node.node_id, [])
            said.append(EndReport(attempt.token, attempt.task_id, "completed", (self.now - attempt.start) / 1000))
            self._record(attempt, COMPLETED)
            self.completed += 1
            self._untrimmed += 1
        for node_id in sorted(by_node):
            self._finish(self._machines[node_id], by_node[node_id])
        return len(by_node)

    def killed(self, attempt: PlayedAttempt) -> None:
        """It was killed for memory that had been taken from it, and waits again."""
        del attempt.node.running[attempt.token]
        self._back(attempt)
        ran = (self.now - attempt.start) / 1000
        self._finish(attempt.node, [EndReport(attempt.token, attempt.task_id, "failed", ran, "oom", error="killed")])
        self.line.answers()

    def _finish(self, machine: Machine, reports: list[EndReport]) -> None:
        if machine.asked:  # what it was given then must be acknowledged now
            self.line.answers()
        machine.asked = True
        now = self.now
        op = self._store.task_finish(
            machine.node_id, machine.incarnation, acked=machine.acked, reports=reports, limit=self._refill
        )
        self._ask(op, lambda finished: self._finished(now, machine, finished))

    def _finished(self, now: int, machine: Machine, finished: Finished) -> None:
        machine.asked = False
        self.more = self.more or self._is_graph  # others may have been released, which fit elsewhere
        if "stale" in finished.outcomes:
            raise RqSchedError(f"node {machine.node_id} was told that a report is stale: it and its ledger disagree")
        if len(finished.orders) >= self._refill:
            self.more = True  # the room that is left stands in `dirty`
        for order in finished.orders:
            if isinstance(order, Start):
                self._start(now, order.task_id, machine, order.token, order.held)

    def _back(self, attempt: PlayedAttempt) -> None:
        """It was stopped, and waits again."""
        self._record(attempt, BACK)
        self.waiting[attempt.task_id] = (attempt.number, attempt.row)

    def _record(self, attempt: PlayedAttempt, ended: int) -> None:
        if attempt.since < self.now:
            self.records.add(
                attempt.number,
                attempt.node.place,
                attempt.since,
                self.now,
                attempt.cpu,
                attempt.memory,
                ended,
                attempt.held,
            )
            attempt.since = self.now

    def expire(self) -> None:
        """Deadlines pass: tasks that haven't started by now fail."""
        self.line.answers()
        while self._now(self._store.expire()):
            pass
        while self.deadlines and self.deadlines[0][0] <= self.now:
            _, _, row = heapq.heappop(self.deadlines)
            late = [
                name for name in map(row.name, range(row.tasks)) if name in self.waiting and name not in self._begun
            ]
            for task_id in late:
                del self.waiting[task_id]
                if task_id == self.reservation.task_id:
                    self.reservation.ended(self.now)
            self.expired += len(late)
        self.more = True  # a node that was kept may be free for all

    def trim(self) -> None:
        """Drop ended tasks, so many as have ended."""
        batches, self._untrimmed = divmod(self._untrimmed, BATCH)
        for _ in range(batches):
            self._ask(self._store.forget(), _ignore)

    # -- the scheduler --------------------------------------------------------------------------------

    def place(self, calls: int) -> None:
        """Ask for some batches of placing."""
        for _ in range(calls):
            self._calls += 1
            self._place_batch(f"p{self._calls}")

    def _place_batch(self, nonce: str) -> None:
        op = one(self._store.call("place", nonce, PLACE_BATCH))
        self._ask(op, lambda reply: self._placed(nonce, *reply))

    def _placed(self, nonce: str, placed: int, more: int, items: bytes) -> None:
        """Takes on what was placed. The i-th task of a call has the next order of its node, and the token
        ``NONCE.i.ORDER``: nobody needs to read it."""
        self.more = bool(more)
        if more == RELEASING:
            self._ask(self._store.release(), _ignore)
        if placed:
            for i, item in enumerate(items.decode().split(" "), 1):
                task_id, _, where = item.partition("@")
                machine = self._machines[where.partition("#")[0]]
                attempt = self._start(self.now, task_id, machine, f"{nonce}.{i}.{machine.acked + 1}")
                if attempt.row.resources:
                    self._ask_held(attempt)

    def _ask_held(self, attempt: PlayedAttempt) -> None:
        """What it holds stands in the ledger."""

        def hold(entry: bytes) -> None:
            attempt.held = entry.decode().split(":", 4)[4]

        ledger = self._store.keys.ledger(attempt.node.node_id, attempt.node.incarnation)
        self._ask(one(("HGET", ledger, attempt.token)), hold)

    def _start(self, now: int, task_id: str, machine: Machine, token: str, held: str = "") -> PlayedAttempt:
        number, row = self.waiting.pop(task_id)
        if row.deadline is not None:
            self._begun.add(task_id)
        machine.acked += 1
        attempt = PlayedAttempt(number, row, task_id, machine, token, now, row.need.cpu, row.need.memory, now, held)
        machine.running[token] = attempt
        self.decisions += 1
        if self._starts_matter:
            self._starts.setdefault(machine.node_id, []).append(token)
        if task_id == self.reservation.task_id:
            self.reservation.ended(now)
            self.more = True  # the node that was kept is free for all
        heapq.heappush(self.ends, (now + row.duration, number, attempt))
        self._started(attempt)
        return attempt

    def report_starts(self) -> None:
        """What has started at this instant, where that matters."""
        for node_id, tokens in self._starts.items():
            machine = self._machines[node_id]
            self._ask(self._store.task_start(node_id, machine.incarnation, tokens), _ignore)
        self._starts = {}
        self.line.answers()

    def reserve(self) -> bool:
        """Look after the first blocked task; answers whether there may be something to place now."""
        reply: Reserved = self._now(self._store.reserve())
        number = self.waiting[reply.kept_for][0] if reply.kept_for is not None else 0
        machine = self._machines[reply.node_id] if reply.node_id is not None else None
        lifted = self.reservation.update(
            self.now, reply.task_id, reply.kept_for, number, None if machine is None else machine.place
        )
        if reply.preempted and machine is not None:
            self.read_orders(machine)
        self.more = self.more or lifted or reply.preempted > 0
        return self.more

    def read_orders(self, machine: Machine) -> None:
        """A node reads its orders: it starts what it is to start, and what it was told to stop has ended."""
        orders = self._now(self._store.node_poll(machine.node_id, machine.incarnation, acked=machine.acked))
        reports = []
        for order in orders:
            if isinstance(order, Start):
                self._start(self.now, order.task_id, machine, order.token, order.held)
            machine.acked = order.number
            if isinstance(order, Stop) and (attempt := machine.running.pop(order.token, None)):
                reports.append(EndReport(order.token, order.task_id, "stopped", (self.now - attempt.start) / 1000))
                self._back(attempt)
                self.preemptions += 1
        if reports:
            self._finish(machine, reports)
            self.line.answers()

    def resize(self, attempt: PlayedAttempt, number: int, wish: Resources) -> Resources:
        """Ask for another allocation, with the agent's number of the wish; answers what it is from now on."""
        node = attempt.node
        op = self._store.task_resize(
            node.node_id, node.incarnation, attempt.token, number=number, cpu=wish.cpu, memory=wish.memory
        )
        resized: Resized = self._now(op)
        if resized.allocation != (attempt.cpu, attempt.memory):
            self._record(attempt, RESIZED)
        return resized.allocation


def _ignore(_: Any) -> None:
    """Nothing to do with that answer."""


def _check_new(answers: Any) -> None:
    outcomes = {WORDS[answer] for answer in answers}
    if "crowded" in outcomes:
        raise TooManyLabelSets("tasks of too many sets of labels wait at once in the workload (docs/resources.md)")
    if outcomes != {"new"}:
        raise RqSchedError("two tasks of the workload have the same id")
