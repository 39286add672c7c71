"""What a client is told of tasks that it submitted or waits for: a value, or an error that says why there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rq_sched.client.in_order import Asked
from rq_sched.errors import (
    DependencyNotFound,
    InvalidValue,
    RqSchedError,
    TaskCancelled,
    TaskExists,
    TaskFailed,
    TaskNotFound,
    TooManyLabelSets,
    UnreadableValue,
)
from rq_sched.model.after import not_of_these_indexes
from rq_sched.model.states import State
from rq_sched.model.task import TaskInfo
from rq_sched.model.values import unpack
from rq_sched.store.submit import ACCEPTED, ORPHAN

NAMED = 10
"""Ids that an error names at most; of the others it tells the number."""
CROWDED = (
    "tasks of as many combinations of required labels and sizes as may wait at once wait already; submit again when "
    "some of them have been placed, or use fewer"
)


def value_of(info: TaskInfo) -> Any:
    """What an ended task returned.

    Raises:
        TaskFailed: it failed.  TaskCancelled: it was cancelled.
        UnreadableValue: what stands in Redis is no result.
    """
    if info.state is State.COMPLETED:
        if isinstance(info.result, UnreadableValue):
            raise _unreadable(info.task_id, info.result)
        return info.result
    if info.state is State.CANCELLED:
        raise failed(info, f"task {info.task_id} was cancelled")
    raise failed(info, f"task {info.task_id} failed ({info.reason}): {info.error or 'without an error text'}")


def value_told(task_id: str, packed: bytes) -> Any:
    """What a completed task returned, as it came with the news of its end.  Raises: UnreadableValue."""
    try:
        return unpack(packed)
    except UnreadableValue as error:
        raise _unreadable(task_id, error) from None


def _unreadable(task_id: str, why: UnreadableValue) -> UnreadableValue:
    return UnreadableValue(f"the result of task {task_id} can't be read: it is {why}")


def failed(info: TaskInfo, message: str) -> TaskFailed:
    """The error for a task that has failed or was cancelled."""
    kind = TaskCancelled if info.state is State.CANCELLED else TaskFailed
    return kind(
        message,
        task_id=info.task_id,
        reason=info.reason,
        exit_code=info.exit_code,
        node_id=info.node_id,
        attempt=info.attempt,
    )


def forgotten(task_id: str) -> TaskNotFound:
    """The error for a task that is there no more, though somebody waits for it."""
    return TaskNotFound(
        f"task {task_id} ended and was forgotten before its outcome was read: by `forget`, or because more than "
        f"keep_tasks tasks have ended since, or keep_seconds have passed; keep them for longer with "
        f"`rq-sched settings keep_tasks NUMBER`"
    )


def unaccepted(outcome: str, named: Sequence[str], count: int) -> RqSchedError:
    """The error for tasks that a submit answered ``conflict``, ``crowded`` or ``orphan ID`` of, ``count`` of them."""
    more = f" and {count - len(named)} more" if count > len(named) else ""
    ids = f"{', '.join(named)}{more}"
    if outcome == "crowded":
        what = f"task {ids} isn't" if count == 1 else f"tasks {ids} aren't"
        return TooManyLabelSets(f"{what} submitted: {CROWDED}")
    if outcome.startswith(ORPHAN):
        what = f"task {ids} isn't" if count == 1 else f"tasks {ids} aren't"
        missing, _, why = outcome.removeprefix(ORPHAN).partition(":")
        if why == "each":
            return InvalidValue(f"{what} submitted: {not_of_these_indexes(missing)}")
        if why == "many":
            return InvalidValue(
                f"{what} submitted: as many arrays as may (16) wait for {missing} element by element already; wait for "
                f"the whole of it (after), or for one of those arrays"
            )
        if why:
            return InvalidValue(
                f"{what} submitted: {missing} is an array, which has no result of its own: pass its elements, such as "
                f"list(handle.elements())"
            )
        return DependencyNotFound(f"{what} submitted: there is no task {missing} to wait for")
    are = "is another task's already" if count == 1 else "are other tasks' already"
    return TaskExists(f"id {ids} {are}: the same id with the same request would be the same task")


class Unaccepted:
    """Collects, of submits of many, what wasn't accepted: names of the first few, and how many of each kind."""

    def __init__(self) -> None:
        self._named: dict[str, list[str]] = {}
        self._counts: Counter[str] = Counter()

    def sift(self, asked: Iterable[Asked]) -> list[str]:
        """The ids of those of these that were accepted."""
        accepted: list[str] = []
        for one in asked:
            task_id, outcome = str(one.request.task_id), one.outcome
            if outcome in ACCEPTED:
                accepted.append(task_id)
                continue
            self._counts[outcome] += 1
            if self._counts[outcome] <= NAMED:
                self._named.setdefault(outcome, []).append(task_id)
        return accepted

    def complain(self) -> None:
        """Raise the error for them, if there are some: that of taken ids first, that of who waits for one of them last.

        Raises:
            TaskExists, TooManyLabelSets, DependencyNotFound
        """
        refused = {task_id for named in self._named.values() for task_id in named}
        for outcome in sorted(self._counts, key=lambda one: (one.removeprefix(ORPHAN) in refused, one)):
            raise unaccepted(outcome, self._named[outcome], self._counts[outcome])
