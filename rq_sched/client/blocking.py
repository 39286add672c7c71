"""``Client``: everything a program can do with tasks and nodes, waiting for each answer.

The same with ``await`` is ``AsyncClient`` (``awaiting.py``). What takes more than one step stands in ``flows.py``.

Threads may share a client, and a process may use it after a fork: every call takes a connection for itself, waits for
one if all are in use, and makes new ones in a forked child. Only an executor and what is being iterated stay with their
process. (``docs/clients.md``)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rq_sched.client.connection import Connection
from rq_sched.client.handles import TaskHandle
from rq_sched.client.stepper import Stepper
from rq_sched.link import Link
from rq_sched.model.ids import known_id
from rq_sched.model.node import NodeInfo, NodeState
from rq_sched.model.states import State
from rq_sched.model.target import Options, Target, make_request, request_of
from rq_sched.model.task import DEFAULT_GRACE, TaskInfo, TaskRequest
from rq_sched.store.answers import Cancelled

if TYPE_CHECKING:
    from typing import Unpack

    from rq_sched.client.executor import TaskExecutor
    from rq_sched.model.events import Event

T = TypeVar("T")


class Client(Connection[Link], Stepper):
    """A connection to one namespace.

    Parameters:
        url: where Redis is; None: ``RQ_SCHED_REDIS_URL``, ``REDIS_URL``, a running ``rq-sched up``, or localhost.
        namespace: None: ``RQ_SCHED_NAMESPACE``, or ``default``.
        durability: how safe tasks must be before a submit returns (``durability.py``): ``memory``, ``aof``,
            ``replicated`` or ``replicated:N``; None: ``RQ_SCHED_DURABILITY``, or ``memory``.
        durability_timeout: seconds until a submit raises ``DurabilityNotReached`` (tasks are accepted even then).
        signing_key: signs what is submitted; None: what the environment says (``environment.py``), or unsigned.

    Every method may raise ``RedisUnavailable`` (or a subclass). Nothing is asked of Redis before the first call.

    >>> with Client() as client:  # doctest: +SKIP
    ...     client.submit("math:sqrt", 2.0, memory="64M").result(timeout=5)
    1.4142135623730951
    """

    def _connect(self, url: str, answer_seconds: float) -> Link:
        return Link(url, answer_seconds=answer_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Tasks go on."""
        self._link.close()

    # -- submit -----------------------------------------------------------------------------------

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
        return self._link.run(self._store.dry_run(request_of(target, args, keywords)))

    def submit_many(self, requests: Iterable[TaskRequest | Mapping[str, Any]]) -> list[TaskHandle[Any]]:
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
        return list(self.submit_stream(requests))

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

    def executor(self, **options: Unpack[Options]) -> TaskExecutor:
        """A ``concurrent.futures.Executor`` whose futures are tasks.

        Parameters:
            options: those of ``submit``, for every task of it (``task_id`` and ``array`` excepted).

        >>> with client.executor(cpu=1, memory=256) as pool:  # doctest: +SKIP
        ...     list(pool.map(f, range(100)))
        """
        from rq_sched.client.executor import TaskExecutor

        return TaskExecutor(self, **options)

    # -- wait -------------------------------------------------------------------------------------

    def wait(self, task_ids: Iterable[str], timeout: float | None = None) -> dict[str, State]:
        """Wait until all of these tasks have ended; says how each did.

        A lost connection to Redis is waited out.

        Parameters:
            timeout: seconds; None: for ever; 0: only look.

        Raises:
            TaskNotFound: one of them is unknown.
            WaitTimeout: some haven't ended in time. They go on.
        """
        return dict(self.as_completed(task_ids, timeout))

    def as_completed(self, task_ids: Iterable[str], timeout: float | None = None) -> Iterator[tuple[str, State]]:
        """The tasks as they end, each once, with how it ended. Parameters and errors: ``wait``."""
        for batch in self._stream(self._flows.as_completed(task_ids, timeout)):
            yield from batch

    def result(self, task_id: str, timeout: float | None = None) -> Any:
        """Wait until a task has ended; what it returned. (An array returns None: ``handle.elements()``.)

        Parameters:
            timeout: seconds; None: for ever; 0: only look.

        Raises:
            TaskFailed: it failed or was cancelled; the text carries its error.
            UnreadableValue: it completed, and what stands in Redis is no result.
            TaskNotFound, WaitTimeout
        """
        return self._do(self._flows.result(task_id, timeout))

    # -- change -----------------------------------------------------------------------------------

    def cancel(
        self,
        task_id: str,
        *,
        requeue: bool = True,
        grace: float = DEFAULT_GRACE,
        reason: str | None = None,
        wait: bool = True,
    ) -> Cancelled:
        """Stop a task. By default it goes to the back of its equals and runs again.  Raises: TaskNotFound.

        Parameters:
            requeue: False ends it for good, as ``cancelled``.
            grace: seconds between SIGTERM and SIGKILL, where it runs.
            reason: a note for the decision log.
            wait: whether to wait until its processes are gone: grace + 5 s at most.

        Returns:
            what happened, as its ``outcome``: ``requeued``; ``cancelled``; ``unchanged`` (delayed or held: it stays
            so); ``already completed``, ``already failed``, ``already cancelled``; ``stopping`` (told to stop, not
            known to be gone). Of an array, ``elements`` are those that were told to stop.
        """
        return self._do(self._flows.cancel(task_id, requeue, grace, reason, wait))

    def requeue(self, task_id: str) -> State:
        """Run an ended task again, or a delayed one now.  Raises: TaskNotFound, WrongState."""
        return self._link.run(self._store.requeue(task_id))

    def hold(self, task_id: str) -> State:
        """Set a waiting task aside until ``unhold``.  Raises: TaskNotFound, TaskFinal, WrongState."""
        return self._link.run(self._store.hold(task_id))

    def unhold(self, task_id: str) -> State:
        """Bring a held task back to its old place in the order.  Raises: TaskNotFound, TaskFinal."""
        return self._link.run(self._store.unhold(task_id))

    def prioritize(self, task_id: str, priority: int) -> State:
        """Change a task's priority (higher first, ±2³¹).  Raises: TaskNotFound, TaskFinal, InvalidValue."""
        return self._do(self._flows.prioritize(task_id, priority))

    def forget(
        self, task_ids: Iterable[str] | None = None, *, state: State | str | None = None, older_than: float = 0.0
    ) -> int:
        """Drop ended tasks with their results and output; says how many.

        Parameters:
            task_ids: only these; None: all that match.
            state: only ``completed``, ``failed`` or ``cancelled`` ones.
            older_than: only those that ended so many seconds ago.

        Raises:
            TaskNotFound, TaskNotFinal: one of ``task_ids`` is unknown, or hasn't ended.
        """
        return self._do(self._flows.forget(task_ids, state, older_than))

    # -- look -------------------------------------------------------------------------------------

    def status(self, task_id: str) -> TaskInfo:
        """Everything known of a task, also why it waits.  Raises: TaskNotFound."""
        return self._do(self._flows.status(task_id))

    def state(self, task_id: str) -> State:
        """Where a task is.  Raises: TaskNotFound."""
        return self._do(self._flows.state(task_id))

    def states(self, task_ids: Iterable[str]) -> list[State | None]:
        """Where tasks are, in the order asked; None for an unknown one."""
        return self._link.run(self._store.states([known_id(task_id) for task_id in task_ids]))

    def tasks(
        self,
        *,
        array: str | None = None,
        state: State | str | None = None,
        node_id: str | None = None,
        priority: int | None = None,
        limit: int = 50,
    ) -> list[TaskInfo]:
        """Tasks: those on nodes, then pending ones in their order, delayed, held, ended ones (newest first).

        Parameters:
            array: only elements of this array, in the order of their indexes.
            state, node_id, priority: only such ones; a state that there isn't raises InvalidValue.
            limit: how many at most.
        """
        return self._do(self._flows.tasks(array, state, node_id, priority, limit))

    def explain(self, task_id: str) -> dict[str, Any]:
        """Why a task is where it is (``Explain.explain`` names the fields).  Raises: TaskNotFound."""
        return self._link.run(self._store.explain(task_id))

    def logs(self, task_id: str) -> str:
        """What a task has printed: the last 64 KiB.  Raises: TaskNotFound."""
        return self._do(self._flows.logs(task_id))

    def events(
        self,
        *,
        task_id: str | None = None,
        node_id: str | None = None,
        after: str | None = None,
        follow: bool = False,
    ) -> Iterator[Event]:
        """The decision log: what was placed, started, ended, given back, and why.

        Parameters:
            task_id, node_id: only what is about these.
            after: only what came after the event of this id; None: all there is, or with ``follow`` what comes.
            follow: go on for ever, also over a lost connection.
        """
        for batch in self._stream(self._flows.events(task_id, node_id, after, follow)):
            yield from batch

    def info(self) -> dict[str, Any]:
        """Totals: tasks by state, nodes by state, capacity."""
        return self._link.run(self._store.info())

    def ping(self) -> None:
        """Ask Redis something small: raises what is wrong with it."""
        self._do(self._flows.ping())

    # -- nodes ------------------------------------------------------------------------------------

    def nodes(self) -> list[NodeInfo]:
        """All nodes, by id."""
        return self._link.run(self._store.nodes())

    def drain(self, node_id: str, *, requeue: bool = False, grace: float = DEFAULT_GRACE) -> NodeState:
        """No new tasks for a node, until ``undrain``.  Raises: NodeNotFound.

        Parameters:
            requeue: whether what runs there is stopped and goes back to its place in the order, or ends by itself.
            grace: with ``requeue``, seconds between SIGTERM and SIGKILL.
        """
        return self._do(self._flows.drain(node_id, requeue, grace))

    def reload(self, node_id: str) -> NodeState:
        """Tasks on a node begin in new processes from now on: they find new code.  Raises: NodeNotFound, WrongState."""
        return self._link.run(self._store.node_reload(node_id))

    def undrain(self, node_id: str) -> NodeState:
        """A drained node takes tasks again.  Raises: NodeNotFound."""
        return self._link.run(self._store.node_undrain(node_id))
