"""``AsyncClient``: the twin of ``Client`` for asyncio. Same methods, same parameters, same errors; each is awaited.

Only ``executor`` has no twin: gather the results instead. A client belongs to the event loop it is used in; when
that is closed, it may be used in another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, closing
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rq_sched.client.connection import Connection
from rq_sched.client.handles import AsyncTaskHandle
from rq_sched.client.steps import Emit, Flow, Hear, Listen, Pause, Run, advance, last
from rq_sched.errors import RqSchedError
from rq_sched.link import AsyncEars, AsyncLink
from rq_sched.model.ids import known_id
from rq_sched.model.node import NodeInfo, NodeState
from rq_sched.model.states import State
from rq_sched.model.target import Options, Target, make_request, request_of
from rq_sched.model.task import DEFAULT_GRACE, TaskInfo, TaskRequest
from rq_sched.store.answers import Cancelled

if TYPE_CHECKING:
    from rq_sched.model.events import Event

T = TypeVar("T")


class AsyncClient(Connection[AsyncLink]):
    """A connection to one namespace, for asyncio. Parameters and errors: ``Client``.

    >>> async with AsyncClient() as client:  # doctest: +SKIP
    ...     handle = await client.submit("math:sqrt", 2.0, memory="64M")
    ...     await handle.result(timeout=5)
    1.4142135623730951
    """

    def _connect(self, url: str, answer_seconds: float) -> AsyncLink:
        return AsyncLink(url, answer_seconds=answer_seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Tasks go on."""
        await self._link.close()

    # -- submit -----------------------------------------------------------------------------------

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
    ) -> AsyncTaskHandle[Any]:
        """See ``Client.submit``."""
        options: Options = {
            "cpu": cpu, "memory": memory, "max_cpu": max_cpu, "max_memory": max_memory, "require": require,
            "array": array, "priority": priority, "task_id": task_id, "retries": retries, "crash_limit": crash_limit,
            "time_limit": time_limit, "delay": delay, "elastic": elastic, "preemptible": preemptible,
        }  # fmt: skip
        request = make_request(target, args, kwargs, options)
        return AsyncTaskHandle(self, await self._do(self._flows.submit(request)))

    async def dry_run(self, target: Target, /, *args: Any, **keywords: Any) -> dict[str, Any]:
        """See ``Client.dry_run``."""
        return await self._link.run(self._store.dry_run(request_of(target, args, keywords)))

    async def submit_many(self, requests: Iterable[TaskRequest | Mapping[str, Any]]) -> list[AsyncTaskHandle[Any]]:
        """See ``Client.submit_many``."""
        return [handle async for handle in self.submit_stream(requests)]

    async def submit_stream(
        self, requests: Iterable[TaskRequest | Mapping[str, Any]]
    ) -> AsyncIterator[AsyncTaskHandle[Any]]:
        """See ``Client.submit_stream``."""
        async for batch in self._stream(self._flows.submit_stream(requests)):
            for task_id in batch:
                yield AsyncTaskHandle(self, task_id)

    def handle(self, task_id: str) -> AsyncTaskHandle[Any]:
        """See ``Client.handle``."""
        return AsyncTaskHandle(self, known_id(task_id))

    # -- wait -------------------------------------------------------------------------------------

    async def wait(self, task_ids: Iterable[str], timeout: float | None = None) -> dict[str, State]:
        """See ``Client.wait``."""
        return {task_id: state async for task_id, state in self.as_completed(task_ids, timeout)}

    async def as_completed(
        self, task_ids: Iterable[str], timeout: float | None = None
    ) -> AsyncIterator[tuple[str, State]]:
        """See ``Client.as_completed``."""
        async for batch in self._stream(self._flows.as_completed(task_ids, timeout)):
            for item in batch:
                yield item

    async def result(self, task_id: str, timeout: float | None = None) -> Any:
        """See ``Client.result``."""
        return await self._do(self._flows.result(task_id, timeout))

    # -- change -----------------------------------------------------------------------------------

    async def cancel(
        self,
        task_id: str,
        *,
        requeue: bool = True,
        grace: float = DEFAULT_GRACE,
        reason: str | None = None,
        wait: bool = True,
    ) -> Cancelled:
        """See ``Client.cancel``."""
        return await self._do(self._flows.cancel(task_id, requeue, grace, reason, wait))

    async def requeue(self, task_id: str) -> State:
        """See ``Client.requeue``."""
        return await self._link.run(self._store.requeue(task_id))

    async def hold(self, task_id: str) -> State:
        """See ``Client.hold``."""
        return await self._link.run(self._store.hold(task_id))

    async def unhold(self, task_id: str) -> State:
        """See ``Client.unhold``."""
        return await self._link.run(self._store.unhold(task_id))

    async def prioritize(self, task_id: str, priority: int) -> State:
        """See ``Client.prioritize``."""
        return await self._do(self._flows.prioritize(task_id, priority))

    async def forget(
        self, task_ids: Iterable[str] | None = None, *, state: State | str | None = None, older_than: float = 0.0
    ) -> int:
        """See ``Client.forget``."""
        return await self._do(self._flows.forget(task_ids, state, older_than))

    # -- look -------------------------------------------------------------------------------------

    async def status(self, task_id: str) -> TaskInfo:
        """See ``Client.status``."""
        return await self._do(self._flows.status(task_id))

    async def state(self, task_id: str) -> State:
        """See ``Client.state``."""
        return await self._do(self._flows.state(task_id))

    async def states(self, task_ids: Iterable[str]) -> list[State | None]:
        """See ``Client.states``."""
        return await self._link.run(self._store.states([known_id(task_id) for task_id in task_ids]))

    async def tasks(
        self,
        *,
        array: str | None = None,
        state: State | str | None = None,
        node_id: str | None = None,
        priority: int | None = None,
        limit: int = 50,
    ) -> list[TaskInfo]:
        """See ``Client.tasks``."""
        return await self._do(self._flows.tasks(array, state, node_id, priority, limit))

    async def explain(self, task_id: str) -> dict[str, Any]:
        """See ``Client.explain``."""
        return await self._link.run(self._store.explain(task_id))

    async def logs(self, task_id: str) -> str:
        """See ``Client.logs``."""
        return await self._do(self._flows.logs(task_id))

    async def events(
        self,
        *,
        task_id: str | None = None,
        node_id: str | None = None,
        after: str | None = None,
        follow: bool = False,
    ) -> AsyncIterator[Event]:
        """See ``Client.events``."""
        async for batch in self._stream(self._flows.events(task_id, node_id, after, follow)):
            for item in batch:
                yield item

    async def info(self) -> dict[str, Any]:
        """See ``Client.info``."""
        return await self._link.run(self._store.info())

    async def ping(self) -> None:
        """See ``Client.ping``."""
        await self._do(self._flows.ping())

    # -- nodes ------------------------------------------------------------------------------------

    async def nodes(self) -> list[NodeInfo]:
        """See ``Client.nodes``."""
        return await self._link.run(self._store.nodes())

    async def drain(self, node_id: str, *, requeue: bool = False, grace: float = DEFAULT_GRACE) -> NodeState:
        """See ``Client.drain``."""
        return await self._do(self._flows.drain(node_id, requeue, grace))

    async def reload(self, node_id: str) -> NodeState:
        """See ``Client.reload``."""
        return await self._link.run(self._store.node_reload(node_id))

    async def undrain(self, node_id: str) -> NodeState:
        """See ``Client.undrain``."""
        return await self._link.run(self._store.node_undrain(node_id))

    # -- taking steps -----------------------------------------------------------------------------

    async def _do(self, flow: Flow[T]) -> T:
        answer: Any = None
        async for value in self._stream(last(flow)):
            answer = value
        return answer  # type: ignore[no-any-return]

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _stream(self, flow: Flow[None]) -> AsyncIterator[Any]:
        """Take the steps of a flow; yields what it emits."""
        with closing(flow):
            async with AsyncExitStack() as listening:
                ears: AsyncEars | None = None
                step = advance(flow)
                while step is not None:
                    answer: Any = None
                    try:
                        match step:
                            case Emit(value):
                                yield value
                            case Run(op, within, follows):
                                answer = await self._link.run(op, within, follows)
                            case Listen(channel):
                                await listening.aclose()
                                ears = await listening.enter_async_context(self._link.listen(channel))
                            case Hear(timeout) if ears is not None:
                                message = await ears.get(timeout)
                                answer = message and message[1]
                            case Pause(seconds):
                                await self._pause(seconds)
                    except RqSchedError as error:
                        step = advance(flow, error=error)
                    else:
                        step = advance(flow, answer)
