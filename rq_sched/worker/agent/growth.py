"""Asks for the node's idle cores, for elastic attempts that may have more than they need.

Redis decides who gets how many; what they get comes as resize orders. It is asked about once a second while some
attempt could grow and the node, as far as we know, has idle cores; else not at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from rq_sched.errors import RqSchedError
from rq_sched.store import Store
from rq_sched.worker.agent.attempt import Attempt
from rq_sched.worker.agent.session import Session, Superseded

if TYPE_CHECKING:
    from rq_sched.worker.agent.attempts import Attempts

log = logging.getLogger("rq_sched.worker")

EVERY = 1.0
"""Seconds between two questions."""


class Growth:
    """The asking for one node.

    Parameters:
        spawn: starts a coroutine.
        cpu: cores of the node.
    """

    def __init__(
        self,
        session: Session,
        store: Store,
        attempts: Attempts,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        cpu: int,
    ) -> None:
        self._session = session
        self._store = store
        self._attempts = attempts
        self._spawn = spawn
        self._cpu = cpu
        self._loop = asyncio.get_running_loop()
        self._may_grow: dict[str, Attempt] = {}
        self._planned = False

    def lasts(self, attempt: Attempt) -> None:
        """An attempt has run for a moment."""
        order = attempt.order
        if order.elastic != "off" and order.maximum.cpu > order.allocation.cpu:
            self._may_grow[order.token] = attempt
            self._plan(0.0)

    def over(self, attempt: Attempt) -> None:
        """An attempt is over: others may have its cores."""
        self._may_grow.pop(attempt.order.token, None)
        if self._may_grow:
            self._plan(EVERY)

    def shrunk(self, attempt: Attempt) -> None:
        """An attempt has given back cores."""
        if self._may_grow:
            self._plan(EVERY)

    def candidates(self) -> list[str]:
        """The tokens of attempts that could use idle cores, if there are any. Who has given back some of its need, as
        it didn't use it, is none."""
        if sum(attempt.allocation.cpu for attempt in self._attempts.all.values()) >= self._cpu:
            return []
        return [
            token
            for token, attempt in self._may_grow.items()
            if attempt.order.allocation.cpu <= attempt.allocation.cpu < attempt.order.maximum.cpu
            and attempt.ending is None
        ]

    def _plan(self, pause: float) -> None:
        if not self._planned:
            self._planned = True
            self._loop.call_later(pause, self._turn)

    def _turn(self) -> None:
        self._planned = False
        tokens = self.candidates()
        if tokens:
            self._planned = True
            self._spawn(self._ask(tokens))

    async def _ask(self, tokens: list[str]) -> None:
        pause = EVERY
        idle = self._loop.time() - self._attempts.last_start
        try:
            _, pause = await self._session.ask(
                lambda node, incarnation: self._store.task_grow(node, incarnation, tokens, idle=idle)
            )
        except Superseded:
            pass
        except RqSchedError as error:
            log.debug("no cores were asked for: %s", error)
        self._planned = False
        if self._may_grow:
            self._plan(max(pause, 0.05))
