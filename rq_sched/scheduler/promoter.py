"""Brings delayed tasks (``--delay``, back-off before a retry) into their queues when their time has come, and ends
tasks that have not started by their deadlines (``--deadline``)."""

from __future__ import annotations

from rq_sched.link import AsyncLink
from rq_sched.store import Store
from rq_sched.store.answers import Promoted

BATCHES = 50
"""Calls of either in a row: a turn ends, so that it is seen to be at work."""


class Promoter:
    """Looks when the next task is due, and every ``every`` seconds: one that came since is at most so late."""

    every = 0.2
    on_bell = False
    min_gap = 0.0

    def __init__(self, link: AsyncLink, store: Store) -> None:
        self._link = link
        self._store = store

    async def run_once(self) -> Promoted:
        """Promote all that is due, and end what has expired."""
        total = 0
        for _ in range(BATCHES):
            batch = await self._link.run(self._store.promote())
            total += batch.promoted
            if batch.expires_in == 0:
                await self._expire()
            elif not batch.promoted:
                waits = [seconds for seconds in (batch.due_in, batch.expires_in) if seconds is not None]
                return Promoted(total, batch.next_ms, min(waits, default=None), batch.expires_in)
        return Promoted(total, None, 0.0)

    async def _expire(self) -> None:
        for _ in range(BATCHES):
            if not await self._link.run(self._store.expire()):
                return
