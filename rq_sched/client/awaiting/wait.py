"""Waiting for the ends of tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

from rq_sched.client.awaiting.handles import AsyncEndedTask, AsyncEndStates, AsyncTaskHandle, ids_of
from rq_sched.client.awaiting.stepper import AsyncStepper
from rq_sched.client.awaiting.watch import AsyncWatch
from rq_sched.model.durations import Duration


class AsyncWaitMethods(AsyncStepper):
    """The methods of ``AsyncClient`` that wait."""

    async def wait(
        self, tasks: Iterable[AsyncTaskHandle[Any] | str], timeout: Duration | None = None
    ) -> AsyncEndStates:
        """Wait until all of these tasks have ended; says how each did.

        A lost connection to Redis is waited out.

        Parameters:
            tasks: handles or ids.
            timeout: seconds, ``"10m"`` or a ``timedelta``; None: for ever; 0: only look.

        Returns:
            a dict, handle → state. An id is taken for a handle in it.

        Raises:
            TaskNotFound: one of them is unknown.
            WaitTimeout: some haven't ended in time. They go on.

        >>> handles = await client.map("math:sqrt", range(3))  # doctest: +SKIP
        >>> await client.wait(handles, timeout=60)  # doctest: +SKIP
        """
        ended = AsyncEndStates()
        async for task in self.as_completed(tasks, timeout):
            ended[task] = task.ended
        return ended

    async def as_completed(
        self, tasks: Iterable[AsyncTaskHandle[Any] | str], timeout: Duration | None = None
    ) -> AsyncIterator[AsyncEndedTask[Any]]:
        """The handles of tasks as they end, each once; ``ended`` says how. Parameters and errors: ``wait``.

        >>> async for task in client.as_completed(handles):  # doctest: +SKIP
        ...     print(task.id, task.ended)
        """
        async for batch in self._stream(self._flows.as_completed(ids_of(tasks), timeout)):
            for task_id, state in batch:
                yield AsyncEndedTask(self, task_id, state)

    def watch(self, tasks: Iterable[AsyncTaskHandle[Any] | str] = (), *, until_closed: bool = False) -> AsyncWatch:
        """Watch tasks as they start and end, with what is known of them then; more may be added meanwhile.

        Parameters:
            tasks: handles or ids.
            until_closed: whether to go on when all have ended, as more may be added; else the iteration ends then.

        >>> async for info in client.watch(handles):  # doctest: +SKIP
        ...     print(info.task_id, info.state)
        """
        return AsyncWatch(self, ids_of(tasks), until_closed)

    async def result(self, task_id: str, timeout: Duration | None = None) -> Any:
        """Wait until a task has ended; what it returned. (An array returns None: ``handle.results()``.)

        Parameters:
            timeout: seconds, ``"10m"`` or a ``timedelta``; None: for ever; 0: only look.

        Raises:
            TaskFailed: it failed; with ``TaskCancelled``, a subclass, it was cancelled.
            UnreadableValue: it completed, and what stands in Redis is no result.
            TaskNotFound, WaitTimeout

        >>> await client.result("w5ivmtn2vzkvbmhz", timeout=5)  # doctest: +SKIP
        1.4142135623730951
        """
        return await self._do(self._flows.result(task_id, timeout))
