"""Judges a schedule by its raw records: does it keep promises 1 and 4? It knows nothing of scripts, queues, classes.

It goes through time. At each instant it takes what ended off its nodes, notes who arrived, then puts on what started,
and asks of each node on which something started:

- is more given away than the node has, be it a label, an index of a resource, or a limit? (an over-allocation);
- is there a task that still waits, comes before one that started here, and would have fitted in its place: in what is
  free now plus what the later ones took? (an inversion, counted for each such start). Where a node was reserved at that
  instant, only tasks are asked for against whom a reservation doesn't hold: those up to the one it is for.

Who waits is kept in trees over the rows of the workload, with the smallest need below each branch, so that one question
costs a few steps and not a walk through the queue; nothing is rounded or sampled.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rq_sched.model.resources import Resources
from rq_sched.simulate.records import BACK, COMPLETED, RESIZED, Records
from rq_sched.simulate.room import Required, Room, holds
from rq_sched.simulate.workload import Row, Workload

SHOWN = 20
"""Violations that are described; all are counted."""
NEVER = 1 << 60


@dataclass(slots=True)
class Verdict:
    """What was found. ``gap_filled``: starts while an earlier task, which some node could hold, had to wait on."""

    starts: int = 0
    over_allocations: int = 0
    inversions: int = 0
    gap_filled: int = 0
    described: list[str] = field(default_factory=list)

    def describe(self, text: str) -> None:
        if len(self.described) < SHOWN:
            self.described.append(text)


def judge(workload: Workload, records: Records) -> Verdict:
    """Check every instant and every start.

    >>> judge(Workload([], []), Records()).inversions
    0
    """
    return _Sweep(workload, records).run()


class _Waiting:
    """The tasks that wait, by number."""

    def __init__(self, workload: Workload) -> None:
        self.rows = [row for row in workload.by_number() if row.tasks and workload.feasible(row)]
        self._firsts = [row.first for row in self.rows]
        self._flags = bytearray(workload.tasks)
        self._begun = bytearray(workload.tasks)
        self._count = [0] * len(self.rows)
        self._floor = workload.tasks  # nothing below it waits
        self._trees: dict[tuple[Required, int], _Tree] = {}
        most = Resources(
            max((node.total.cpu for node in workload.nodes), default=1),
            max((node.total.memory for node in workload.nodes), default=1),
        )
        kinds = [(Required.of(row), _leaning(row.need, most)) for row in self.rows]
        for kind in set(kinds):
            self._trees[kind] = _Tree([i for i, other in enumerate(kinds) if other == kind], self.rows)
        self._tree_of = [self._trees[kind] for kind in kinds]

    def row_of(self, number: int) -> int | None:
        """The place of the task's row; None for a task that no node could ever hold."""
        i = bisect_right(self._firsts, number) - 1
        return i if i >= 0 and number < self.rows[i].first + self.rows[i].tasks else None

    def required(self, number: int) -> Required:
        """What a task requires."""
        i = self.row_of(number)
        return Required() if i is None else Required.of(self.rows[i])

    def arrive(self, i: int) -> None:
        row = self.rows[i]
        self._flags[row.first : row.first + row.tasks] = b"\1" * row.tasks
        self._floor = min(self._floor, row.first)
        self._count[i] = row.tasks
        self._tree_of[i].set(i, True)

    def expire(self, i: int) -> None:
        """What hasn't started of a row by its deadline waits no more."""
        row = self.rows[i]
        for number in range(row.first, row.first + row.tasks):
            if self._flags[number] and not self._begun[number]:
                self.start(number)

    def back(self, number: int) -> None:
        i = self.row_of(number)
        if i is None or self._flags[number]:
            return
        self._flags[number] = 1
        self._floor = min(self._floor, number)
        self._count[i] += 1
        self._tree_of[i].set(i, True)

    def start(self, number: int) -> bool:
        """Takes a task out; False if it didn't wait."""
        i = self.row_of(number)
        if i is None or not self._flags[number]:
            return False
        self._flags[number], self._begun[number] = 0, 1
        self._count[i] -= 1
        if self._count[i] == 0:
            self._tree_of[i].set(i, False)
        return True

    def first(self) -> int:
        """The earliest task that waits."""
        found = self._flags.find(1, self._floor)
        self._floor = found if found >= 0 else len(self._flags)
        return self._floor

    def one_that_fits(self, low: int, high: int, room: Room) -> int | None:
        """A waiting task with ``low <= number < high`` that fits into such room."""
        low = max(low, self.first())
        if low >= high:
            return None
        last = bisect_right(self._firsts, high - 1) - 1
        first = max(0, bisect_right(self._firsts, low) - 1)
        for (required, _), tree in self._trees.items():
            if not room.meets(required):
                continue
            for i in tree.fitting(first, last, room.cpu, room.memory):
                row = self.rows[i]
                found = self._flags.find(1, max(low, row.first), min(high, row.first + row.tasks))
                if found >= 0:
                    return found
        return None


def _leaning(need: Resources, most: Resources) -> int:
    """Which way a need leans: alike ones stand in one tree, or the smallest of either kind would hide each other."""
    return max(-3, min(3, round(math.log2((max(need.cpu, 0.5) / most.cpu) / (need.memory / most.memory)))))


class _Tree:
    """Rows in order, and above them the smallest CPU and memory of those that wait."""

    def __init__(self, members: Sequence[int], rows: Sequence[Row]) -> None:
        self._members = members
        self._place = {row: k for k, row in enumerate(members)}
        self._needs = [rows[i].need for i in members]
        self._size = 1 << max(0, len(members) - 1).bit_length()
        self._cpu = [NEVER] * (2 * self._size)
        self._memory = [NEVER] * (2 * self._size)

    def set(self, row: int, waits: bool) -> None:
        place = self._place[row]
        i = place + self._size
        need = self._needs[place]
        cpu, memory = (need.cpu, need.memory) if waits else (NEVER, NEVER)
        while i:
            if self._cpu[i] == cpu and self._memory[i] == memory:
                return
            self._cpu[i], self._memory[i] = cpu, memory
            i >>= 1
            if i:
                cpu = min(self._cpu[2 * i], self._cpu[2 * i + 1])
                memory = min(self._memory[2 * i], self._memory[2 * i + 1])

    def fitting(self, first: int, last: int, cpu: int, memory: int) -> Iterator[int]:
        """The rows from ``first`` to ``last`` of which something waits that fits."""
        cpus, memories, size = self._cpu, self._memory, self._size
        members = self._members
        stack = [(1, 0, size)]
        while stack:
            i, start, width = stack.pop()
            if cpus[i] > cpu or memories[i] > memory:
                continue
            if members[start] > last or members[min(start + width, len(members)) - 1] < first:
                continue
            if width == 1:
                yield members[start]
                continue
            width >>= 1
            if start + width < len(members):
                stack.append((2 * i + 1, start + width, width))
            stack.append((2 * i, start, width))


class _Sweep:
    """One pass through time."""

    def __init__(self, workload: Workload, records: Records) -> None:
        self._workload = workload
        self._r = records
        self._waiting = _Waiting(workload)
        self._left = dict(workload.limits)
        self._free = [Room.of(node) for node in workload.nodes]
        self._reserved: dict[int, list[tuple[int, int, int]]] = {}
        for span in records.reserved:
            self._reserved.setdefault(span.node, []).append((span.start, span.end, span.number))
        self._goes_on = {
            (number, node, end)
            for number, node, _, end, _, _, ended in records.rows()
            if ended == RESIZED
        }  # fmt: skip
        self.verdict = Verdict()

    def run(self) -> Verdict:
        r = self._r
        count = len(r)
        starts = sorted(range(count), key=r.start.__getitem__)
        ends = sorted(range(count), key=r.end.__getitem__)
        rows = self._waiting.rows
        ready = self._ready()
        arrivals = sorted(range(len(rows)), key=ready.__getitem__)
        expiries = sorted((row.expires, i) for i, row in enumerate(self._waiting.rows) if row.expires is not None)
        s = e = a = x = 0
        while s < count:
            now = r.start[starts[s]]
            while e < count and r.end[ends[e]] <= now:
                self._ended(ends[e])
                e += 1
            while a < len(arrivals) and ready[arrivals[a]] <= now:
                self._waiting.arrive(arrivals[a])
                a += 1
            while x < len(expiries) and expiries[x][0] <= now:
                self._waiting.expire(expiries[x][1])
                x += 1
            started: dict[int, list[int]] = {}
            while s < count and r.start[starts[s]] == now:
                self._started(starts[s], started)
                s += 1
            for node, here in started.items():
                self._check(now, node, here)
        return self.verdict

    def _ready(self) -> list[float]:
        """From when on the tasks of each row may start: they have arrived, and what they wait for has completed."""
        rows, r = self._waiting.rows, self._r
        if not any(row.after for row in rows):
            return [row.submit_at for row in rows]
        left = {row.task_id: row.tasks for row in rows}
        last: dict[str, int] = {}
        for number, end, ended in zip(r.number, r.end, r.ended, strict=True):
            if ended == COMPLETED and (i := self._waiting.row_of(number)) is not None:
                name = rows[i].task_id
                left[name], last[name] = left[name] - 1, max(end, last.get(name, 0))

        def completed(name: str) -> float:
            return NEVER if left.get(name, 1) > 0 else last.get(name, 0)

        return [max([row.submit_at, *map(completed, row.after)]) for row in rows]

    def _ended(self, i: int) -> None:
        r = self._r
        self._free[r.node[i]].add(r.cpu[i], r.memory[i], r.held.get(i, ""))
        self._take_limits(i, self._left, 1)
        if r.ended[i] == BACK:
            self._waiting.back(r.number[i])

    def _started(self, i: int, started: dict[int, list[int]]) -> None:
        r = self._r
        node, number = r.node[i], r.number[i]
        self._free[node].add(r.cpu[i], r.memory[i], r.held.get(i, ""), -1)
        self._take_limits(i, self._left, -1)
        here = started.setdefault(node, [])
        if self._goes_on and (number, node, r.start[i]) in self._goes_on:
            return
        self.verdict.starts += 1
        here.append(i)
        required = self._waiting.required(number)
        if not self._free[node].labels.issuperset(required.labels):
            self.verdict.over_allocations += 1
            self.verdict.describe(f"task {number} started at {r.start[i]} ms on node {node}, which lacks a label")
        if not holds(r.held.get(i, ""), required):
            self.verdict.over_allocations += 1
            self.verdict.describe(f"task {number} started at {r.start[i]} ms without the resources that it needs")
        if not self._waiting.start(number):
            self.verdict.inversions += 1
            self.verdict.describe(f"task {number} started at {r.start[i]} ms, but didn't wait then")

    def _take_limits(self, i: int, left: dict[str, int], sign: int) -> None:
        """Take (-1) or give back (1) what a record's task takes of limits."""
        if left:
            for name, amount in self._waiting.required(self._r.number[i]).limits:
                left[name] += sign * amount

    def _check(self, now: int, node: int, here: list[int]) -> None:
        r = self._r
        for name, left in self._left.items():
            if left < 0:
                self.verdict.over_allocations += 1
                self.verdict.describe(f"limit {name} at {now} ms: {-left} more in use than there are")
        room = self._free[node].copy(self._left)
        if room.overdrawn():
            self.verdict.over_allocations += 1
            self.verdict.describe(f"node {node} at {now} ms: {room}")
        first = self._waiting.first()
        limit = self._limit(now, node)
        overtakers = 0
        here.sort(key=r.number.__getitem__, reverse=True)
        for k, i in enumerate(here):  # the latest first: what it and later ones took is free for earlier ones
            number = r.number[i]
            if number < first:
                break
            self.verdict.gap_filled += 1
            room.add(r.cpu[i], r.memory[i], r.held.get(i, ""))
            self._take_limits(i, room.left, 1)
            low = r.number[here[k + 1]] + 1 if k + 1 < len(here) else 0
            found = self._waiting.one_that_fits(low, min(number, limit), room)
            if found is not None:
                overtakers = k + 1
                self.verdict.describe(
                    f"task {number} started on node {node} at {now} ms; task {found} comes first and fits"
                )
        self.verdict.inversions += overtakers

    def _limit(self, now: int, node: int) -> int:
        """Tasks from this number on may be kept out of the node now."""
        for start, end, number in self._reserved.get(node, ()):
            if start <= now < end:
                return number + 1
        return self._workload.tasks
