"""Takes the steps of a client's flows (``steps.py``): all that a client or a handle does goes through ``_do`` and
``_stream``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from typing import Any, Self, TypeVar

from rq_sched.client.connection import Connection
from rq_sched.client.steps import Emit, Flow, Hear, Listen, Pause, Run, advance, last
from rq_sched.errors import RqSchedError
from rq_sched.link import AsyncEars, AsyncLink
from rq_sched.store import Store

T = TypeVar("T")


class AsyncStepper(Connection[AsyncLink]):
    """What ``AsyncClient`` and its handles take steps with."""

    def _connect(self, url: str, store: Store) -> AsyncLink:
        return AsyncLink(url, answer_seconds=store.answer_seconds, greeting=store.check_schema)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Tasks go on."""
        await self._link.close()

    async def _do(self, flow: Flow[T]) -> T:
        """Take the steps of a flow; what it returns."""
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
