"""What a client is told of tasks that it submitted or waits for: a value, or an error that says why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rq_sched.errors import TaskExists, TaskFailed, TaskNotFound, UnreadableValue
from rq_sched.task import State, TaskInfo

NAMED = 10
"""Ids that an error names at most; of the others it tells the number."""


def value_of(info: TaskInfo) -> Any:
    """What an ended task returned.

    Raises:
        TaskFailed: it failed or was cancelled.
        UnreadableValue: what stands in Redis is no result.
    """
    if info.state is State.COMPLETED:
        if isinstance(info.result, UnreadableValue):
            raise UnreadableValue(f"the result of task {info.task_id} can't be read: it is {info.result}")
        return info.result
    if info.state is State.CANCELLED:
        raise failed(info, f"task {info.task_id} was cancelled")
    raise failed(info, f"task {info.task_id} failed ({info.reason}): {info.error or 'without an error text'}")


def failed(info: TaskInfo, message: str) -> TaskFailed:
    """The error for a task that has failed or was cancelled."""
    return TaskFailed(
        message,
        task_id=info.task_id,
        reason=info.reason,
        exit_code=info.exit_code,
        node_id=info.node_id,
        attempt=info.attempt,
    )


def unknown(task_id: str) -> TaskNotFound:
    """The error for a task that isn't there."""
    return TaskNotFound(f"no task {task_id}: never submitted to this namespace, or forgotten")


def forgotten(task_id: str) -> TaskNotFound:
    """The error for a task that is there no more, though somebody waits for it."""
    return TaskNotFound(
        f"task {task_id} ended and was forgotten before its outcome was read: by `forget`, or because more than "
        f"keep_tasks tasks have ended since, or keep_seconds have passed; keep them for longer with "
        f"`rq-sched settings keep_tasks NUMBER`"
    )


def taken(named: Sequence[str], count: int) -> TaskExists:
    """The error for ids of other tasks, ``count`` of them."""
    more = f" and {count - len(named)} more" if count > len(named) else ""
    are = "is another task's already" if count == 1 else "are other tasks' already"
    return TaskExists(f"id {', '.join(named)}{more} {are}: the same id with the same request would be the same task")
