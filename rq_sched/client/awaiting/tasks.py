"""What is done with single tasks, and asked of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from rq_sched.client.awaiting.handles import AsyncTaskHandle, ids_of
from rq_sched.client.awaiting.stepper import AsyncStepper
from rq_sched.model.durations import Duration
from rq_sched.model.explanation import Explanation
from rq_sched.model.states import CancelOutcome, State
from rq_sched.model.tags import TagsGiven
from rq_sched.model.task import DEFAULT_GRACE, TaskInfo
from rq_sched.store.answers import Cancelled


class AsyncTaskMethods(AsyncStepper):
    """The methods of ``AsyncClient`` about single tasks."""

    async def cancel(
        self,
        task_id: str,
        *,
        requeue: bool = True,
        grace: Duration = DEFAULT_GRACE,
        reason: str | None = None,
        wait: bool = True,
    ) -> Cancelled:
        """Stop a task. By default it goes to the back of its equals and runs again.  Raises: TaskNotFound.

        Parameters:
            requeue: False ends it for good, as ``cancelled``.
            grace: time between SIGTERM and SIGKILL, in seconds or such as ``"1m"``, where it runs.
            reason: a note for the decision log.
            wait: whether to wait until its processes are gone: grace + 5 s at most.

        Returns:
            what happened: its ``outcome`` is a ``CancelOutcome``, and equals one of these texts: ``requeued``;
            ``cancelled``; ``unchanged`` (delayed or held: it stays so); ``already completed``, ``already failed``,
            ``already cancelled``; ``stopping`` (told to stop, not known to be gone). Of an array, ``elements`` are
            those that were told to stop.

        >>> cancelled = await client.cancel("w5ivmtn2vzkvbmhz", requeue=False)  # doctest: +SKIP
        >>> cancelled.outcome is CancelOutcome.CANCELLED  # doctest: +SKIP
        True
        """
        return await self._do(self._flows.cancel(task_id, requeue, grace, reason, wait))

    async def cancel_many(
        self,
        tasks: Iterable[AsyncTaskHandle[Any] | str] | None = None,
        *,
        state: State | str | None = None,
        tag: TagsGiven = None,
        requeue: bool = True,
        grace: Duration = DEFAULT_GRACE,
        reason: str | None = None,
        wait: bool = True,
    ) -> dict[CancelOutcome, int]:
        """Stop many tasks; says how many ended how.

        Parameters:
            tasks: these, given as handles or ids. An unknown one is passed over.
            state: instead of ``tasks`` all that are in this state now: not ``completed``, ``failed`` or ``cancelled``.
            tag: all that have this tag: ``"run=17"``, a list of such, or a mapping.
            requeue, grace, reason, wait: see ``cancel``.

        Raises:
            InvalidValue: nothing says which, or ``tasks`` and something else do; the state is final.

        >>> await client.cancel_many(state="pending", requeue=False)  # doctest: +SKIP
        {<CancelOutcome.CANCELLED: 'cancelled'>: 250000}
        """
        ids = None if tasks is None else ids_of(tasks)
        outcomes: Counter[CancelOutcome] = Counter()
        async for answers in self._stream(self._flows.cancelling(ids, state, tag, requeue, grace, reason, wait)):
            outcomes.update(answer.outcome for answer in answers if isinstance(answer, Cancelled))
        return dict(outcomes)

    async def requeue(self, task_id: str) -> State:
        """Run an ended task again, or a delayed one now.  Raises: TaskNotFound, WrongState.

        >>> await client.requeue("w5ivmtn2vzkvbmhz")  # doctest: +SKIP
        """
        return await self._do(self._flows.requeue(task_id))

    async def hold(self, task_id: str) -> State:
        """Set a waiting task aside until ``unhold``.  Raises: TaskNotFound, TaskFinal, WrongState.

        >>> await client.hold("w5ivmtn2vzkvbmhz")  # doctest: +SKIP
        """
        return await self._do(self._flows.hold(task_id))

    async def unhold(self, task_id: str) -> State:
        """Bring a held task back to its old place in the order.  Raises: TaskNotFound, TaskFinal.

        >>> await client.unhold("w5ivmtn2vzkvbmhz")  # doctest: +SKIP
        """
        return await self._do(self._flows.unhold(task_id))

    async def prioritize(self, task_id: str, priority: int) -> State:
        """Change a task's priority (higher first, ±2³¹).  Raises: TaskNotFound, TaskFinal, InvalidValue.

        >>> await client.prioritize("w5ivmtn2vzkvbmhz", 10)  # doctest: +SKIP
        """
        return await self._do(self._flows.prioritize(task_id, priority))

    async def forget(
        self,
        tasks: Iterable[AsyncTaskHandle[Any] | str] | None = None,
        *,
        state: State | str | None = None,
        older_than: Duration = 0.0,
    ) -> int:
        """Drop ended tasks with their results and output; says how many.

        Parameters:
            tasks: only these, given as handles or ids; None: all that match.
            state: only ``completed``, ``failed`` or ``cancelled`` ones.
            older_than: only those that ended so long ago: seconds, ``"10m"`` or a ``timedelta``.

        Raises:
            TaskNotFound, TaskNotFinal: one of ``tasks`` is unknown, or hasn't ended.

        >>> await client.forget(state="completed", older_than="1d")  # doctest: +SKIP
        """
        return await self._do(self._flows.forget(None if tasks is None else ids_of(tasks), state, older_than))

    async def status(self, task_id: str) -> TaskInfo:
        """Everything known of a task, also why it waits.  Raises: TaskNotFound.

        >>> status = await client.status("w5ivmtn2vzkvbmhz")  # doctest: +SKIP
        """
        return await self._do(self._flows.status(task_id))

    async def state(self, task_id: str) -> State:
        """Where a task is.  Raises: TaskNotFound.

        >>> await client.state("w5ivmtn2vzkvbmhz")  # doctest: +SKIP
        """
        return await self._do(self._flows.state(task_id))

    async def states(self, tasks: Iterable[AsyncTaskHandle[Any] | str]) -> list[State | None]:
        """Where tasks are, given as handles or ids, in the order asked; None for an unknown one.

        >>> await client.states(handles)  # doctest: +SKIP
        """
        return await self._do(self._flows.states(ids_of(tasks)))

    async def tasks(
        self,
        *,
        array: str | None = None,
        state: State | str | None = None,
        node_id: str | None = None,
        priority: int | None = None,
        tag: TagsGiven = None,
        limit: int = 50,
    ) -> list[TaskInfo]:
        """Tasks: those on nodes, then pending ones in their order, delayed, held, ended ones (newest first).

        Parameters:
            array: only elements of this array, in the order of their indexes.
            state, node_id, priority: only such ones; a state that there isn't raises InvalidValue.
            tag: only those with this tag: ``"run=17"``, a list of such, or a mapping.
            limit: how many at most.

        >>> failed = await client.tasks(state="failed", limit=10)  # doctest: +SKIP
        """
        return await self._do(self._flows.tasks(array, state, node_id, priority, tag, limit))

    async def explain(self, task_id: str) -> Explanation:
        """Why a task is where it is (``Explain.explain`` names the fields).  Raises: TaskNotFound.

        >>> why = await client.explain("w5ivmtn2vzkvbmhz")  # doctest: +SKIP
        """
        return await self._do(self._flows.explain(task_id))

    async def logs(self, task_id: str) -> str:
        """What a task has printed: at least the last 64 KiB (``log_limit``).  Raises: TaskNotFound.

        >>> print(await client.logs("w5ivmtn2vzkvbmhz"))  # doctest: +SKIP
        """
        return await self._do(self._flows.logs(task_id))
