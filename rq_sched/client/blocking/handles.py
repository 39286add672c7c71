# Made from ../awaiting/handles.py by `python -m tools.twins`: change that one, and run it again.
"""Handles: a client and the id of a task. Making one asks nobody, and none keeps anything of the task."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rq_sched.client.blocking.stepper import Stepper
from rq_sched.errors import InvalidValue
from rq_sched.model.durations import Duration
from rq_sched.model.explanation import Explanation
from rq_sched.model.references import Home, Reference
from rq_sched.model.states import State
from rq_sched.model.task import DEFAULT_GRACE, TaskInfo
from rq_sched.store.answers import Cancelled

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class TaskHandle(Reference, Generic[T]):
    """A task that was submitted, or any other by its id (``client.handle``).

    Handles of one client with the same id are equal: they may be keys of a dict. Among the arguments of another task
    a handle stands for the result: that task waits for this one.

    >>> handle = client.submit("math:sqrt", 2.0)  # doctest: +SKIP
    >>> handle.result(timeout=5)  # doctest: +SKIP
    1.4142135623730951
    """

    client: Stepper
    id: str

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TaskHandle):
            return NotImplemented
        return self.id == other.id and self.client is other.client

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def home(self) -> Home:
        """Where it is: the address of its Redis, and its namespace."""
        return self.client.home

    def status(self) -> TaskInfo:
        """Everything known of it, also why it waits.  Raises: TaskNotFound."""
        return self.client._do(self.client._flows.status(self.id))

    def state(self) -> State:
        """Where it is: cheaper than ``status()``.  Raises: TaskNotFound."""
        return self.client._do(self.client._flows.state(self.id))

    def done(self) -> bool:
        """Whether it has ended.  Raises: TaskNotFound."""
        state = self.state()
        return state.final

    def wait(self, timeout: Duration | None = None) -> State:
        """Wait until it has ended; says how.

        Parameters:
            timeout: seconds, ``"10m"`` or a ``timedelta``; None: for ever; 0: only look.

        Raises:
            TaskNotFound
            WaitTimeout: it hasn't ended in time. It goes on.
        """
        ended: list[tuple[str, State]] = []
        for batch in self.client._stream(self.client._flows.as_completed([self.id], timeout)):
            ended += batch
        return ended[0][1]

    def result(self, timeout: Duration | None = None) -> T:
        """Wait until it has ended; what it returned. (An array returns None: ``results()``.)

        Parameters:
            timeout: seconds, ``"10m"`` or a ``timedelta``; None: for ever; 0: only look.

        Raises:
            TaskFailed: it failed; with ``TaskCancelled``, a subclass, it was cancelled.
            UnreadableValue: it completed, and what stands in Redis is no result.
            TaskNotFound, WaitTimeout
        """
        value: T = self.client._do(self.client._flows.result(self.id, timeout))
        return value

    def elements(self) -> Iterator[TaskHandle[T]]:
        """Of an array the handles of its elements, in their order, made as they are asked for.

        Raises:
            TaskNotFound
            InvalidValue: it isn't an array.

        >>> sweep = client.submit("m:simulate", array="1-100")  # doctest: +SKIP
        >>> for element in sweep.elements():  # doctest: +SKIP
        ...     print(element.id, element.state())
        """
        for task_id in self.client._do(self.client._flows.elements(self.id)):
            yield TaskHandle(self.client, task_id)

    def results(self, timeout: Duration | None = None, *, return_exceptions: bool = False) -> Iterator[T]:
        """Of an array what its elements returned, in their order, each as soon as it and those before it have ended.

        They are read in batches of 1,000: no more of them are in memory.

        Parameters:
            timeout: seconds, ``"10m"`` or a ``timedelta``, for all together; None: for ever.
            return_exceptions: whether the errors of elements come as values; else the first one is raised.

        Raises:
            TaskFailed, UnreadableValue: of an element; those before it have come.
            InvalidValue: it isn't an array.
            TaskNotFound, WaitTimeout

        >>> sweep = client.submit("m:simulate", array="1-100")  # doctest: +SKIP
        >>> values = [value for value in sweep.results()]  # doctest: +SKIP
        """
        flow = self.client._flows.array_results(self.id, timeout, return_exceptions)
        for batch in self.client._stream(flow):
            yield from batch

    def cancel(
        self, *, requeue: bool = True, grace: Duration = DEFAULT_GRACE, reason: str | None = None, wait: bool = True
    ) -> Cancelled:
        """Stop it. By default it goes to the back of its equals and runs again. See ``Client.cancel``."""
        return self.client._do(self.client._flows.cancel(self.id, requeue, grace, reason, wait))

    def explain(self) -> Explanation:
        """Why it is where it is. See ``Client.explain``."""
        return self.client._do(self.client._flows.explain(self.id))


@dataclass(frozen=True, slots=True, eq=False)
class EndedTask(TaskHandle[T]):
    """The handle of a task that has ended, and how: what ``as_completed`` yields. It equals the task's other handles.

    >>> for task in client.as_completed(handles):  # doctest: +SKIP
    ...     print(task.id, task.ended)
    """

    ended: State

    def __iter__(self) -> Iterator[Any]:
        warnings.warn(
            "as_completed yields handles: instead of `for task_id, state in …` say `for task in …`, and use task.id "
            "and task.ended",
            DeprecationWarning,
            stacklevel=2,
        )
        return iter((self.id, self.ended))


class TaskHandles(list[TaskHandle[T]]):
    """A list of handles, as ``submit_many`` and ``map`` return it.

    >>> handles = client.map("math:sqrt", range(1000))  # doctest: +SKIP
    >>> sum([root for root in handles.results(timeout=60)])  # doctest: +SKIP
    21065.833110879048
    """

    def results(self, timeout: Duration | None = None, *, return_exceptions: bool = False) -> Iterator[T]:
        """What the tasks returned, in the order of the list, each as soon as it and those before it have ended.

        They are read in batches of 1,000: no more of them are in memory.

        Parameters:
            timeout: seconds, ``"10m"`` or a ``timedelta``, for all together; None: for ever.
            return_exceptions: whether the errors of tasks come as values; else the first one is raised.

        Raises:
            TaskFailed, UnreadableValue: of a task; those before it have come.
            TaskNotFound, WaitTimeout
        """
        if self:
            client = self[0].client
            flow = client._flows.results([handle.id for handle in self], timeout, return_exceptions)
            for batch in client._stream(flow):
                yield from batch


class EndStates(dict[TaskHandle[Any], State]):
    """How tasks have ended: handle → state, as ``wait`` returns it. An id may stand for the handle."""

    def __getitem__(self, task: TaskHandle[Any] | str) -> State:
        if isinstance(task, str):
            if not self:
                raise KeyError(task)
            task = TaskHandle(next(iter(self)).client, task)
        return super().__getitem__(task)


def id_of(task: TaskHandle[Any] | str) -> str:
    """The id of a handle; an id itself."""
    return task.id if isinstance(task, TaskHandle) else task


def ids_of(tasks: Iterable[TaskHandle[Any] | str]) -> Iterator[str]:
    """The ids of tasks, each given as a handle or an id.

    Raises:
        InvalidValue: one task, not several.
    """
    if isinstance(tasks, (str, TaskHandle)):
        raise InvalidValue(f"several tasks are expected, such as [{id_of(tasks)!r}]: put this one in a list")
    return map(id_of, tasks)
