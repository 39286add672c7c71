"""Watching a set of tasks that grows: what batch systems and executors are built on."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Any

from rq_sched.client.awaiting.handles import AsyncTaskHandle, ids_of
from rq_sched.client.awaiting.stepper import AsyncStepper
from rq_sched.client.flows.watch import Watched
from rq_sched.client.steps import new_channel
from rq_sched.model.ids import known_id
from rq_sched.model.task import TaskInfo


class AsyncWatch:
    """Yields what is known of tasks as they start and as they end: made by ``client.watch()``.

    A task is told when it is seen to run, once for each attempt, and when it has ended; then it isn't watched any more.
    An end is told at once; a start is looked for every second, in 1,000 tasks at a time. One that starts and ends in
    between is told once, as ended. Iterating may be stopped and begun again: nothing is lost.

    >>> async with client.watch(handles) as watch:  # doctest: +SKIP
    ...     async for info in watch:
    ...         print(info.task_id, info.state, info.result)
    ...         if info.state == "failed":
    ...             await watch.add([await client.submit("m:clean", info.task_id)])
    """

    def __init__(self, client: AsyncStepper, task_ids: Iterable[str], until_closed: bool) -> None:
        self._client = client
        self._channel = new_channel()
        self._watched = Watched(until_closed)
        self._watched.add_later(map(known_id, task_ids))
        self._news: deque[TaskInfo] = deque()

    async def add(self, tasks: Iterable[AsyncTaskHandle[Any] | str]) -> None:
        """Watch these too, given as handles or ids. Any thread may add.

        Raises:
            InvalidValue: not ids of tasks. Of one that isn't there the iteration tells: ``TaskNotFound``.
        """
        self._watched.add_later([known_id(task_id) for task_id in ids_of(tasks)])
        await self._client._do(self._client._flows.ring(self._channel))

    def discard(self, tasks: Iterable[AsyncTaskHandle[Any] | str]) -> None:
        """Watch these no more."""
        self._watched.discard(ids_of(tasks))

    async def close(self) -> None:
        """End the iteration. The tasks go on."""
        self._watched.closed = True
        await self._client._do(self._client._flows.ring(self._channel))

    async def __aenter__(self) -> AsyncWatch:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watched.closed = True

    def __aiter__(self) -> AsyncIterator[TaskInfo]:
        return self._told()

    async def _told(self) -> AsyncIterator[TaskInfo]:
        while self._news:
            yield self._news.popleft()
        async for batch in self._client._stream(self._client._flows.watching(self._watched, self._channel)):
            self._news.extend(batch)
            while self._news:
                yield self._news.popleft()
