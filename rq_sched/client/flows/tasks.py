"""What is done with single tasks, and asked of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rq_sched.client.flows.base import BaseFlows
from rq_sched.client.steps import Flow, batches, run
from rq_sched.errors import InvalidValue, TaskNotFound
from rq_sched.model.durations import Duration, parse_duration
from rq_sched.model.explanation import Explanation
from rq_sched.model.given import given
from rq_sched.model.ids import known_id
from rq_sched.model.output import as_text
from rq_sched.model.states import State, parse_state
from rq_sched.model.tags import TagsGiven, wanted_tags
from rq_sched.model.task import PRIORITY_LIMIT, TaskInfo


class TaskFlows(BaseFlows):
    """The flows about tasks."""

    def prioritize(self, task_id: str, priority: int) -> Flow[State]:
        """Change a priority.  Raises: TaskNotFound, TaskFinal, InvalidValue."""
        if type(priority) is not int or abs(priority) > PRIORITY_LIMIT:
            raise InvalidValue(f"priority must be a whole number within ±2³¹, not {given(priority)}")
        return (yield from run(self.store.prioritize(task_id, priority)))

    def forget(self, task_ids: Iterable[str] | None, state: State | str | None, older_than: Duration) -> Flow[int]:
        """Drop ended tasks: these, or batch by batch all that match; returns how many."""
        total = 0
        if task_ids is not None:
            for batch in batches(task_ids):
                total += yield from run(self.store.forget_ids(batch))
            return total
        seconds = parse_duration(older_than, "older_than")
        wanted = parse_state(state)
        while dropped := (yield from run(self.store.forget(state=wanted, older_than=seconds))):
            total += dropped
        return total

    def status(self, task_id: str) -> Flow[TaskInfo]:
        """Everything known of one task.  Raises: TaskNotFound."""
        (info,) = yield from run(self.store.status([known_id(task_id)]))
        if info is None:
            raise TaskNotFound.of(task_id)
        return info

    def state(self, task_id: str) -> Flow[State]:
        """Where one task is.  Raises: TaskNotFound."""
        (state,) = yield from run(self.store.states([known_id(task_id)]))
        if state is None:
            raise TaskNotFound.of(task_id)
        return state

    def tasks(
        self,
        array: str | None,
        state: State | str | None,
        node_id: str | None,
        priority: int | None,
        tag: TagsGiven,
        limit: int,
    ) -> Flow[list[TaskInfo]]:
        """Tasks that match.  Raises: InvalidValue, TaskNotFound."""
        if type(limit) is not int or not 0 <= limit < 2**31:
            raise InvalidValue(f"limit must be a whole number from 0, not {given(limit)}")
        which: Any = {"state": parse_state(state), "node": node_id, "priority": priority, "limit": limit}
        which["tags"] = wanted_tags(tag)
        if array is not None:
            return (yield from run(self.store.list_elements(array, **which))).tasks
        return (yield from run(self.store.list_tasks(**which))).tasks

    def logs(self, task_id: str) -> Flow[str]:
        """The captured output of a task.  Raises: TaskNotFound."""
        output = yield from run(self.store.log(known_id(task_id)))
        if not output:
            yield from self.state(task_id)
        return as_text(output)

    def requeue(self, task_id: str) -> Flow[State]:
        """Run an ended task again, or a delayed one now.  Raises: TaskNotFound, WrongState."""
        return run(self.store.requeue(task_id))

    def hold(self, task_id: str) -> Flow[State]:
        """Set a waiting task aside.  Raises: TaskNotFound, TaskFinal, WrongState."""
        return run(self.store.hold(task_id))

    def unhold(self, task_id: str) -> Flow[State]:
        """Bring a held task back.  Raises: TaskNotFound, TaskFinal."""
        return run(self.store.unhold(task_id))

    def states(self, task_ids: Iterable[str]) -> Flow[list[State | None]]:
        """Where tasks are; None for an unknown one."""
        return run(self.store.states([known_id(task_id) for task_id in task_ids]))

    def explain(self, task_id: str) -> Flow[Explanation]:
        """Why a task is where it is.  Raises: TaskNotFound."""
        return run(self.store.explain(task_id))
