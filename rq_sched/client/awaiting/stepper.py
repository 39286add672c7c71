"""Takes the steps of a client's flows (``steps.py``): all that a client or a handle does goes through ``_do`` and
``_stream``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any, Self, TypeVar

from rq_sched.client.connection import Connection
from rq_sched.client.doorbells import Doorbell, Doorbells
from rq_sched.client.flows import Flows
from rq_sched.client.steps import (
    Emit,
    Flow,
    Hear,
    Listen,
    ListenAlready,
    ListenOn,
    Pause,
    Run,
    TakeOver,
    advance,
    last,
    new_channel,
)
from rq_sched.errors import RqSchedError
from rq_sched.link import AsyncEars, AsyncLink
from rq_sched.store import Store

T = TypeVar("T")


class AsyncStepper(Connection[AsyncLink]):
    """What ``AsyncClient`` and its handles take steps with."""

    def _connect(self, url: str, store: Store) -> AsyncLink:
        return AsyncLink(url, answer_seconds=store.answer_seconds, greeting=store.check_schema)

    def _use(self, link: AsyncLink, flows: Flows) -> None:
        super()._use(link, flows)
        self._doorbells: Doorbells[AsyncEars] = Doorbells(link.hears)

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
            bell: Doorbell[AsyncEars] | None = None
            try:
                step = advance(flow)
                while step is not None:
                    answer: Any = None
                    try:
                        match step:
                            case Emit(value):
                                yield value
                            case Run(op, within, follows):
                                answer = await self._link.run(op, within, follows)
                            case Listen(own):
                                before, bell = bell, None
                                await self._put_away(before)
                                bell = await self._listen(own)
                                answer = bell.channel
                            case ListenAlready():
                                bell = self._doorbells.spare()
                                answer = bell and bell.channel
                            case ListenOn(task_id) if bell is not None:
                                self._doorbells.hang(task_id, bell)
                                bell = None
                            case TakeOver(task_id):
                                bell = self._doorbells.of(task_id)
                                answer = bell is not None
                            case Hear(timeout) if bell is not None:
                                message = await bell.ears.get(timeout)
                                answer = message and message[1]
                            case Pause(seconds):
                                await self._pause(seconds)
                    except RqSchedError as error:
                        step = advance(flow, error=error)
                    else:
                        step = advance(flow, answer)
            finally:
                await self._put_away(bell)

    async def _listen(self, own: str | None) -> Doorbell[AsyncEars]:
        """Hear a channel: this one, or one that nobody else has."""
        bell = self._doorbells.any() if own is None else None
        if bell is not None:
            return bell
        channel = own or new_channel()
        return Doorbell(channel, await self._link.hear(self._store.keys.done(channel)), own is None)

    async def _put_away(self, bell: Doorbell[AsyncEars] | None) -> None:
        """Nobody listens there for now."""
        if bell is not None and not self._doorbells.rest(bell):
            await self._link.stop(bell.ears)
