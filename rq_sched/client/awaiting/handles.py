"""Handles: a client and the id of a task. Making one asks nobody, and none keeps anything of the task."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rq_sched.client.awaiting.stepper import AsyncStepper
from rq_sched.errors import InvalidValue
from rq_sched.model.durations import Duration
from rq_sched.model.explanation import Explanation
from rq_sched.model.references import Home, Reference
from rq_sched.model.states import State
from rq_sched.model.task import DEFAULT_GRACE, TaskInfo
from rq_sched.store.answers import Cancelled

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class AsyncTaskHandle(Reference, Generic[T]):
    """A task that was submitted, or any other by its id (``client.handle``).

    Handles of one client with the same id are equal: they may be keys of a dict. Among the arguments of another task
    a handle stands for the result: that task waits for this one.

    >>> handle = await client.submit("math:sqrt", 2.0)  # doctest: +SKIP
    >>> await handle.result(timeout=5)  # doctest: +SKIP
    1.4142135623730951
    """

    client: AsyncStepper
    id: str

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AsyncTaskHandle):
            return NotImplemented
        return self.id == other.id and self.client is other.client

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def home(self) -> Home:
        """Where it is: the address of its Redis, and its namespace."""
        return self.client.home

    async def status(self) -> TaskInfo:
        """Everything known of it, also why it waits.  Raises: TaskNotFound."""
        return await self.client._do(self.client._flows.status(self.id))

    async def state(self) -> State:
        """Where it is: cheaper than ``status()``.  Raises: TaskNotFound."""
        return await self.client._do(self.client._flows.state(self.id))

    async def done(self) -> bool:
        """Whether it has ended.  Raises: TaskNotFound."""
        state = await self.state()
        return state.final

    async def wait(self, timeout: Duration | None = None) -> State:
        """Wait until it has ended; says how.

        Parameters:
            timeout: seconds, ``"10m"`` or a ``timedelta``; None: for ever; 0: only look.

        Raises:
            TaskNotFound
            WaitTimeout: it hasn't ended in time. It goes on.
        """
        ended: list[tuple[str, State]] = []
        async for batch in self.client._stream(self.client._flows.as_completed([self.id], timeout)):
            ended += batch
        return ended[0][1]

    async def result(self, timeout: Duration | None = None) -> T:
        """Wait until it has ended; what it returned. (An array returns None: ``results()``.)

        Parameters:
            timeout: seconds, ``"10m"`` or a ``timedelta``; None: for ever; 0: only look.

        Raises:
            TaskFailed: it failed; with ``TaskCancelled``, a subclass, it was cancelled.
            UnreadableValue: it completed, and what stands in Redis is no result.
            TaskNotFound, WaitTimeout
        """
        value: T = await self.client._do(self.client._flows.result(self.id, timeout))
        return value

    async def elements(self) -> AsyncIterator[AsyncTaskHandle[T]]:
        """Of an array the handles of its elements, in their order, made as they are asked for.

        Raises:
            TaskNotFound
            InvalidValue: it isn't an array.

        >>> sweep = await client.submit("m:simulate", array="1-100")  # doctest: +SKIP
        >>> async for element in sweep.elements():  # doctest: +SKIP
        ...     print(element.id, await element.state())
        """
        for task_id in await self.client._do(self.client._flows.elements(self.id)):
            yield AsyncTaskHandle(self.client, task_id)

    async def results(self, timeout: Duration | None = None, *, return_exceptions: bool = False) -> AsyncIterator[T]:
        """Of an array what its elements returned, in their order, each as soon as it and those before it have ended.

        They are read in batches of 1,000: no more of them are in memory.

        Parameters:
            timeout: seconds, ``"10m"`` or a ``timedelta``, for all together; None: for ever.
            return_exceptions: whether the errors of elements come as values; else the first one is raised.

        Raises:
            TaskFailed, UnreadableValue: of an element; those before it have come.
            InvalidValue: it isn't an array.
            TaskNotFound, WaitTimeout

        >>> sweep = await client.submit("m:simulate", array="1-100")  # doctest: +SKIP
        >>> values = [value async for value in sweep.results()]  # doctest: +SKIP
        """
        flow = self.client._flows.array_results(self.id, timeout, return_exceptions)
        async for batch in self.client._stream(flow):
            for value in batch:
                yield value

    async def cancel(
        self, *, requeue: bool = True, grace: Duration = DEFAULT_GRACE, reason: str | None = None, wait: bool = True
    ) -> Cancelled:
        """Stop it. By default it goes to the back of its equals and runs again. See ``AsyncClient.cancel``."""
        return await self.client._do(self.client._flows.cancel(self.id, requeue, grace, reason, wait))

    async def explain(self) -> Explanation:
        """Why it is where it is. See ``AsyncClient.explain``."""
        return await self.client._do(self.client._flows.explain(self.id))


@dataclass(frozen=True, slots=True, eq=False)
class AsyncEndedTask(AsyncTaskHandle[T]):
    """The handle of a task that has ended, and how: what ``as_completed`` yields. It equals the task's other handles.

    >>> async for task in client.as_completed(handles):  # doctest: +SKIP
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


class AsyncTaskHandles(list[AsyncTaskHandle[T]]):
    """A list of handles, as ``submit_many`` and ``map`` return it.

    >>> handles = await client.map("math:sqrt", range(1000))  # doctest: +SKIP
    >>> sum([root async for root in handles.results(timeout=60)])  # doctest: +SKIP
    21065.833110879048
    """

    async def results(self, timeout: Duration | None = None, *, return_exceptions: bool = False) -> AsyncIterator[T]:
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
            async for batch in client._stream(flow):
                for value in batch:
                    yield value


class AsyncEndStates(dict[AsyncTaskHandle[Any], State]):
    """How tasks have ended: handle → state, as ``wait`` returns it. An id may stand for the handle."""

    def __getitem__(self, task: AsyncTaskHandle[Any] | str) -> State:
        if isinstance(task, str):
            if not self:
                raise KeyError(task)
            task = AsyncTaskHandle(next(iter(self)).client, task)
        return super().__getitem__(task)


def id_of(task: AsyncTaskHandle[Any] | str) -> str:
    """The id of a handle; an id itself."""
    return task.id if isinstance(task, AsyncTaskHandle) else task


def ids_of(tasks: Iterable[AsyncTaskHandle[Any] | str]) -> Iterator[str]:
    """The ids of tasks, each given as a handle or an id.

    Raises:
        InvalidValue: one task, not several.
    """
    if isinstance(tasks, (str, AsyncTaskHandle)):
        raise InvalidValue(f"several tasks are expected, such as [{id_of(tasks)!r}]: put this one in a list")
    return map(id_of, tasks)
