# Made from ../awaiting/wait.py by `python -m tools.twins`: change that one, and run it again.
"""Waiting for the ends of tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from rq_sched.client.blocking.handles import EndedTask, EndStates, TaskHandle, ids_of
from rq_sched.client.blocking.stepper import Stepper
from rq_sched.client.blocking.watch import Watch
from rq_sched.model.durations import Duration


class WaitMethods(Stepper):
    """The methods of ``Client`` that wait."""

    def wait(self, tasks: Iterable[TaskHandle[Any] | str], timeout: Duration | None = None) -> EndStates:
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

        >>> handles = client.map("math:sqrt", range(3))  # doctest: +SKIP
        >>> client.wait(handles, timeout=60)  # doctest: +SKIP
        """
        ended = EndStates()
        for task in self.as_completed(tasks, timeout):
            ended[task] = task.ended
        return ended

    def as_completed(
        self, tasks: Iterable[TaskHandle[Any] | str], timeout: Duration | None = None
    ) -> Iterator[EndedTask[Any]]:
        """The handles of tasks as they end, each once; ``ended`` says how. Parameters and errors: ``wait``.

        >>> for task in client.as_completed(handles):  # doctest: +SKIP
        ...     print(task.id, task.ended)
        """
        for batch in self._stream(self._flows.as_completed(ids_of(tasks), timeout)):
            for task_id, state in batch:
                yield EndedTask(self, task_id, state)

    def watch(self, tasks: Iterable[TaskHandle[Any] | str] = (), *, until_closed: bool = False) -> Watch:
        """Watch tasks as they start and end, with what is known of them then; more may be added meanwhile.

        Parameters:
            tasks: handles or ids.
            until_closed: whether to go on when all have ended, as more may be added; else the iteration ends then.

        >>> for info in client.watch(handles):  # doctest: +SKIP
        ...     print(info.task_id, info.state)
        """
        return Watch(self, ids_of(tasks), until_closed)

    def result(self, task_id: str, timeout: Duration | None = None) -> Any:
        """Wait until a task has ended; what it returned. (An array returns None: ``handle.results()``.)

        Parameters:
            timeout: seconds, ``"10m"`` or a ``timedelta``; None: for ever; 0: only look.

        Raises:
            TaskFailed: it failed; with ``TaskCancelled``, a subclass, it was cancelled.
            UnreadableValue: it completed, and what stands in Redis is no result.
            TaskNotFound, WaitTimeout

        >>> client.result("w5ivmtn2vzkvbmhz", timeout=5)  # doctest: +SKIP
        1.4142135623730951
        """
        return self._do(self._flows.result(task_id, timeout))
