"""What a schedule is worth, from its raw records: makespan and its lower bound, waits, slowdowns, utilisation.

- The makespan is the time from the first arrival to the last end.
- A task's wait is the time from its arrival to its first start.
- Its bounded slowdown is (wait + run) / max(run, 10 s), at least 1; for one that ran several times: of its last run,
  with everything before it as wait.
- The lower bound is what no scheduler could beat on these nodes: the largest of the area bounds (from each arrival on,
  all work that arrives from there on needs so long even with every core, or every megabyte, in use) and of each
  task's arrival + duration. Tasks that fit no node are left out everywhere.
- The widest tasks are those with the largest share (to 1 %) of the largest node's CPU or memory, whichever is more.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

from rq_sched.model.asked import UNIT
from rq_sched.model.held import read_held
from rq_sched.model.resources import Resources
from rq_sched.simulate.records import COMPLETED, RESIZED, Records
from rq_sched.simulate.workload import Row, Workload

SHORT = 10_000
"""ms: a shorter run counts as this long in the bounded slowdown."""
POINTS = 500
"""Points of the series that are drawn."""


@dataclass(slots=True)
class Waits:
    """Waits and bounded slowdowns of some tasks, in ms."""

    waits: list[int] = field(default_factory=list)
    slowdown: float = 0.0

    def add(self, wait: int, slowdown: float) -> None:
        self.waits.append(wait)
        self.slowdown += slowdown

    @property
    def mean(self) -> float:
        return sum(self.waits) / len(self.waits) / 1000 if self.waits else 0.0

    @property
    def longest(self) -> float:
        return max(self.waits, default=0) / 1000

    @property
    def mean_slowdown(self) -> float:
        return self.slowdown / len(self.waits) if self.waits else 1.0

    def percentile(self, share: float) -> float:
        """The wait (s) that this share of the tasks doesn't exceed."""
        if not self.waits:
            return 0.0
        return sorted(self.waits)[max(0, math.ceil(share * len(self.waits)) - 1)] / 1000


@dataclass(slots=True)
class Measures:
    """All of them. Times in seconds."""

    makespan: float
    lower_bound: float
    all: Waits
    widest: Waits
    by_priority: dict[int, Waits]
    cpu_utilisation: float
    memory_utilisation: float
    resource_utilisation: dict[str, float]
    concurrency: float
    peak_concurrency: int


def measure(workload: Workload, records: Records) -> Measures:
    """Every measure of a schedule."""
    first = min((row.submit_at for row in workload.rows if row.tasks), default=0)
    span = max(records.end, default=first) - first
    total = total_of(workload)
    cpu = memory = held = 0
    for _, _, start, end, its_cpu, its_memory, _ in records.rows():
        cpu += its_cpu * (end - start)
        memory += its_memory * (end - start)
        held += end - start
    every, widest, by_priority = _waits(workload, records)
    return Measures(
        makespan=span / 1000,
        lower_bound=lower_bound(workload) / 1000,
        all=every,
        widest=widest,
        by_priority=by_priority,
        cpu_utilisation=cpu / (total.cpu * span) if span else 0.0,
        memory_utilisation=memory / (total.memory * span) if span else 0.0,
        resource_utilisation=_resources_used(workload, records, span),
        concurrency=held / span if span else 0.0,
        peak_concurrency=peak(records),
    )


def _resources_used(workload: Workload, records: Records, span: int) -> dict[str, float]:
    """The share of each resource of the nodes that was held."""
    totals, held = resources_of(workload), dict.fromkeys(resources_of(workload), 0)
    for place, text in records.held.items():
        for name, one in read_held(text).items():
            held[name] += round(one.amount * UNIT) * (records.end[place] - records.start[place])
    return {name: held[name] / (total * span) if span else 0.0 for name, total in totals.items()}


def resources_of(workload: Workload) -> dict[str, int]:
    """What all nodes have together of each resource, in thousandths."""
    names = sorted({name for node in workload.nodes for name in node.offers})
    return {name: sum(node.most(name) for node in workload.nodes) for name in names}


def total_of(workload: Workload) -> Resources:
    """What all nodes have together."""
    return Resources(
        sum(node.total.cpu for node in workload.nodes), sum(node.total.memory for node in workload.nodes)
    )  # fmt: skip


def lower_bound(workload: Workload) -> int:
    """The shortest possible makespan, ms, as far as these bounds can tell."""
    rows = [row for row in workload.rows if row.tasks and workload.feasible(row)]
    if not rows:
        return 0
    first = min(row.submit_at for row in workload.rows if row.tasks)
    total = total_of(workload)
    has = resources_of(workload)
    amounts = dict.fromkeys(has, 0)
    cpu = memory = 0
    bound = 0.0
    for row in reversed(rows):  # from the last arrival back
        cpu += row.tasks * row.need.cpu * row.duration
        memory += row.tasks * row.need.memory * row.duration
        for name, amount in row.resources:
            amounts[name] += row.tasks * amount * row.duration
        left = max(cpu / total.cpu, memory / total.memory, row.duration, *(amounts[name] / has[name] for name in has))
        bound = max(bound, row.submit_at - first + left)
    ready: dict[str, int] = {}  # when what each row waits for can have ended at the earliest
    for row in rows:
        ready[row.task_id] = max([row.submit_at, *(ready[one.task_id] + one.duration for one in workload.parents(row))])
        bound = max(bound, ready[row.task_id] - first + row.duration)
    return math.ceil(bound)


def widest_rows(workload: Workload) -> set[int]:
    """The first numbers of the rows whose tasks are the widest."""
    most = Resources(
        max(node.total.cpu for node in workload.nodes), max(node.total.memory for node in workload.nodes)
    )  # fmt: skip
    rows = [row for row in workload.rows if row.tasks and workload.feasible(row)]

    def share(row: Row) -> float:
        return max(row.need.cpu / most.cpu, row.need.memory / most.memory)

    top = max(map(share, rows), default=0.0)
    return {row.first for row in rows if share(row) >= 0.99 * top}


def _waits(workload: Workload, records: Records) -> tuple[Waits, Waits, dict[int, Waits]]:
    rows = [row for row in workload.by_number() if row.tasks]
    firsts = [row.first for row in rows]
    began: dict[int, tuple[int, int]] = {}  # tasks with several records: their first start, the start of the last run
    for number, _, start, _, _, _, ended in _in_time(records):
        known = began.get(number)
        run = start if known is None or known[1] < 0 else known[1]
        began[number] = (start if known is None else known[0], run if ended == RESIZED else -1)
    wide = widest_rows(workload) if rows else set()
    every, widest = Waits(), Waits()
    by_priority: dict[int, Waits] = {}
    for number, _, start, end, _, _, ended in records.rows():
        if ended != COMPLETED:
            continue
        row = rows[bisect_right(firsts, number) - 1]
        known = began.get(number)
        run_start = known[1] if known and known[1] >= 0 else start
        wait = (known[0] if known else start) - row.submit_at
        slowdown = max(1.0, (end - row.submit_at) / max(end - run_start, SHORT))
        group = by_priority.get(row.priority)
        if group is None:
            group = by_priority[row.priority] = Waits()
        every.add(wait, slowdown)
        group.add(wait, slowdown)
        if row.first in wide:
            widest.add(wait, slowdown)
    return every, widest, dict(sorted(by_priority.items(), reverse=True))


def _in_time(records: Records) -> Iterable[tuple[int, int, int, int, int, int, int]]:
    """Those records that aren't a task's only one, by their start."""
    several = [row for row in records.rows() if row[6] != COMPLETED]
    return sorted(several, key=lambda row: row[2])


def peak(records: Records) -> int:
    """How many tasks ran at once at most."""
    starts, ends = sorted(records.start), sorted(records.end)
    most = running = e = 0
    for start in starts:
        running += 1
        while e < len(ends) and ends[e] <= start:
            running -= 1
            e += 1
        most = max(most, running)
    return most


@dataclass(slots=True)
class Series:
    """Over time: shares of CPU and memory in use, how many tasks run, and the mean wait of those that started then."""

    seconds: list[float]
    cpu: list[float]
    memory: list[float]
    running: list[float]
    wait: list[float | None]


def series(workload: Workload, records: Records, points: int = POINTS) -> Series:
    """The course of a schedule in so many steps of equal length, each with its mean."""
    first = min((row.submit_at for row in workload.rows if row.tasks), default=0)
    last = max(records.end, default=first + 1)
    width = max(1.0, (last - first) / points)
    total = total_of(workload)
    cpu, memory, running = _Steps(points), _Steps(points), _Steps(points)
    waited: list[list[int]] = [[] for _ in range(points)]
    rows = [row for row in workload.by_number() if row.tasks]
    firsts = [row.first for row in rows]
    for number, _, start, end, its_cpu, its_memory, _ in records.rows():
        low, high = (start - first) / width, (end - first) / width
        cpu.add(low, high, its_cpu)
        memory.add(low, high, its_memory)
        running.add(low, high, 1)
        row = rows[bisect_right(firsts, number) - 1]
        waited[min(points - 1, int(low))].append(start - row.submit_at)
    return Series(
        seconds=[(i + 0.5) * width / 1000 for i in range(points)],
        cpu=[value / total.cpu for value in cpu.means()],
        memory=[value / total.memory for value in memory.means()],
        running=running.means(),
        wait=[sum(w) / len(w) / 1000 if w else None for w in waited],
    )


class _Steps:
    """Adds up amounts over intervals, in steps: the whole steps in between cost nothing each."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._part = [0.0] * (count + 1)  # of this step alone
        self._change = [0.0] * (count + 2)  # from this step on

    def add(self, low: float, high: float, amount: float) -> None:
        first, last = min(int(low), self._count), min(int(high), self._count)
        if first == last:
            self._part[first] += amount * (high - low)
            return
        self._part[first] += amount * (first + 1 - low)
        self._part[last] += amount * (high - last)
        self._change[first + 1] += amount
        self._change[last] -= amount

    def means(self) -> list[float]:
        level, out = 0.0, []
        for i in range(self._count):
            level += self._change[i]
            out.append(level + self._part[i])
        return out
