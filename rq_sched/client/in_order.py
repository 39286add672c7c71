"""Requests that come in batches and may wait for others that come later: those are kept until these are submitted."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from rq_sched.model.after import id_of
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
        self._kept: dict[str, list[Asked]] = {}  # by a task that isn't there
        self._kept_ids: set[str] = set()

    def add(self, requests: Sequence[TaskRequest], numbers: Sequence[int] = ()) -> list[Asked]:
        """More requests; those that can be submitted now. ``numbers``: by which they are told."""
        new = [Asked(r, n) for r, n in zip(requests, numbers or range(len(requests)), strict=True)]
        self._row += new
        return [one for one in new if not self._keep_for_another(one)] if self._kept else new

    def _keep_for_another(self, asked: Asked) -> bool:
        """Keep it as long as it waits for one that is kept, if it does."""
        missing = next((one for one in map(id_of, asked.request.after) if one in self._kept_ids), None)
        if missing is not None:
            self._keep(asked, missing)
        return missing is not None

    def _keep(self, asked: Asked, missing: str) -> None:
        asked.outcome = ORPHAN + missing
        self._kept.setdefault(missing, []).append(asked)
        self._kept_ids.add(str(asked.request.task_id))

    def settle(self, asked: Sequence[Asked], outcomes: Sequence[str]) -> list[Asked]:
        """What a submit has answered; those that are to be submitted now: what they wait for is there."""
        for one, outcome in zip(asked, outcomes, strict=True):
            one.outcome = outcome
            if one.open:
                self._keep(one, outcome.removeprefix(ORPHAN))
        again: list[Asked] = []
        there = [str(one.request.task_id) for one in asked if one.outcome in ACCEPTED] if self._kept else []
        while there:  # also those that wait for what is submitted now with them
            for one in self._kept.pop(there.pop(), ()):
                task_id = str(one.request.task_id)
                self._kept_ids.discard(task_id)
                if not self._keep_for_another(one):
                    again.append(one)
                    there.append(task_id)
        return again

    def settled(self) -> list[Asked]:
        """Those at the front that are settled: they leave the row."""
        found: list[Asked] = []
        while self._row and not self._row[0].open:
            found.append(self._row.popleft())
        return found

    def rest(self) -> list[Asked]:
        """No more will come: those that aren't settled, and no longer kept."""
        self._kept, self._kept_ids = {}, set()
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
