"""The judge of tasks that wait for others: none is placed before those have ended as it says, and none is cancelled for
nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

from rq_sched.model.states import State
from rq_sched.model.task import TaskInfo
from tests.faults.sim.people import Known


class Graphs:
    """What is known of the ends that tasks wait for. (One that was requeued may have ended in several ways.)"""

    def __init__(self, known: Mapping[str, Known], looked: Counter[str], violated: Callable[[str], None]) -> None:
        self._known = known
        self._looked = looked
        self._violated = violated
        self._ends: dict[str, set[State]] = defaultdict(set)
        self._placed: list[str] = []

    def ended(self, task_id: str, state: State) -> None:
        self._ends[task_id].add(state)

    def placed(self, task_id: str) -> None:
        if self._known[task_id].request.after:
            self._placed.append(task_id)

    def check(self) -> None:
        """After a script, as an end and what follows from it are one: what it has placed might be."""
        for task_id in self._placed:
            known = self._known[task_id]
            missing = [one for one in known.request.after if not self._has_come(one)]
            if missing and not known.requeued:  # who is requeued waits for nothing
                self._violated(f"{task_id} was placed, and {missing} hasn't ended so")
            self._looked["placed after others"] += 1
        self._placed.clear()

    def may_be_cancelled(self, info: TaskInfo) -> bool:
        """Whether that is because of one that it waited for."""
        after = self._known[info.task_id].request.after
        if info.reason != "dependency" or not after:
            return False
        self._looked["cancelled with another"] += 1
        return any(self._may_be_lost(one) for one in after)

    def _has_come(self, name: str) -> bool:
        task_id, _, kind = name.partition(":")
        return any(_is_wanted(kind, state) for state in self._ends[task_id])

    def _may_be_lost(self, name: str) -> bool:
        task_id, _, kind = name.partition(":")
        return any(not _is_wanted(kind, state) for state in self._ends[task_id])


def _is_wanted(kind: str, state: State) -> bool:
    return kind == "any" or (state is State.COMPLETED) == (kind != "failed")
