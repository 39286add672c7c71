"""What attempts need from Redis besides their orders: long arguments, another allocation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from rq_sched.errors import RqSchedError
from rq_sched.store import Store
from rq_sched.worker.session import Session, Superseded, back_off

if TYPE_CHECKING:
    from rq_sched.worker.attempts import Attempt, Attempts

log = logging.getLogger("rq_sched.worker")


class Errands:
    """Runs errands for attempts.

    Parameters:
        attempts: gives those that hear of the outcome.
        spawn: starts a coroutine.
    """

    def __init__(
        self,
        session: Session,
        store: Store,
        attempts: Callable[[], Attempts],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._session = session
        self._store = store
        self._attempts = attempts
        self._spawn = spawn

    def fetch(self, attempt: Attempt) -> None:
        """Get the arguments that were too long for the order, then let the attempt begin."""
        self._spawn(self._fetch(attempt))

    def resize(self, attempt: Attempt, cpu: int | None, memory: int | None) -> None:
        """Ask for another allocation (absolute; None leaves one), and tell the task what it has then."""
        self._spawn(self._resize(attempt, cpu, memory))

    async def _fetch(self, attempt: Attempt) -> None:
        order = attempt.order
        failures = 0
        while attempt.order.token in self._attempts().all:
            try:
                order.arguments = await self._session.ask(lambda *_: self._store.payload(order.task_id))
            except Superseded:
                return
            except RqSchedError:
                failures += 1
                await asyncio.sleep(back_off(failures))
                continue
            if len(order.arguments) == order.payload_bytes:
                self._attempts().launch(attempt)
            else:
                self._attempts().cannot_launch(attempt, "its arguments are no longer in Redis")
            return

    async def _resize(self, attempt: Attempt, cpu: int | None, memory: int | None) -> None:
        attempt.resizes += 1
        number, token = attempt.resizes, attempt.order.token
        try:
            answer = await self._session.ask(
                lambda node, incarnation: self._store.task_resize(
                    node, incarnation, token, number=number, cpu=cpu, memory=memory
                )
            )
        except Superseded:
            return
        except RqSchedError as error:
            log.warning("an allocation stays as it is: %s", error, extra={"task_id": attempt.order.task_id})
            allocation = attempt.allocation
        else:
            allocation = answer.allocation
        if allocation.cpu:  # else it has ended meanwhile
            self._attempts().resized(attempt, allocation)
