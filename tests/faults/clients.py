"""What clients do, as rules for the model test."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from rq_sched.errors import RqSchedError, TaskFinal, TaskNotFinal, TaskNotFound, WrongState
from rq_sched.link import Op
from rq_sched.model.arrays import owner
from rq_sched.model.resources import Resources
from rq_sched.model.states import FINAL, State
from rq_sched.model.task import TaskRequest
from tests.faults.compared import Compared
from tests.faults.model import ACTIVE, Array, Task

needs = st.builds(Resources, st.integers(1, 4), st.sampled_from([100, 120, 200, 300, 1000]))
numbers = st.integers(0, 40)
REQUIRED: list[tuple[str, ...]] = [(), ("gpu", "ssd"), ("gpu",), (), ("gpu", "ssd"), (), ()]
"""The labels that tasks require, in turn: so that equal needs come with different ones."""


class Clients(Compared):
    """What clients do."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: dict[str, TaskRequest] = {}
        self.operations = 0

    def pick(self, number: int, *states: State) -> Task:
        """A task in one of the states."""
        ids = self.model.in_state(*(states or tuple(State)))
        return self.model.tasks[ids[number % len(ids)]]

    def refused(self, op: Op[Any], error: type[RqSchedError]) -> None:
        with pytest.raises(error):
            self.run(op)

    def has_tasks(self) -> bool:
        return bool(self.model.tasks)

    def submit_mixed(self, number: int) -> None:
        """Some tasks, for a rule that needs them."""
        memory = [100, 300, 1000, 120, 200]
        mixed = [(Resources(1 + (number + i) % 3, memory[(number + i) % 5]), i % 3, 0) for i in range(5)]
        self.submit(mixed, retries=number % 3, crash_limit=1 + number % 3, growth=number % 2)

    @rule(
        wanted=st.lists(st.tuples(needs, st.integers(-1, 2), st.sampled_from([0, 0, 0, 1, 4])), min_size=1, max_size=6),
        retries=st.integers(0, 2),
        crash_limit=st.integers(1, 3),
        growth=st.integers(0, 2),
    )
    def submit(self, wanted: list[tuple[Resources, int, int]], retries: int, crash_limit: int, growth: int) -> None:
        requests: list[TaskRequest] = []
        for need, priority, delay in wanted:
            name = f"t{len(self.requests)}"
            request = TaskRequest("m:f", task_id=name, priority=priority, delay=delay, retries=retries)
            request.cpu_needed, request.memory_needed, request.crash_limit = need.cpu, need.memory, crash_limit
            request.max_cpu_needed = need.cpu + growth
            request.require = REQUIRED[len(self.requests) % len(REQUIRED)]
            requests.append(request.check())
            self.requests[name] = request
            task = Task(name, need, need.plus(Resources(growth, 0)), priority, retries, crash_limit)
            task.require = frozenset(request.require)
            if delay:
                task.state, task.due = State.DELAYED, self.now + 1000 * delay
            self.model.tasks[name] = task
        assert self.run(self.store.submit(requests)) == ["new"] * len(requests)
        self.settle()

    @rule(need=needs, priority=st.integers(-1, 2), size=st.sampled_from([1, 2, 3, 6]), limit=st.integers(1, 3))
    def submit_array(self, need: Resources, priority: int, size: int, limit: int) -> None:
        name = f"a{len(self.requests)}"
        request = TaskRequest("m:f", task_id=name, priority=priority, retries=limit - 1, array=f"3-{size + 2}")
        request.cpu_needed, request.memory_needed, request.crash_limit = need.cpu, need.memory, limit
        request.require = REQUIRED[len(self.requests) % len(REQUIRED)]
        self.requests[name] = request.check()
        array = Array(name, [f"{name}/{i}" for i in range(3, size + 3)])
        self.model.arrays[name] = array
        for element in array.elements:
            self.requests[element] = request
            self.model.tasks[element] = task = Task(element, need, need, priority, limit - 1, limit)
            task.require = frozenset(request.require)
        assert self.run(self.store.submit([request])) == ["new"]
        self.settle()

    @precondition(lambda self: bool(self.model.arrays))
    @rule(number=numbers, verb=st.sampled_from(["cancel", "end", "hold", "unhold", "prioritize"]))
    def change_array(self, number: int, verb: str) -> None:
        """What is asked of an array is asked of all elements that haven't ended."""
        array = list(self.model.arrays.values())[-1 - number % len(self.model.arrays)]
        there = [self.model.tasks[t] for t in array.elements if t in self.model.tasks]
        live = [t for t in there if t.state not in FINAL]
        op: Op[Any]
        if verb in ("cancel", "end"):
            op = self.store.cancel(array.array_id, requeue=verb == "cancel")
        elif verb == "prioritize":
            op = self.store.prioritize(array.array_id, number % 4)
        else:
            op = self.store.hold(array.array_id) if verb == "hold" else self.store.unhold(array.array_id)
        if not there:
            self.refused(op, TaskNotFound)
        elif not live and verb not in ("cancel", "end"):
            self.refused(op, TaskFinal)
        else:
            self.run(op)
            self.operations += 1
            for task in live:
                self.element_changes(task, verb, number % 4)
            self.judged["arrays changed"] += bool(live)
        self.settle()

    def element_changes(self, task: Task, verb: str, priority: int) -> None:
        if verb in ("cancel", "end"):
            self.model.cancelled(task, verb == "cancel", f"array {self.operations}")
        elif verb == "prioritize":
            task.priority = priority
        elif verb == "hold" and task.state not in ACTIVE:
            task.state = State.HELD
        elif verb == "unhold" and task.state == State.HELD:
            if task.due and task.due > self.now:
                task.state = State.DELAYED
            else:
                self.model.back(task)

    @precondition(has_tasks)
    @rule(number=numbers, requeue=st.booleans(), again=st.sampled_from(["no", "now", "late"]))
    def cancel(self, number: int, requeue: bool, again: str) -> None:
        """``again``: the driver's retry, of this cancel at once, or of the last one when much has happened since."""
        operation, task = self.operation(again == "late"), self.pick(number)
        for _ in range(1 + (again == "now")):
            self.cancel_task(task, requeue, operation)

    def cancel_task(self, task: Task, requeue: bool, operation: str) -> None:
        expected = self.model.cancelled(task, requeue, operation)
        answer = self.run(self.store.cancel(task.task_id, requeue=requeue, operation=operation))
        assert (answer.outcome, answer.state, answer.attempt) == (expected, task.state, task.attempt)
        self.settle()

    def operation(self, again: bool) -> str:
        """A new operation's id, or the last one's: the driver's retry."""
        self.operations += not again
        return f"o{self.operations}"

    @precondition(has_tasks)
    @rule(verb=st.sampled_from(["submit_again", "hold", "unhold", "prioritize", "requeue", "forget"]), data=st.data())
    def change(self, verb: str, data: st.DataObject) -> None:
        """One of the verbs that users have for single tasks; those that apply to ended ones get more of them."""
        liked = {"unhold": [State.HELD], "requeue": [*FINAL, State.DELAYED], "forget": [*FINAL]}.get(verb, [])
        number = data.draw(numbers)
        task = self.pick(number, *liked) if liked and number % 4 and self.model.in_state(*liked) else self.pick(number)
        getattr(self, verb)(task, data)
        self.settle()

    def submit_again(self, task: Task, data: st.DataObject) -> None:
        other = TaskRequest("m:other", task_id=self.requests[task.task_id].task_id).check()
        assert self.run(self.store.submit([self.requests[task.task_id], other])) == ["same", "conflict"]

    def hold(self, task: Task, data: st.DataObject) -> None:
        op = self.store.hold(task.task_id)
        if task.state in FINAL:
            return self.refused(op, TaskFinal)
        if task.state in ACTIVE:
            return self.refused(op, WrongState)
        task.state = State.HELD
        assert self.run(op) == State.HELD
        return None

    def unhold(self, task: Task, data: st.DataObject) -> None:
        op = self.store.unhold(task.task_id)
        if task.state in FINAL:
            return self.refused(op, TaskFinal)
        if task.state == State.HELD:
            if task.due and task.due > self.now:
                task.state = State.DELAYED
            else:
                self.model.back(task)
        assert self.run(op) == task.state
        return None

    def prioritize(self, task: Task, data: st.DataObject) -> None:
        priority = data.draw(st.integers(-1, 3))
        op = self.store.prioritize(task.task_id, priority)
        if task.state in FINAL:
            return self.refused(op, TaskFinal)
        task.priority = priority
        assert self.run(op) == task.state
        return None

    def requeue(self, task: Task, data: st.DataObject) -> None:
        return self.requeue_task(task, self.operation(data.draw(st.booleans())))

    def requeue_task(self, task: Task, operation: str) -> None:
        op = self.store.requeue(task.task_id, operation)
        if task.operation == operation or task.state == State.PENDING:
            assert self.run(op) == task.state
            return None
        if task.state in (*ACTIVE, State.HELD):
            return self.refused(op, WrongState)
        self.model.back(task, behind=True)
        task.used = task.crashes = 0
        task.retried = None
        task.refused = frozenset()
        task.operation = operation
        assert self.run(op) == State.PENDING
        return None

    def forget(self, task: Task, data: st.DataObject) -> None:
        op = self.store.forget_ids([task.task_id])
        if task.state not in FINAL:
            return self.refused(op, TaskNotFinal)
        assert self.run(op) == 1
        del self.model.tasks[task.task_id]
        if array := self.model.arrays.get(owner(task.task_id)):
            array.forgotten[task.state] += 1
        return None
