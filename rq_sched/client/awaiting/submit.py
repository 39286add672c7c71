"""Submitting tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rq_sched.client.awaiting.handles import AsyncTaskHandle, AsyncTaskHandles
from rq_sched.client.awaiting.stepper import AsyncStepper
from rq_sched.client.awaiting.submitter import AsyncSubmitter
from rq_sched.model.asked import AmountsGiven
from rq_sched.model.durations import Duration
from rq_sched.model.explanation import Explanation
from rq_sched.model.ids import known_id
from rq_sched.model.target import Options, Target, merge, parted, short_form
from rq_sched.model.task import TaskRequest

if TYPE_CHECKING:
    from typing import Unpack


class AsyncSubmitMethods(AsyncStepper):
    """The methods of ``AsyncClient`` that submit."""

    def options(self, **options: Unpack[Options]) -> AsyncSubmitter:
        """Options for what is submitted: ``client.options(cpu=2).submit(f, …)``. Every keyword of that ``submit`` is
        the function's own.

        Parameters:
            cpu: cores that it needs (1).  memory: what it needs, in MB or as ``"2G"`` (256 MB).
            max_cpu, max_memory: up to which it may grow (what it needs).
            require: labels that its node must carry (none).
            resources: what it needs of resources of its node: ``{"gpu": 2}``; below 1 it is a share of one (none).
            limits: what it takes of limits that hold across nodes (``rq-sched limit``): ``{"api": 1}`` (none).
            array: ``FIRST-LAST`` or a ``range``: run it once for each of these indexes, as one array of up to
                10,000,000 elements. Each is a task ``ID/INDEX`` and finds its index as ``current_task().index``;
                ``handle.elements()`` gives their handles, ``handle.results()`` what they return. What is done to the
                array is done to all that haven't ended.
            priority: higher first, any integer in ±2³¹ (0).
            task_id: generated here if None, so that a repeated send is the same task.
            retries: how often a failure is tried again (0).
            crash_limit: how many deaths of its process or node make it fail as poison (3).
            time_limit: how long a run may take: seconds, ``"10m"`` or a ``timedelta`` (no limit).
            delay: how long it isn't placed, given likewise (0).
            deadline: how long after its submit it must have started for the first time; else it fails with reason
                ``expired`` (none).
            infeasible: what becomes of it where no node could hold it even when empty: ``wait``, or ``fail`` at once
                with reason ``infeasible`` (``wait``).
            elastic: ``off``, ``cpu`` or ``all``: what others may use while it doesn't (``cpu``).
            preemptible: whether a task of higher priority may stop it (False).
            chdir: the folder in which it runs, on its node (the worker's).
            env: variables of its environment: a mapping, or words ``"NAME=TEXT"``, and ``"NAME"`` for what it is here.
            stdin: its standard input: the name of a file on its node, or bytes (``/dev/null``).
            output, error: files on its node for its standard output and standard error (the log). ``%t`` stands for the
                task's id, ``%a`` for its attempt, ``%i`` for its index in an array, ``%n`` for its node, ``%%`` for a
                percent sign. A relative name is one in the task's folder; each attempt begins the file anew.
            log_limit: how much of what it writes the log keeps, the last ones: bytes or ``"512K"``, up to 1M (64K).
            name: what people call it (none).  tags: names with texts, to sort tasks by (none).
            after: tasks that must have ended before it may run: handles, or ids; ``"ID"`` must have completed,
                ``"ID:any"`` ended in whatever way, ``"ID:failed"`` failed or been cancelled.
            after_each: an array with the same indexes, as handle or id: element i of this ``array`` waits until element
                i of that one has completed, and doesn't run if it ends otherwise.
            on_failure: what becomes of it when one of these ends otherwise: ``cancel`` (with reason ``dependency``), or
                ``keep``: it waits until that task is requeued and ends as wanted (``cancel``).

        An option that is None is as the function's ``@task`` says, else the default.

        Raises:
            InvalidValue: there is no such option; the nearest one is told.

        >>> big = client.options(cpu=8, memory="32G", time_limit="2h")
        >>> handle = await big.submit(train, "data.csv", epochs=20)  # doctest: +SKIP
        """
        return AsyncSubmitter(self, merge({}, options))

    async def submit(
        self,
        target: Target,
        /,
        *args: Any,
        cpu: int | None = None,
        memory: int | str | None = None,
        max_cpu: int | None = None,
        max_memory: int | str | None = None,
        require: Sequence[str] | None = None,
        resources: AmountsGiven | None = None,
        limits: AmountsGiven | None = None,
        array: str | range | None = None,
        priority: int | None = None,
        task_id: str | None = None,
        retries: int | None = None,
        crash_limit: int | None = None,
        time_limit: Duration | None = None,
        delay: Duration | None = None,
        deadline: Duration | None = None,
        infeasible: str | None = None,
        elastic: str | None = None,
        preemptible: bool | None = None,
        chdir: str | None = None,
        env: Mapping[str, str] | Sequence[str] | None = None,
        stdin: str | bytes | None = None,
        output: str | None = None,
        error: str | None = None,
        log_limit: int | str | None = None,
        name: str | None = None,
        tags: Mapping[str, str] | Sequence[str] | None = None,
        after: Sequence[Any] | str | None = None,
        after_each: Any = None,
        on_failure: str | None = None,
        **kwargs: Any,
    ) -> AsyncTaskHandle[Any]:
        """Submit one task: the short form of ``client.options(…).submit(…)``.

        The names above are options of the task (``options`` says what they mean); every other keyword is the
        function's. Where that isn't clear, because the function has a parameter of such a name, or a keyword looks
        like a misspelt option, this refuses: then use ``options``.

        Parameters:
            target: ``"pkg.mod:func"``, a function at the top level of a module, ``"exec:/path"`` for a command (its
                arguments are ``args``), or a ``TaskRequest`` that says everything.
            args, kwargs: plain data (None, bool, int, float, str, bytes, list, dict), at most 256 KiB together. A
                tuple arrives as a list, also in a result (``docs/values.md``).

        Raises:
            InvalidTarget: no worker could find the function (a lambda, of ``__main__``, nested, a method).
            InvalidValue: it isn't clear whether a keyword is an option or the function's.
            UsageError: another bad value (``InvalidValue``, ``NotSerializable``, ``PayloadTooLarge``, …).
            TaskExists: the id is taken by another request.
            TooManyLabelSets: tasks with too many sets of labels wait. Nothing is submitted.
            DependencyNotFound: there is no such task to wait for. Nothing is submitted.

        >>> handle = await client.submit("math:sqrt", 2.0, cpu=2, memory="1G", priority=10)  # doctest: +SKIP
        >>> handle.id  # doctest: +SKIP
        'w5ivmtn2vzkvbmhz'
        """
        options: Options = {
            "cpu": cpu, "memory": memory, "max_cpu": max_cpu, "max_memory": max_memory, "require": require,
            "resources": resources, "limits": limits,
            "array": array, "priority": priority, "task_id": task_id, "retries": retries, "crash_limit": crash_limit,
            "time_limit": time_limit, "delay": delay, "deadline": deadline, "infeasible": infeasible,
            "elastic": elastic, "preemptible": preemptible,
            "chdir": chdir, "env": env, "stdin": stdin, "output": output, "error": error, "log_limit": log_limit,
            "name": name, "tags": tags,
            "after": after, "after_each": after_each, "on_failure": on_failure,
        }  # fmt: skip
        request = short_form(target, args, options, kwargs)
        return AsyncTaskHandle(self, await self._do(self._flows.submit(request)))

    async def map(self, function: Callable[..., Any] | str, /, *iterables: Iterable[Any]) -> AsyncTaskHandles[Any]:
        """Submit a call of the function for each item, in batches; with options: ``client.options(…).map(…)``.

        Parameters:
            iterables: one for each argument of the function, as with the builtin ``map``: the shortest one decides.

        Returns:
            the handles, a list in the order of the items; ``handles.results()`` gives what they return.

        Raises:
            InvalidTarget, UsageError: as ``submit``; calls before the bad one have been submitted.

        >>> handles = await client.map("math:sqrt", range(1000))  # doctest: +SKIP
        >>> sum([root async for root in handles.results(timeout=60)])  # doctest: +SKIP
        21065.833110879048
        """
        return await self.options().map(function, *iterables)

    async def dry_run(self, target: Target, /, *args: Any, **keywords: Any) -> Explanation:
        """What would become of a task if it were submitted now: as ``explain``, and nothing is written.

        Parameters and errors: ``submit``. ``state`` is what it would be: assigned, pending with a reason, or delayed.

        >>> (await client.dry_run("math:sqrt", 2.0, cpu=64)).reason  # doctest: +SKIP
        'infeasible'
        """
        options, kwargs = parted(keywords)
        return await self._do(self._flows.dry_run(short_form(target, args, options, kwargs)))

    async def submit_many(self, requests: Iterable[TaskRequest | Mapping[str, Any]]) -> AsyncTaskHandles[Any]:
        """Submit many tasks, in batches. For millions, ``submit_stream`` doesn't keep a handle of each.

        A request without an id gets one, and keeps it: submitting the same object again is the same task. So after an
        error the same list can simply be submitted again.

        Parameters:
            requests: ``TaskRequest``, or dicts with the same field names.

        Returns:
            the handles, a list in the order of the requests; ``handles.results()`` gives what they return.

        Raises:
            TaskExists, TooManyLabelSets: of some of them; all the others have been submitted.
            UsageError: a bad request, named by its number; those before it have been submitted, none after it.

        >>> requests = [TaskRequest("math:sqrt", [n], cpu=2) for n in range(10_000)]
        >>> handles = await client.submit_many(requests)  # doctest: +SKIP
        """
        return AsyncTaskHandles([handle async for handle in self.submit_stream(requests)])

    async def submit_stream(
        self, requests: Iterable[TaskRequest | Mapping[str, Any]]
    ) -> AsyncIterator[AsyncTaskHandle[Any]]:
        """Submit any number of tasks in constant memory: what is iterated over is submitted, a batch ahead.

        Nothing happens before the first iteration. Parameters and errors: ``submit_many``.

        >>> async for handle in client.submit_stream(read_requests()):  # doctest: +SKIP
        ...     print(handle.id)
        """
        async for batch in self._stream(self._flows.submit_stream(requests)):
            for task_id in batch:
                yield AsyncTaskHandle(self, task_id)

    def handle(self, task_id: str) -> AsyncTaskHandle[Any]:
        """The handle of a task that was submitted elsewhere or earlier.  Raises: InvalidId.

        >>> client.handle("w5ivmtn2vzkvbmhz")  # doctest: +SKIP
        """
        return AsyncTaskHandle(self, known_id(task_id))
