"""``client.options(…)``: submitting with options that stand apart from the arguments."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from rq_sched.client.awaiting.handles import AsyncTaskHandle, AsyncTaskHandles
from rq_sched.client.awaiting.stepper import AsyncStepper
from rq_sched.errors import InvalidValue
from rq_sched.model.explanation import Explanation
from rq_sched.model.target import Options, Target, make_request, merge
from rq_sched.model.task import TaskRequest

if TYPE_CHECKING:
    from typing import Unpack

P = ParamSpec("P")
T = TypeVar("T")


class AsyncSubmitter:
    """What ``client.options(…)`` returns: it submits with these options, and every keyword is the function's own.

    >>> await client.options(cpu=2, memory="1G").submit(resize, "a.png", memory="low")  # doctest: +SKIP
    """

    def __init__(self, client: AsyncStepper, options: Options) -> None:
        self._client = client
        self._options = options

    def __repr__(self) -> str:
        return f"<{self._client!r} with {dict(self._options)!r}>"

    def options(self, **options: Unpack[Options]) -> AsyncSubmitter:
        """The same with more options; this one stays as it is.

        Raises:
            InvalidValue: there is no such option.
        """
        return AsyncSubmitter(self._client, merge(self._options, options))

    @overload
    async def submit(
        self, target: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncTaskHandle[T]: ...
    @overload
    async def submit(self, target: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> AsyncTaskHandle[T]: ...
    @overload
    async def submit(self, target: str | TaskRequest, /, *args: Any, **kwargs: Any) -> AsyncTaskHandle[Any]: ...
    async def submit(self, target: Target, /, *args: Any, **kwargs: Any) -> AsyncTaskHandle[Any]:
        """Submit one task with these options.

        Parameters:
            target: ``"pkg.mod:func"``, a function at the top level of a module, or ``"exec:/path"`` for a command (its
                arguments are ``args``).
            args, kwargs: the function's own, whatever their names: plain data (None, bool, int, float, str, bytes,
                list, dict), at most 256 KiB together. A tuple arrives as a list, also in a result
                (``docs/values.md``).

        Raises:
            InvalidTarget: no worker could find the function (a lambda, of ``__main__``, nested, a method).
            UsageError: another bad value (``InvalidValue``, ``NotSerializable``, ``PayloadTooLarge``, …).
            TaskExists: the id is taken by another request.
            TooManyLabelSets: tasks with too many sets of labels wait. Nothing is submitted.

        >>> handle = await client.options(cpu=2, time_limit="10m").submit("math:sqrt", 2.0)  # doctest: +SKIP
        """
        request = make_request(target, args, kwargs, self._options)
        return AsyncTaskHandle(self._client, await self._client._do(self._client._flows.submit(request)))

    @overload
    async def map(
        self, function: Callable[..., Coroutine[Any, Any, T]], /, *iterables: Iterable[Any]
    ) -> AsyncTaskHandles[T]: ...
    @overload
    async def map(self, function: Callable[..., T], /, *iterables: Iterable[Any]) -> AsyncTaskHandles[T]: ...
    @overload
    async def map(self, function: str, /, *iterables: Iterable[Any]) -> AsyncTaskHandles[Any]: ...
    async def map(self, function: Callable[..., Any] | str, /, *iterables: Iterable[Any]) -> AsyncTaskHandles[Any]:
        """Submit a call of the function for each item, with these options, in batches.

        Parameters:
            iterables: one for each argument of the function, as with the builtin ``map``: the shortest one decides.

        Returns:
            the handles, a list in the order of the items; ``handles.results()`` gives what they return.

        Raises:
            InvalidTarget, UsageError: as ``submit``; calls before the bad one have been submitted.
            InvalidValue: also where ``task_id`` is among the options.

        >>> handles = await client.options(memory="64M").map("math:sqrt", range(1000))  # doctest: +SKIP
        """
        if "task_id" in self._options:
            raise InvalidValue("task_id can't be the same for every call of a map")
        handles: AsyncTaskHandles[Any] = AsyncTaskHandles()
        flow = self._client._flows.submit_stream(self._calls(function, iterables))
        async for batch in self._client._stream(flow):
            for task_id in batch:
                handles.append(AsyncTaskHandle(self._client, task_id))
        return handles

    def _calls(self, function: Target, iterables: Iterable[Iterable[Any]]) -> Iterator[TaskRequest]:
        for args in zip(*iterables, strict=False):
            yield make_request(function, args, {}, self._options)

    async def dry_run(self, target: Target, /, *args: Any, **kwargs: Any) -> Explanation:
        """What would become of the task if it were submitted now. See ``AsyncClient.dry_run``."""
        request = make_request(target, args, kwargs, self._options)
        return await self._client._do(self._client._flows.dry_run(request))
