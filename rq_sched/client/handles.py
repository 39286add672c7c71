"""Handles: a client and the id of a task. Making one asks nobody, and none keeps anything of the task."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rq_sched.errors import InvalidValue
from rq_sched.model.arrays import extent
from rq_sched.model.states import State
from rq_sched.model.task import DEFAULT_GRACE, TaskInfo

if TYPE_CHECKING:
    from rq_sched.client.awaiting import AsyncClient
    from rq_sched.client.blocking import Client
    from rq_sched.store.answers import Cancelled

T = TypeVar("T")


def element_ids(info: TaskInfo) -> Iterator[str]:
    """The ids of an array's elements, in their order.  Raises: InvalidValue."""
    if info.array is None:
        raise InvalidValue(f"{info.task_id} isn't an array: it has no elements")
    first, last = extent(info.array)
    return (f"{info.task_id}/{index}" for index in range(first, last + 1))


@dataclass(frozen=True, slots=True)
class TaskHandle(Generic[T]):
    """A task that was submitted, or any other by its id (``client.handle``).

    >>> handle = client.submit("math:sqrt", 2.0)  # doctest: +SKIP
    >>> handle.result(timeout=5)  # doctest: +SKIP
    1.4142135623730951
    """

    client: Client
    id: str

    def status(self) -> TaskInfo:
        """Everything known of it. See ``Client.status``."""
        return self.client.status(self.id)

    def state(self) -> State:
        """Where it is: cheaper than ``status()``.  Raises: TaskNotFound."""
        return self.client.state(self.id)

    def done(self) -> bool:
        """Whether it has ended.  Raises: TaskNotFound."""
        return self.state().final

    def wait(self, timeout: float | None = None) -> State:
        """Wait until it has ended; says how. See ``Client.wait``."""
        return self.client.wait([self.id], timeout)[self.id]

    def result(self, timeout: float | None = None) -> T:
        """Wait until it has ended; what it returned. See ``Client.result``."""
        value: T = self.client.result(self.id, timeout)
        return value

    def elements(self) -> Iterator[TaskHandle[T]]:
        """Of an array the handles of its elements, in their order, made as they are asked for.

        Raises:
            TaskNotFound
            InvalidValue: it isn't an array.

        >>> sweep = client.submit("m:simulate", array="1-100")  # doctest: +SKIP
        >>> sweep.wait()  # doctest: +SKIP
        <State.COMPLETED: 'completed'>
        >>> [element.result() for element in sweep.elements()]  # doctest: +SKIP
        """
        for task_id in element_ids(self.client._do(self.client._flows.array(self.id))):
            yield TaskHandle(self.client, task_id)

    def cancel(
        self, *, requeue: bool = True, grace: float = DEFAULT_GRACE, reason: str | None = None, wait: bool = True
    ) -> Cancelled:
        """Stop it. See ``Client.cancel``."""
        return self.client.cancel(self.id, requeue=requeue, grace=grace, reason=reason, wait=wait)

    def explain(self) -> dict[str, Any]:
        """Why it is where it is. See ``Client.explain``."""
        return self.client.explain(self.id)


@dataclass(frozen=True, slots=True)
class AsyncTaskHandle(Generic[T]):
    """``TaskHandle`` for ``AsyncClient``.

    >>> handle = await client.submit("math:sqrt", 2.0)  # doctest: +SKIP
    >>> await handle.result(timeout=5)  # doctest: +SKIP
    1.4142135623730951
    """

    client: AsyncClient
    id: str

    async def status(self) -> TaskInfo:
        """Everything known of it. See ``Client.status``."""
        return await self.client.status(self.id)

    async def state(self) -> State:
        """Where it is: cheaper than ``status()``.  Raises: TaskNotFound."""
        return await self.client.state(self.id)

    async def done(self) -> bool:
        """Whether it has ended.  Raises: TaskNotFound."""
        return (await self.state()).final

    async def wait(self, timeout: float | None = None) -> State:
        """Wait until it has ended; says how. See ``Client.wait``."""
        return (await self.client.wait([self.id], timeout))[self.id]

    async def result(self, timeout: float | None = None) -> T:
        """Wait until it has ended; what it returned. See ``Client.result``."""
        value: T = await self.client.result(self.id, timeout)
        return value

    async def elements(self) -> AsyncIterator[AsyncTaskHandle[T]]:
        """See ``TaskHandle.elements``."""
        for task_id in element_ids(await self.client._do(self.client._flows.array(self.id))):
            yield AsyncTaskHandle(self.client, task_id)

    async def cancel(
        self, *, requeue: bool = True, grace: float = DEFAULT_GRACE, reason: str | None = None, wait: bool = True
    ) -> Cancelled:
        """Stop it. See ``Client.cancel``."""
        return await self.client.cancel(self.id, requeue=requeue, grace=grace, reason=reason, wait=wait)

    async def explain(self) -> dict[str, Any]:
        """Why it is where it is. See ``Client.explain``."""
        return await self.client.explain(self.id)
