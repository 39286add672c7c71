"""What attempts need from Redis besides their orders: long arguments, results of others, another allocation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from rq_sched.errors import RqSchedError, UnreadableValue
from rq_sched.model.references import references
from rq_sched.model.values import unpack_arguments
from rq_sched.process.backoff import backoff
from rq_sched.store import Store
from rq_sched.worker.agent.session import Session, Superseded

if TYPE_CHECKING:
    from rq_sched.link import Op
    from rq_sched.worker.agent.allocations import Allocations
    from rq_sched.worker.agent.attempt import Attempt

T = TypeVar("T")
log = logging.getLogger("rq_sched.worker")


class Asking(Protocol):
    """Who hears of the outcome: the attempts."""

    @property
    def all(self) -> dict[str, Attempt]: ...
    @property
    def allocations(self) -> Allocations: ...

    def launch(self, attempt: Attempt) -> None: ...
    def cannot_launch(self, attempt: Attempt, why: str) -> None: ...


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
        attempts: Callable[[], Asking],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._session = session
        self._store = store
        self._attempts = attempts
        self._spawn = spawn

    def fetch(self, attempt: Attempt) -> None:
        """Get the arguments that were too long for the order, then let the attempt begin."""
        self._spawn(self._fetch(attempt))

    def fetch_results(self, attempt: Attempt) -> None:
        """Get the results that stand among its arguments, then let the attempt begin."""
        self._spawn(self._fetch_results(attempt))

    def resize(self, attempt: Attempt, cpu: int | None, memory: int | None) -> None:
        """The task asks for another allocation (absolute; None leaves one): tell it what it has then."""
        self._spawn(self._resize(attempt, cpu, memory, True))

    def adjust(
        self, attempt: Attempt, cpu: int | None, memory: int | None, then: Callable[[bool], None] = lambda _: None
    ) -> None:
        """Change an allocation because of what was measured; ``then`` hears whether it is at least that now."""
        self._spawn(self._adjust(attempt, cpu, memory, then))

    async def _fetch(self, attempt: Attempt) -> None:
        order = attempt.order
        async for payload in self._answer(attempt, lambda *_: self._store.payload(order.task_id)):
            order.arguments = payload
            if len(order.arguments) == order.payload_bytes:
                self._attempts().launch(attempt)
            else:
                self._attempts().cannot_launch(attempt, "its arguments are no longer in Redis")

    async def _fetch_results(self, attempt: Attempt) -> None:
        try:
            args, kwargs, *_ = unpack_arguments(attempt.order.arguments)
            used = dict.fromkeys(one.id for one in references(args, kwargs))
        except (UnreadableValue, TypeError, ValueError, AttributeError):
            used = {}  # its child says why
        async for results, why in self._answer(attempt, lambda *_: self._store.results(list(used))):
            if why:
                self._attempts().cannot_launch(attempt, why)
            else:
                attempt.results = results
                self._attempts().launch(attempt)

    async def _answer(self, attempt: Attempt, ask: Callable[[str, str], Op[T]]) -> AsyncIterator[T]:
        """What Redis answers, however long it is away; nothing where the attempt has ended meanwhile."""
        failures = 0
        while attempt.order.token in self._attempts().all:
            try:
                answer = await self._session.ask(ask)
            except Superseded:
                return
            except RqSchedError:
                failures += 1
                await asyncio.sleep(backoff(failures))
                continue
            yield answer
            return

    async def _adjust(
        self, attempt: Attempt, cpu: int | None, memory: int | None, then: Callable[[bool], None]
    ) -> None:
        await self._resize(attempt, cpu, memory, False)
        now = attempt.allocation
        then(now.cpu >= (cpu or 0) and now.memory >= (memory or 0))

    async def _resize(self, attempt: Attempt, cpu: int | None, memory: int | None, answer: bool) -> None:
        if attempt.line is None:
            attempt.line = asyncio.Lock()
        async with attempt.line:  # one after the other: a number that comes late counts for nothing
            attempt.resizes += 1
            number, token = attempt.resizes, attempt.order.token
            allocation, ordered = attempt.allocation, attempt.ordered
            try:
                resized = await self._session.ask(
                    lambda node, incarnation: self._store.task_resize(
                        node, incarnation, token, number=number, cpu=cpu, memory=memory
                    )
                )
                allocation, ordered = resized.allocation, resized.ordered
            except Superseded:
                return
            except RqSchedError as error:
                log.warning("an allocation stays as it is: %s", error, extra={"task_id": attempt.order.task_id})
            if allocation.cpu:  # else it has ended meanwhile
                self._attempts().allocations.changed(attempt, allocation, ordered, answer)
