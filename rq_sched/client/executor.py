"""``client.executor()``: a ``concurrent.futures.Executor`` whose futures are tasks.

Two threads serve all futures of an executor. The *sender* takes what was submitted since its last call as one batch, so
that ten thousand ``submit`` calls are some dozen round trips. The *listener* hears on a channel of the executor's own
which tasks have ended (and asks now and then, as doorbells may be lost), reads the outcomes that didn't come with the
news, many at a time, and sets the futures. Both wait out a lost connection.

Who ends a future takes it out of ``_Courier.futures`` first: ``cancel()`` and the listener can't both do it.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from rq_sched.client.flows import PATIENCE
from rq_sched.client.outcomes import forgotten, unaccepted, value_of, value_told
from rq_sched.client.steps import BATCH, Deadline, Waiting, new_channel
from rq_sched.errors import (
    InvalidValue,
    RqSchedError,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    UnreadableValue,
    UsageError,
)
from rq_sched.model.options import by_keyword
from rq_sched.model.states import CancelOutcome, State
from rq_sched.model.target import Options, make_request
from rq_sched.model.task import DEFAULT_GRACE, TaskRequest
from rq_sched.store.submit import ACCEPTED

if TYPE_CHECKING:
    from typing import Unpack

    from rq_sched.client.blocking.stepper import Stepper

P = ParamSpec("P")
T = TypeVar("T")

ENDS = frozenset({CancelOutcome.CANCELLED, CancelOutcome.STOPPING, CancelOutcome.ALREADY_CANCELLED})


class TaskFuture(Future[T]):
    """The future of a task. A task that failed raises ``TaskFailed``, one that was cancelled ``CancelledError``."""

    def __init__(self, courier: _Courier, request: TaskRequest) -> None:
        super().__init__()
        self.task_id = str(request.task_id)
        self._request: TaskRequest | None = request
        self._courier = courier

    def handed_over(self) -> None:
        """Redis has the request, or never will: its arguments needn't be kept."""
        self._request = None

    def cancel(self) -> bool:
        """End the task for good, wherever it is: it isn't requeued. False if it has ended before.

        A running one is told to stop; its outcome doesn't count any more, whenever its processes are gone.
        """
        return self._courier.cancel(self)

    def running(self) -> bool:
        """Whether the task runs on a node now. This asks Redis."""
        return not self.done() and self._courier.states([self.task_id]) == [State.RUNNING]

    def end_cancelled(self) -> None:
        """Only for whoever took this future out of the courier's."""
        super().cancel()
        self.set_running_or_notify_cancel()  # tells those who wait() for several futures


class TaskExecutor(Executor):
    """Made by ``client.executor(…)``; used like a ``ThreadPoolExecutor`` that has a cluster.

    ``map`` and ``submit`` don't wait for Redis; ``chunksize`` is ignored, tasks are sent in batches anyway. ``map``
    submits all calls at once, as that of ``concurrent.futures`` does; for millions there are arrays, and
    ``client.submit_stream``. Of what has ended nothing is kept: results live as long as their futures. Leaving
    the ``with`` block waits for all futures. Threads may share an executor; a forked child makes one of its own.

    Parameters:
        client: whose namespace the tasks go to. It must stay open as long as this is used.
        options: those of ``Client.submit``, for every task (``task_id`` and ``array`` excepted).

    Raises:
        RedisUnavailable: Redis can't be used; it is asked once, now.
        InvalidValue: an option that doesn't exist, or an array.

    >>> with client.executor(cpu=1, memory=256) as pool:  # doctest: +SKIP
    ...     futures = [pool.submit(f, n) for n in range(10_000)]
    """

    def __init__(self, client: Stepper, **options: Unpack[Options]) -> None:
        if "task_id" in by_keyword(options):
            raise InvalidValue("task_id can't be the same for every task of an executor")
        _one_task(make_request("builtins:id", (), {}, options))  # a bad option is refused here, not at each submit
        client._do(client._flows.ping())
        self._options = options
        self._pid = os.getpid()
        self._courier = _Courier(client)
        self._finalizer = weakref.finalize(self, self._courier.close)  # at the end of the program, too

    @overload
    def submit(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskFuture[T]: ...
    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[T]: ...
    @overload
    def submit(self, fn: str, /, *args: Any, **kwargs: Any) -> TaskFuture[Any]: ...
    def submit(self, fn: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> TaskFuture[Any]:
        """Submit a call of a function, or of ``"pkg.mod:func"``; every argument is the function's own.

        Raises:
            InvalidTarget: no worker could find the function.
            InvalidValue: it is marked with ``@task(array=…)``.
            RuntimeError: after ``shutdown``, or in a forked child.
        """
        if os.getpid() != self._pid:
            raise RuntimeError("this executor belongs to the parent process: make a new one after a fork")
        request = _one_task(make_request(fn, args, kwargs, self._options))
        self._courier.client._flows.check_own(request)
        future: TaskFuture[Any] = TaskFuture(self._courier, request)
        self._courier.accept(future)
        return future

    if TYPE_CHECKING:  # as it is, but it takes a name as well

        @overload  # type: ignore[override]
        def map(self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: float | None = None) -> Iterator[T]: ...
        @overload
        def map(self, fn: str, *iterables: Iterable[Any], timeout: float | None = None) -> Iterator[Any]: ...
        def map(self, fn: Any, *iterables: Any, timeout: float | None = None) -> Any: ...

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks.

        Parameters:
            wait: whether to wait for all futures. What was submitted is sent in any case.
            cancel_futures: whether to cancel what no node has got yet. What a node has goes on.
        """
        if os.getpid() != self._pid:
            return
        self._courier.stop_accepting()
        if cancel_futures:
            self._courier.cancel_waiting()
        if wait:
            self._courier.join()


def _one_task(request: TaskRequest) -> TaskRequest:
    """A request that a future can stand for: itself.  Raises: InvalidValue."""
    if request.array is not None:
        raise InvalidValue("array: a future is one task; submit an array with client.submit(…, array=…)")
    return request


class _Open(Waiting):
    """The tasks of an executor that Redis has, as the flow that waits for them sees them."""

    def __init__(self, courier: _Courier) -> None:
        super().__init__(results=True)
        self._courier = courier

    def goes_on(self) -> bool:
        return self._courier.is_open()

    def unknown(self, task_id: str) -> None:
        self._courier.fail([task_id], forgotten(task_id))

    def settle(self, states: Iterable[tuple[str, State | None]]) -> list[tuple[str, State]]:
        """Also of tasks whose submit hasn't been answered yet: the doorbell may be faster."""
        known = list(states)
        self.add(task_id for task_id, state in known if state and state.final and task_id in self._courier.futures)
        return super().settle(known)


class _Courier:
    """What an executor and its futures share with the two threads."""

    def __init__(self, client: Stepper) -> None:
        self.client = client
        self._flows = client._flows
        self.futures: dict[str, TaskFuture[object]] = {}  # all that haven't ended
        self._outbox: dict[str, TaskFuture[object]] = {}  # those not yet taken by the sender
        self._sending: set[str] = set()
        self._accepting = True
        self._changed = threading.Condition()
        self._channel = new_channel()
        self._waiting = _Open(self)
        self._threads: list[threading.Thread] = []

    # -- for the executor -------------------------------------------------------------------------

    def accept(self, future: TaskFuture[T]) -> None:
        with self._changed:
            if not self._accepting:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if not self._threads:
                self._threads = [
                    threading.Thread(target=self._guarded, args=(loop,), name=f"rq-sched-{name}", daemon=True)
                    for name, loop in (("sender", self._send_all), ("listener", self._listen))
                ]
                for thread in self._threads:
                    thread.start()
            self.futures[future.task_id] = future  # type: ignore[assignment]
            self._outbox[future.task_id] = future  # type: ignore[assignment]
            if len(self._outbox) == 1:
                self._changed.notify_all()

    def stop_accepting(self) -> None:
        with self._changed:
            self._accepting = False
            self._changed.notify_all()

    def close(self) -> None:
        """The executor is no more, or the program ends: what was submitted is still sent."""
        self.stop_accepting()
        if self._threads and threading.current_thread() not in self._threads:
            self._threads[0].join(PATIENCE)

    def join(self) -> None:
        """Wait until every future has ended."""
        with self._changed:
            self._changed.wait_for(lambda: not self.futures)
        self._ring()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(PATIENCE)

    def states(self, task_ids: Sequence[str]) -> list[State | None]:
        return self.client._do(self._flows.states(task_ids))

    def _ring(self) -> None:
        """Wake the listener, who sees then that nothing is left."""
        try:
            if self._threads:
                self.client._do(self._flows.ring(self._channel))
        except RqSchedError:
            pass  # it looks by itself within a second

    def is_open(self) -> bool:
        return self._accepting or bool(self.futures)

    # -- the ends of futures ----------------------------------------------------------------------

    def take(self, task_id: str) -> TaskFuture[object] | None:
        """Take a future out, to end it; None: somebody else does."""
        with self._changed:
            future = self.futures.pop(task_id, None)
            self._outbox.pop(task_id, None)
            if not self.futures:
                self._changed.notify_all()
        if future is not None:
            future.handed_over()
        return future

    def fail(self, task_ids: Iterable[str], error: Exception) -> None:
        for task_id in task_ids:
            if future := self.take(task_id):
                future.set_exception(error)

    def cancel(self, future: TaskFuture[T]) -> bool:
        task_id = future.task_id
        with self._changed:
            self._changed.wait_for(lambda: task_id not in self._sending)
            unsent = task_id in self._outbox
            taken = self.take(task_id) if unsent else None
        if not unsent and task_id in self.futures:
            done = self.client._do(self._flows.cancel(task_id, False, DEFAULT_GRACE, None, wait=False))
            if done.outcome in ENDS:
                taken = self.take(task_id)
        if taken:
            taken.end_cancelled()
        return future.cancelled()

    def cancel_waiting(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._sending)
            for future in [self.take(task_id) for task_id in list(self._outbox)]:
                if future is not None:
                    future.end_cancelled()
            open_futures = list(self.futures.values())
        how: Any = {"requeue": False, "waiting": True}
        for future in open_futures:
            cancel = partial(self.client._store.cancel, future.task_id, operation=new_channel(), **how)
            try:
                done = self.client._do(self._flows.at_last(cancel))
            except TaskNotFound:
                continue  # the listener tells
            if done.outcome in ENDS and (taken := self.take(future.task_id)):
                taken.end_cancelled()

    def _end(self, task_id: str, value: Callable[[], object]) -> None:
        """A task has ended. ``value``: what it returned, or an error."""
        future = self.take(task_id)
        if future is None:
            return
        try:
            result = value()
        except TaskCancelled:
            future.end_cancelled()
        except (TaskFailed, UnreadableValue) as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    # -- the threads ------------------------------------------------------------------------------

    def _guarded(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except Exception as error:  # no future may wait for a thread that is gone
            self.stop_accepting()
            self.fail(list(self.futures), error)

    def _send_all(self) -> None:
        while batch := self._next_batch():
            try:
                self._send(batch)
            except RqSchedError as error:
                self.fail([future.task_id for future in batch], error)
            finally:
                for future in batch:
                    future.handed_over()
                del batch, future  # while it waits for the next one it keeps nothing of this one
                with self._changed:
                    self._sending.clear()
                    self._changed.notify_all()

    def _next_batch(self) -> Sequence[TaskFuture[object]]:
        with self._changed:
            self._changed.wait_for(lambda: self._outbox or not self._accepting)
            batch = list(self._outbox.values())[:BATCH]
            for future in batch:
                del self._outbox[future.task_id]
                self._sending.add(future.task_id)
            return batch

    def _send(self, batch: Sequence[TaskFuture[object]]) -> None:
        requests = [future._request for future in batch if future._request is not None]
        try:
            outcomes = self.client._do(self._flows.submit_watched(requests, self._channel))
        except UsageError as error:
            rest = self._without_bad(batch)
            if len(rest) == len(batch):
                raise error
            self._send(rest)
            return
        for future, outcome in zip(batch, outcomes, strict=True):
            if outcome not in ACCEPTED:
                self.fail([future.task_id], unaccepted(outcome, [future.task_id], 1))
        accepted = (future.task_id for future, outcome in zip(batch, outcomes, strict=True) if outcome in ACCEPTED)
        self._waiting.add(accepted)

    def _without_bad(self, batch: Sequence[TaskFuture[object]]) -> list[TaskFuture[object]]:
        """Ends the futures whose arguments can't be sent; returns the others."""
        good = []
        for future in batch:
            try:
                if future._request is not None:
                    future._request.pack_arguments()
                good.append(future)
            except UsageError as error:
                self.fail([future.task_id], error)
        return good

    def _listen(self) -> None:
        for ended in self.client._stream(self._flows.ends(self._waiting, Deadline(None), self._channel)):
            if ended:
                self._deliver([task_id for task_id, _ in ended])

    def _deliver(self, task_ids: list[str]) -> None:
        results = self._waiting.results
        unread = [task_id for task_id in task_ids if task_id not in results]
        for task_id in results.keys() & task_ids:
            self._end(task_id, partial(value_told, task_id, results.pop(task_id)))
        if not unread:
            return
        for task_id, info in zip(unread, self.client._do(self._flows.outcomes(unread)), strict=True):
            if info is None:
                self.fail([task_id], forgotten(task_id))
            elif info.state.final:
                self._end(task_id, partial(value_of, info))
            else:  # requeued since: it goes on, and so does the waiting
                self._waiting.add([task_id])
