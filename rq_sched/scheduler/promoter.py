"""Brings delayed tasks (``--delay``, back-off before a retry) into their queues when their time has come."""

from __future__ import annotations

from rq_sched.link import AsyncLink
from rq_sched.store import Store
from rq_sched.store.answers import Promoted


class Promoter:
    """Looks when the next task is due, and every ``every`` seconds: one that came since is at most so late."""

    every = 0.2
    on_bell = False
    min_gap = 0.0

    def __init__(self, link: AsyncLink, store: Store) -> None:
        self._link = link
        self._store = store

    async def run_once(self) -> Promoted:
        """Promote all that is due."""
        total = 0
        while True:
            batch = await self._link.run(self._store.promote())
            total += batch.promoted
            if not batch.promoted:
                return Promoted(total, batch.next_ms, batch.due_in)
