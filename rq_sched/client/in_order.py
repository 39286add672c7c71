"""Requests that come in batches and may wait for others that come later: those are kept until these are submitted."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from rq_sched.model.task import TaskRequest
from rq_sched.store.submit import ACCEPTED, ORPHAN


@dataclass(slots=True, eq=False)
class Asked:
    """One request, and what became of it (empty: nothing yet)."""

    request: TaskRequest
    number: int
    outcome: str = ""

    @property
    def open(self) -> bool:
        """Whether it may still be submitted: it would wait for a task that there isn't yet."""
        return not self.outcome or self.outcome.startswith(ORPHAN)


class InOrder:
    """The requests of which it isn't known yet what becomes of them, in the order in which they came.

    >>> row = InOrder()
    >>> first, second = row.add([TaskRequest("m:f", task_id="b", after=["a"]), TaskRequest("m:f", task_id="a")])
    >>> [one.request.task_id for one in row.settle([first, second], ["orphan a", "new"])]
    ['b']
    >>> row.settle([first], ["new"]), [(one.request.task_id, one.outcome) for one in row.settled()]
    ([], [('b', 'new'), ('a', 'new')])
    """

    def __init__(self) -> None:
        self._row: deque[Asked] = deque()
        self._kept: dict[str, list[Asked]] = {}  # by the task that isn't there

    def add(self, requests: Sequence[TaskRequest], numbers: Sequence[int] = ()) -> list[Asked]:
        """More requests. ``numbers``: by which they are told."""
        new = [Asked(r, n) for r, n in zip(requests, numbers or range(len(requests)), strict=True)]
        self._row += new
        return new

    def settle(self, asked: Sequence[Asked], outcomes: Sequence[str]) -> list[Asked]:
        """What a submit has answered; those that are to be submitted again: what they wait for is there now."""
        for one, outcome in zip(asked, outcomes, strict=True):
            one.outcome = outcome
            if one.open:
                self._kept.setdefault(one.outcome.removeprefix(ORPHAN), []).append(one)
        again: list[Asked] = []
        there = [one for one in asked if one.outcome in ACCEPTED] if self._kept else []
        while there:  # also those that wait for what is submitted again with them
            found = self._kept.pop(str(there.pop().request.task_id), [])
            again += found
            there += found
        return again

    def settled(self) -> list[Asked]:
        """Those at the front that are settled: they leave the row."""
        found: list[Asked] = []
        while self._row and not self._row[0].open:
            found.append(self._row.popleft())
        return found

    def rest(self) -> list[Asked]:
        """No more will come: those that aren't settled, and no longer kept."""
        self._kept = {}
        return [one for one in self._row if one.open]

    def drop(self, asked: Sequence[Asked]) -> None:
        """Nothing more is to become of these."""
        gone = set(map(id, asked))
        self._row = deque(one for one in self._row if id(one) not in gone)

    def all(self) -> list[Asked]:
        """All that are left; none is, then."""
        found = list(self._row)
        self._row.clear()
        return found
