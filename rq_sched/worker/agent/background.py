"""What an agent does beside its tasks, each in a coroutine of its own: none of it ends the agent, whatever it meets."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any

from rq_sched.process.backoff import backoff
from rq_sched.process.health import LATE

log = logging.getLogger("rq_sched.worker")

FAILURES = 10
"""Failures, none ``LATE`` after the one before, from which on health says so."""


class Background:
    """The coroutines of one agent.

    Once, a failure is told, with its traceback, and gone on with; for ever, it shows in health. (To end would end every
    task of the node, for what perhaps one record or one message said.)
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failures, self._failed_at, self._failure = 0, -math.inf, ""
        loop.set_exception_handler(self._callback_failed)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this beside everything else."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def serve(self, service: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """The same; begun anew, after a pause, whenever it fails."""
        self.spawn(self._persist(service))

    def failing(self) -> str | None:
        """What goes wrong again and again, if anything does."""
        if self._failures < FAILURES or self._loop.time() - self._failed_at > LATE:
            return None
        return f"failed {self._failures} times, at last with {self._failure}: its log has the traceback"

    async def close(self) -> None:
        """Cancel everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _persist(self, service: Callable[[], Coroutine[Any, Any, None]]) -> None:
        failures = 0
        while True:
            began = self._loop.time()
            try:
                return await service()
            except Exception as error:
                failures = 1 if self._loop.time() - began > LATE else failures + 1
                self._went_wrong(getattr(service, "__qualname__", "a service"), error)
                await asyncio.sleep(backoff(failures))

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._went_wrong("an errand", error)

    def _callback_failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Exception):
            self._went_wrong(str(context.get("handle") or context.get("message"))[:200], error)
        else:
            loop.default_exception_handler(context)

    def _went_wrong(self, what: str, error: BaseException) -> None:
        now = self._loop.time()
        self._failures = self._failures + 1 if now - self._failed_at < LATE else 1
        self._failed_at, self._failure = now, type(error).__name__
        if self._failures & (self._failures - 1) == 0:  # the first one, the second, the fourth …
            log.error("%s failed; going on", what, exc_info=error, extra={"failures": self._failures})


async def first(*conditions: Coroutine[Any, Any, Any] | asyncio.Future[Any], seconds: float | None = None) -> None:
    """Wait until one of these is true, at most so long."""
    waiting = [asyncio.ensure_future(condition) for condition in conditions]
    await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for future in waiting:
        future.cancel()
