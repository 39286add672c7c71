"""Replays a workload through the real scripts, in virtual time. What decides is in Lua; this plays the world around it:
people who submit, and nodes whose tasks end when their time is up.

The world stands still while it is looked at. At each instant, in this order:

1. every arrival of that instant is submitted, by ``task_submit`` without placings of its own;
2. every end of that instant is reported, by ``task_finish``, one call a node, which refills the node;
3. ``place`` is called until it has nothing left;
4. ``reserve`` is called, at half seconds, as schedulers do: if something has changed since, or when a waiting time of
   its settings has run out.

So a node gives its room away when all its ends and all arrivals of that instant are known: among calls that are
simultaneous in virtual time, none is early. Nodes come in the order of their names, as in `dirty`, so that the same
workload gives the same schedule.

Calls are sent ahead of their replies (``Calls``): while the server works on the first, the next are made. Ends of later
instants too, as long as what was asked can't change them: a task that isn't known yet to have started ends no sooner
than the shortest task lasts (the lookahead of conservative parallel simulation: K. M. Chandy, J. Misra, *Distributed
simulation*, IEEE Trans. Software Eng. SE-5, 1979).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rq_sched.errors import RqSchedError
from rq_sched.link import Link
from rq_sched.simulate.cell import Cell
from rq_sched.simulate.records import Records
from rq_sched.simulate.reservation import NEVER
from rq_sched.simulate.sampling import Sampling
from rq_sched.simulate.workload import Row, Workload
from rq_sched.store.attempts import REFILL
from rq_sched.store.scheduling import PLACE_BATCH

RESERVE_EVERY = 500
"""ms between two calls of ``reserve``, as a scheduler makes them."""
MOST_PLACE_CALLS = 16
"""Calls of ``place`` that travel together at most."""

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
        nowhere = [row for row in workload.rows if not workload.feasible(row)]
        self.infeasible = sum(row.tasks for row in nowhere)
        self._nowhere = {row.task_id for row in nowhere}
        self.sampling = Sampling(elastic, usage)
        self.cell = Cell(
            link,
            workload,
            policy=policy,
            known_durations=known_durations,
            elastic=elastic,
            refill=REFILL if refill else 0,
            started=self.sampling.started,
        )
        self._arrivals: Iterator[Row] = iter(workload.rows)
        self._next: Row | None = next(self._arrivals, None)
        self._refill = refill
        self.lookahead = self._lookahead(workload)
        self._reserve_at = NEVER
        self._progress = progress or (lambda done, seconds: None)

    @property
    def records(self) -> Records:
        return self.cell.records

    def run(self) -> None:
        """Replay it to its end.

        Raises:
            Stuck: tasks are left that could run.
        """
        cell = self.cell
        self._place_all()  # nodes that join are looked at; these joined long before the first task
        turn = 0
        while (instant := self._next_instant()) < NEVER:
            cell.now = instant
            self._instant()
            turn += 1
            if turn % 64 == 0:
                self._progress(cell.completed, cell.now / 1000)
        self._progress(cell.completed, cell.now / 1000)
        cell.line.close()
        if left := sum(row.task_id not in self._nowhere for _, row in cell.waiting.values()):
            raise Stuck(f"{left} tasks that some node could hold were never placed: this is a fault of the scripts")

    def _lookahead(self, workload: Workload) -> int:
        """How much later (ms) than a call without an answer an instant may be. 0, where an answer may ask for more than
        the ends of what it started: samples, reports of starts, tasks that are released, or ``place``, for a node that
        can't be told of all its new tasks at once."""
        small = all(node.total.cpu < REFILL for node in workload.nodes)
        if not self._refill or not small or self.sampling.on or any(r.preemptible or r.after for r in workload.rows):
            return 0
        return min((row.duration for row in workload.rows), default=0)

    def _next_instant(self) -> int:
        """When something happens next: so many answers are taken that this is certain."""
        line, ends = self.cell.line, self.cell.ends
        arrival = self._next.submit_at if self._next else NEVER
        deadline = self.cell.deadlines[0][0] if self.cell.deadlines else NEVER
        other = min(arrival, deadline, self.sampling.next(), self._reserve_at)
        while True:
            instant = min(other, ends[0][0]) if ends else other
            if line.since is None or instant < line.since + self.lookahead:
                return instant
            line.answer()

    def _instant(self) -> None:
        """Everything that happens now."""
        cell, now = self.cell, self.cell.now
        expired = bool(cell.deadlines) and cell.deadlines[0][0] <= now
        if expired:
            cell.expire()
        arrived = cell.submit(self._arrived())
        ended = cell.end()
        if self.sampling.next() <= now:
            self.sampling.measure(cell, apart=bool(arrived or ended))
        cell.trim()
        if arrived or not self._refill:
            self._place(1 + (arrived if self._refill else max(ended, arrived)) // PLACE_BATCH)
        if cell.reservation.wanted:
            self._reserve_at = min(self._reserve_at, _half_second(now))
        due = now >= self._reserve_at
        if arrived or expired or due or not self.lookahead or cell.reservation.node is not None:
            cell.line.answers()
            self._place_all()
        if due:
            self._reserve_at = self._reserve()

    def _arrived(self) -> Iterator[Row]:
        while (row := self._next) is not None and row.submit_at <= self.cell.now:
            yield row
            self._next = next(self._arrivals, None)

    def _place(self, calls: int) -> None:
        self.cell.place(min(calls, MOST_PLACE_CALLS))

    def _place_all(self) -> None:
        """Place until nothing is left."""
        calls = 1
        while self.cell.more:
            self._place(calls)
            self.cell.line.answers()
            calls *= 2
        self.cell.report_starts()

    def _reserve(self) -> int:
        """Call ``reserve``; answers when it must be called again although nothing else happens."""
        cell = self.cell
        if cell.reserve():
            self._place_all()
            return cell.now + RESERVE_EVERY
        return _half_second(cell.reservation.wake(cell.now, busy=bool(cell.ends)))


def _half_second(at: int) -> int:
    """The half second that comes next, or is then."""
    return -(-at // RESERVE_EVERY) * RESERVE_EVERY
