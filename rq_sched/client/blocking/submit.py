# Made from ../awaiting/submit.py by `python -m tools.twins`: change that one, and run it again.
"""Submitting tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rq_sched.client.blocking.handles import TaskHandle, TaskHandles
from rq_sched.client.blocking.stepper import Stepper
from rq_sched.model.ids import known_id
from rq_sched.model.target import Options, Target, make_request, request_of
from rq_sched.model.task import TaskRequest


class SubmitMethods(Stepper):
    """The methods of ``Client`` that submit."""

    def submit(
        self,
        target: Target,
        /,
        *args: Any,
        cpu: int | None = None,
        memory: int | str | None = None,
        max_cpu: int | None = None,
        max_memory: int | str | None = None,
        require: Sequence[str] | None = None,
        array: str | range | None = None,
        priority: int | None = None,
        task_id: str | None = None,
        retries: int | None = None,
        crash_limit: int | None = None,
        time_limit: float | None = None,
        delay: float | None = None,
        elastic: str | None = None,
        preemptible: bool | None = None,
        **kwargs: Any,
    ) -> TaskHandle[Any]:
        """Submit one task.

        The names below are options of the task; every other keyword is the function's. (One that has such a keyword
        itself: hand over a ``TaskRequest``, or mark it with ``@task`` and use ``f.options(…).submit(…)``.) An option
        that is None is as the function's ``@task`` says, else the default.

        Parameters:
            target: ``"pkg.mod:func"``, a function at the top level of a module, ``"exec:/path"`` for a command (its
                arguments are ``args``), or a ``TaskRequest`` that says everything.
            args, kwargs: plain data (None, bool, int, float, str, bytes, list, dict), at most 256 KiB together.
            cpu: cores it needs (1).  memory: what it needs, in MB or as ``"2G"`` (256 MB).
            max_cpu, max_memory: up to which it may grow (what it needs).
            require: labels that its node must carry (none).
            array: ``FIRST-LAST`` or a ``range``: run it once for each of these indexes, as one array of up to
                10,000,000 elements. Each is a task ``ID/INDEX`` and finds its index as ``current_task().index``;
                ``handle.elements()`` gives their handles. What is done to the array is done to all that haven't ended.
            priority: higher first, any integer in ±2³¹ (0).
            task_id: generated here if None, so that a repeated send is the same task.
            retries: how often a failure is tried again (0).
            crash_limit: how many deaths of its process or node make it fail as poison (3).
            time_limit: seconds a run may take (no limit).  delay: seconds before it may be placed (0).
            elastic: ``off``, ``cpu`` or ``all``: what others may use while it doesn't (``cpu``).
            preemptible: whether a task of higher priority may stop it (False).

        Raises:
            InvalidTarget: no worker could find the function (a lambda, of ``__main__``, nested, a method).
            UsageError: another bad value (``InvalidValue``, ``NotSerializable``, ``PayloadTooLarge``, …).
            TaskExists: the id is taken by another request.
            TooManyLabelSets: tasks with too many sets of labels wait. Nothing is submitted.

        >>> client.submit("math:sqrt", 2.0, cpu=2, memory="1G", priority=10).id  # doctest: +SKIP
        'w5ivmtn2vzkvbmhz'
        >>> sweep = client.submit("m:simulate", array=range(1, 101))  # doctest: +SKIP
        >>> [element.result() for element in sweep.elements()]  # doctest: +SKIP
        """
        options: Options = {
            "cpu": cpu, "memory": memory, "max_cpu": max_cpu, "max_memory": max_memory, "require": require,
            "array": array, "priority": priority, "task_id": task_id, "retries": retries, "crash_limit": crash_limit,
            "time_limit": time_limit, "delay": delay, "elastic": elastic, "preemptible": preemptible,
        }  # fmt: skip
        request = make_request(target, args, kwargs, options)
        return TaskHandle(self, self._do(self._flows.submit(request)))

    def dry_run(self, target: Target, /, *args: Any, **keywords: Any) -> dict[str, Any]:
        """What would become of a task if it were submitted now: as ``explain``, and nothing is written.

        Parameters and errors: ``submit``. ``state`` is what it would be: assigned, pending with a reason, or delayed.

        >>> client.dry_run("math:sqrt", 2.0, cpu=64)["reason"]  # doctest: +SKIP
        'infeasible'
        """
        return self._do(self._flows.dry_run(request_of(target, args, keywords)))

    def submit_many(self, requests: Iterable[TaskRequest | Mapping[str, Any]]) -> TaskHandles[Any]:
        """Submit many tasks, in batches. For millions, ``submit_stream`` doesn't keep a handle of each.

        A request without an id gets one, and keeps it: submitting the same object again is the same task. So after an
        error the same list can simply be submitted again.

        Parameters:
            requests: ``TaskRequest``, or dicts with the same field names.

        Raises:
            TaskExists, TooManyLabelSets: of some of them; all the others have been submitted.
            UsageError: a bad request, named by its number; those before it have been submitted, none after it.

        >>> handles = client.submit_many(TaskRequest("math:sqrt", [n]) for n in range(10_000))  # doctest: +SKIP
        """
        return TaskHandles(list(self.submit_stream(requests)))

    def submit_stream(self, requests: Iterable[TaskRequest | Mapping[str, Any]]) -> Iterator[TaskHandle[Any]]:
        """Submit any number of tasks in constant memory: what is iterated over is submitted, a batch ahead.

        Nothing happens before the first iteration. Parameters and errors: ``submit_many``.

        >>> sum(1 for _ in client.submit_stream(read_requests()))  # doctest: +SKIP
        1000000
        """
        for batch in self._stream(self._flows.submit_stream(requests)):
            for task_id in batch:
                yield TaskHandle(self, task_id)

    def handle(self, task_id: str) -> TaskHandle[Any]:
        """The handle of a task that was submitted elsewhere or earlier.  Raises: InvalidId."""
        return TaskHandle(self, known_id(task_id))
